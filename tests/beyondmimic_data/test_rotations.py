"""Quaternion algebra against SciPy's rotations, in NumPy and in torch."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from beyondmimic_data import rotations


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    a, b = (Rotation.random(200, random_state=seed).as_quat()[:, [3, 0, 1, 2]] for seed in (0, 1))
    return a, b


def scipy(q: np.ndarray) -> Rotation:
    return Rotation.from_quat(q[:, [1, 2, 3, 0]])


@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_products_rotations_and_logs_agree_with_scipy(pair, convert):
    a, b = pair
    v = np.random.default_rng(2).normal(size=(200, 3))
    x, y, w = convert(a), convert(b), convert(v)
    np.testing.assert_allclose(
        scipy(np.asarray(rotations.multiply(x, y))).as_matrix(), (scipy(a) * scipy(b)).as_matrix(), atol=1e-12
    )
    np.testing.assert_allclose(np.asarray(rotations.rotate(x, w)), scipy(a).apply(v), atol=1e-12)
    np.testing.assert_allclose(
        np.asarray(rotations.rotate_inverse(x, w)), scipy(a).inv().apply(v), atol=1e-12
    )
    np.testing.assert_allclose(np.asarray(rotations.to_rotation_vector(x)), scipy(a).as_rotvec(), atol=1e-9)
    angle = (scipy(a) * scipy(b).inv()).magnitude()
    np.testing.assert_allclose(np.asarray(rotations.angle_between(x, y)), angle, atol=1e-7)
    rows = scipy(a).as_matrix()[:, :, :2].reshape(-1, 6)
    np.testing.assert_allclose(np.asarray(rotations.to_rot6d(x)), rows, atol=1e-12)


def test_log_and_exponential_are_inverse_also_at_zero(pair):
    vectors = np.concatenate([scipy(pair[0]).as_rotvec(), np.zeros((1, 3)), np.full((1, 3), 1e-12)])
    back = rotations.to_rotation_vector(rotations.from_rotation_vector(vectors))
    np.testing.assert_allclose(back, vectors, atol=1e-9)


def test_yaw_is_the_turn_about_z_and_yaw_only_keeps_nothing_else():
    angles = np.linspace(-3, 3, 13)
    tilted = rotations.multiply(
        rotations.from_yaw(angles), rotations.from_rotation_vector(np.array([[0.0, 0.3, 0.0]]))
    )
    np.testing.assert_allclose(rotations.yaw(tilted), angles, atol=1e-12)
    np.testing.assert_allclose(rotations.yaw_only(tilted), rotations.from_yaw(angles), atol=1e-12)


def test_slerp_halves_the_angle_and_takes_the_short_way(pair):
    a, b = pair
    half = rotations.slerp(a, -b, np.full(len(a), 0.5))
    np.testing.assert_allclose(rotations.angle_between(half, a), rotations.angle_between(a, b) / 2, atol=1e-6)


def test_angular_velocity_of_a_constant_turn_is_constant():
    rate, dt = np.array([0.4, -1.0, 2.0]), 0.02
    turn = rotations.from_rotation_vector(np.arange(20)[:, None] * dt * rate)
    np.testing.assert_allclose(
        rotations.angular_velocity(turn, dt), np.broadcast_to(rate, (20, 3)), atol=1e-9
    )


@pytest.mark.parametrize("shape", [(3,), (1, 3), (5, 3), (4, 1, 3)])
def test_cross_products_broadcast_alike_in_both_libraries(shape):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(4, 5, 3)), rng.normal(size=shape)
    expected = np.cross(a, b)
    np.testing.assert_allclose(rotations.cross(a, b), expected)
    np.testing.assert_allclose(rotations.cross(torch.from_numpy(a), torch.from_numpy(b)).numpy(), expected)
