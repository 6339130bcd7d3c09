import math

import numpy as np
import pytest
import torch

from beyondmimic_data import rotations
from beyondmimic_data.guidance.costs import Heading

FUTURE = 16


def test_it_is_half_the_squared_angle_the_shorter_way_round(predict) -> None:
    looking = predict(yaw=3.0, root_rot=[0.0, 0.0, 0.1])
    error = 2 * math.pi - 3.1 - 3.0
    assert Heading(-3.0)(looking).tolist() == pytest.approx([FUTURE * 0.5 * error**2] * 2)
    assert Heading(3.1 + 2 * math.pi)(looking).tolist() == pytest.approx([0.0, 0.0])


def test_a_walkers_lean_hardly_changes_the_heading(predict) -> None:
    leaning = rotations.multiply(
        rotations.from_yaw(np.array(0.5)), rotations.from_rotation_vector(np.array([0.1, 0.15, 0.0]))
    )
    prediction = predict(root_rot=rotations.to_rotation_vector(leaning).tolist())
    error = (2 * Heading(float(rotations.yaw(leaning)))(prediction) / FUTURE).sqrt()
    assert error.tolist() == pytest.approx([0.0, 0.0], abs=0.02)


def test_gradient_in_closed_form(world, columns, descend, spread) -> None:
    heading = np.array([1.0, 3.0, -2.0])
    value, gradient = descend(Heading(torch.tensor(heading)), world)
    error = columns("root_rot")[..., 2] + world.frame.yaw.numpy()[:, None] - heading[:, None]
    error = (error + np.pi) % (2 * np.pi) - np.pi
    np.testing.assert_allclose(value, 0.5 * (error**2).sum(1))
    zero = np.zeros_like(error)
    np.testing.assert_allclose(gradient, spread(root_rot=np.stack([zero, zero, error], -1)), atol=1e-12)
