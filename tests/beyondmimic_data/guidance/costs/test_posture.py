import numpy as np
import pytest
import torch

from beyondmimic_data import rotations
from beyondmimic_data.guidance.costs import Posture

FUTURE = 16


def test_upright_costs_nothing_whatever_the_heading(predict) -> None:
    assert Posture()(predict(yaw=1.0, root_rot=[0.0, 0.0, 2.0])).tolist() == [0.0, 0.0]


def test_a_positive_pitch_leans_forward_and_a_positive_roll_to_the_right(predict) -> None:
    up = np.array([0.0, 0.0, 1.0])
    for lean, target, axis, sign in (
        ([0.0, 0.2, 0.0], Posture(pitch=0.2), 0, 1.0),
        ([0.2, 0.0, 0.0], Posture(roll=0.2), 1, -1.0),
    ):
        assert target(predict(root_rot=lean)).tolist() == pytest.approx([0.0, 0.0])
        assert Posture()(predict(root_rot=lean)).tolist() == pytest.approx([FUTURE * 0.02] * 2)
        head = rotations.rotate(rotations.from_rotation_vector(np.array(lean)), up)
        assert head[axis] * sign == pytest.approx(np.sin(0.2))


def test_gradient_in_closed_form(world, columns, descend, spread) -> None:
    roll, pitch = np.array([0.1, -0.2, 0.0]), np.array([0.0, 0.3, 0.05])
    value, gradient = descend(Posture(torch.tensor(roll), torch.tensor(pitch)), world)
    error = columns("root_rot") - np.stack([roll, pitch, 0 * roll], -1)[:, None]
    error[..., 2] = 0.0
    np.testing.assert_allclose(value, 0.5 * (error**2).sum((1, 2)))
    np.testing.assert_allclose(gradient, spread(root_rot=error), atol=1e-12)
