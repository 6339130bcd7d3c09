import numpy as np
import pytest
import torch

from beyondmimic_data.diffusion.representation import CharacterFrame
from beyondmimic_data.diffusion.sampler import Prediction
from beyondmimic_data.guidance.costs import Smoothness

FUTURE = 16


def second_difference() -> np.ndarray:
    return np.diff(np.eye(FUTURE), n=2, axis=0)


def test_even_acceleration_costs_nothing_and_a_zigzag_half_its_square_a_step(predict) -> None:
    features = torch.zeros(1, FUTURE, 192, dtype=torch.float64)
    features[0, :, 186] = 0.3 + 0.1 * torch.arange(FUTURE)
    features[0, :, 0] = 0.05 * torch.arange(FUTURE)
    assert float(Smoothness()(predict(features))) == pytest.approx(0.0, abs=1e-12)
    features[0, :, 186] += 0.2 * (-1.0) ** torch.arange(FUTURE)
    assert float(Smoothness()(predict(features))) == pytest.approx(0.5 * 0.2**2 * (FUTURE - 2))


def test_curvature_is_at_most_one() -> None:
    """A step of guidance is measured in units of the inverse curvature."""
    found = np.linalg.eigvalsh(second_difference().T @ second_difference() / 16).max()
    assert 0.8 < found <= 1.0


def test_gradient_in_closed_form(world, columns, descend, spread) -> None:
    value, gradient = descend(Smoothness(velocity_weight=2.0, limb_weight=0.5), world)
    curvature = second_difference().T @ second_difference() / 16
    velocity, bodies = (curvature @ columns(name) for name in ("root_lin_vel", "body_pos"))
    np.testing.assert_allclose(gradient, spread(root_lin_vel=2 * velocity, body_pos=bodies / 2), atol=1e-12)
    # Of a quadratic form, half the product of point and gradient.
    np.testing.assert_allclose(value, 0.5 * (gradient * world.features.numpy()).sum((1, 2)))


def test_states_of_joint_angles_are_smoothed_in_these(make_policy, descend) -> None:
    policy = make_policy(representation="joint_rot")
    features = torch.randn(1, FUTURE, 70, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    prediction = Prediction(features, policy, CharacterFrame(torch.zeros(1, 2), torch.zeros(1)))
    _, gradient = descend(Smoothness(velocity_weight=0.0), prediction)
    expected = np.zeros((1, FUTURE, 70))
    expected[..., :29] = second_difference().T @ second_difference() / 16 @ features[..., :29].numpy()
    np.testing.assert_allclose(gradient, expected, atol=1e-12)
