import math

import numpy as np
import pytest
import torch

from beyondmimic_data.guidance.costs import Joystick

FUTURE = 16


def test_it_is_half_the_squared_velocity_error_over_steps(predict) -> None:
    prediction = predict(root_lin_vel=[0.3, 0.1, 9.0])
    cost = Joystick(torch.tensor([0.5, 0.0], dtype=torch.float64))(prediction)
    assert cost.tolist() == pytest.approx([FUTURE * 0.5 * (0.04 + 0.01)] * 2)


def test_commands_may_differ_by_robot(predict) -> None:
    prediction = predict(root_lin_vel=[0.5, 0.0, 0.0])
    cost = Joystick(torch.tensor([[0.5, 0.0], [-0.5, 0.0]], dtype=torch.float64))(prediction)
    assert cost.tolist() == pytest.approx([0.0, FUTURE * 0.5])


def test_turning_asks_for_a_curve(predict) -> None:
    features = torch.zeros(1, FUTURE, 192, dtype=torch.float64)
    angle = 1.5 * torch.arange(1, FUTURE + 1, dtype=torch.float64) / 50
    features[0, :, 186] = 0.4 * torch.cos(angle)
    features[0, :, 187] = 0.4 * torch.sin(angle)
    features[0, :, 191] = 1.5
    command = torch.tensor([0.4, 0.0], dtype=torch.float64)
    assert float(Joystick(command, 1.5)(predict(features))) == pytest.approx(0.0, abs=1e-12)
    assert float(Joystick(command, -1.5)(predict(features))) > FUTURE * 0.5 * 9.0 * 0.99


def test_turning_is_free_without_a_rate_or_a_heading(predict) -> None:
    command = Joystick(torch.tensor([0.5, 0.0], dtype=torch.float64))
    turning = predict(yaw=2.0, root_lin_vel=[0.5, 0.0, 0.0], root_rot=[0, 0, 1.0], root_ang_vel=[0, 0, 3.0])
    assert command(turning).tolist() == pytest.approx([0.0, 0.0])


def test_a_held_heading_is_one_in_the_world_and_the_shorter_way_round(predict) -> None:
    velocity = torch.tensor([0.5, 0.0], dtype=torch.float64)
    looking = predict(yaw=3.0, root_lin_vel=[0.5, 0.0, 0.0], root_rot=[0.0, 0.0, 0.1])
    held = Joystick(velocity, heading_w=-3.1, heading_weight=2.0)
    error = 2 * math.pi - 3.1 - 3.1
    assert held(looking).tolist() == pytest.approx([FUTURE * error**2] * 2)
    assert Joystick(velocity, heading_w=3.1)(looking).tolist() == pytest.approx([0.0, 0.0])


def test_without_weight_the_sway_of_steps_costs_nothing(predict) -> None:
    features = torch.zeros(1, FUTURE, 192, dtype=torch.float64)
    features[0, :, 187] = 0.3 + 0.2 * torch.tensor([1.0, -1.0] * (FUTURE // 2), dtype=torch.float64)
    velocity = torch.tensor([0.0, 0.3], dtype=torch.float64)
    assert float(Joystick(velocity, sway_weight=0.0)(predict(features))) == pytest.approx(0.0, abs=1e-12)
    assert float(Joystick(velocity)(predict(features))) == pytest.approx(FUTURE * 0.5 * 0.04)


def test_gradient_of_sway_in_closed_form(world, columns, descend, spread) -> None:
    velocity, rate, weight = np.array([0.5, -0.2]), 0.7, 0.3
    cost = Joystick(torch.tensor(velocity), rate, sway_weight=weight)
    value, gradient = descend(cost, world)

    angle = rate * np.arange(1, FUTURE + 1) / 50
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    off = columns("root_lin_vel")[..., :2] - np.einsum("xyf,y->fx", turn, velocity)
    error = np.concatenate([off, columns("root_ang_vel")[..., 2:] - rate], -1)
    mean = error.mean(1, keepdims=True)
    expected = 0.5 * FUTURE * (mean**2).sum((1, 2)) + 0.5 * weight * ((error - mean) ** 2).sum((1, 2))
    np.testing.assert_allclose(value, expected)
    descent = mean + weight * (error - mean)
    zero = np.zeros_like(descent[..., :1])
    np.testing.assert_allclose(
        gradient,
        spread(
            root_lin_vel=np.concatenate([descent[..., :2], zero], -1),
            root_ang_vel=np.concatenate([zero, zero, descent[..., 2:]], -1),
        ),
        atol=1e-12,
    )


def test_gradient_in_closed_form(world, columns, descend, spread) -> None:
    velocity, rate = np.array([[0.5, -0.2], [0.0, 0.3], [-0.4, 0.1]]), np.array([0.7, -1.2, 0.0])
    heading = np.array([1.0, 3.0, -2.0])
    cost = Joystick(torch.tensor(velocity), torch.tensor(rate), torch.tensor(heading), heading_weight=0.6)
    value, gradient = descend(cost, world)

    angle = rate[:, None] * np.arange(1, FUTURE + 1) / 50
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    off = columns("root_lin_vel")[..., :2] - np.einsum("xyrf,ry->rfx", turn, velocity)
    turning = columns("root_ang_vel")[..., 2] - rate[:, None]
    facing = columns("root_rot")[..., 2] + world.frame.yaw.numpy()[:, None] - heading[:, None]
    facing = (facing + np.pi) % (2 * np.pi) - np.pi
    expected = 0.5 * (off**2).sum((1, 2)) + 0.5 * (turning**2).sum(1) + 0.3 * (facing**2).sum(1)
    np.testing.assert_allclose(value, expected)
    zero = np.zeros_like(turning)
    np.testing.assert_allclose(
        gradient,
        spread(
            root_lin_vel=np.concatenate([off, zero[..., None]], -1),
            root_ang_vel=np.stack([zero, zero, turning], -1),
            root_rot=np.stack([zero, zero, 0.6 * facing], -1),
        ),
        atol=1e-12,
    )
