import math

import numpy as np
import pytest
import torch

from beyondmimic_data.guidance.costs import Waypoint

FUTURE = 16


def test_far_away_is_the_squared_distance_and_close_by_the_velocity(predict) -> None:
    goal = Waypoint(torch.tensor([3.0, 4.0], dtype=torch.float64))
    weight = math.exp(-2 * 5.0)
    expected = FUTURE * ((1 - weight) * 25.0 + weight * 0.25)
    assert goal(predict(root_lin_vel=[0.5, 0.0, 0.0])).tolist() == pytest.approx([expected] * 2)
    there = predict(root_pos=[3.0, 4.0, 0.7], root_lin_vel=[0.5, 0.0, 0.0])
    assert goal(there).tolist() == pytest.approx([FUTURE * 0.25] * 2)


def test_it_is_a_place_in_the_world(predict) -> None:
    """One metre ahead of a robot at (2, 1) that looks along y is (2, 2)."""
    prediction = predict(yaw=math.pi / 2, xy=(2.0, 1.0), root_pos=[1.0, 0.0, 0.7])
    assert Waypoint(torch.tensor([2.0, 2.0], dtype=torch.float64))(prediction).tolist() == pytest.approx(
        [0.0, 0.0]
    )


def test_gradient_in_closed_form_holds_the_blend_fixed(world, columns, descend, spread) -> None:
    goal = np.array([[0.4, -0.3], [1.0, 2.1], [3.0, 0.0]])
    _, gradient = descend(Waypoint(torch.tensor(goal)), world)

    yaw, xy = world.frame.yaw.numpy(), world.frame.xy.numpy()
    turn = np.array([[np.cos(yaw), np.sin(yaw)], [-np.sin(yaw), np.cos(yaw)]])
    # A distance is the same in either frame, so the goal is brought into the robot's.
    offset = columns("root_pos")[..., :2] - np.einsum("xyr,ry->rx", turn, goal - xy)[:, None]
    far = 1 - np.exp(-2 * np.linalg.norm(offset, axis=-1, keepdims=True))
    slow = 2 * (1 - far) * columns("root_lin_vel")[..., :2]
    pad = np.zeros((3, FUTURE, 1))
    expected = spread(
        root_pos=np.concatenate([2 * far * offset, pad], -1), root_lin_vel=np.concatenate([slow, pad], -1)
    )
    np.testing.assert_allclose(gradient, expected, atol=1e-12)
