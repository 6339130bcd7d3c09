import dataclasses
import math

import pytest
import torch

from beyondmimic_data.config import GuidanceConfig
from beyondmimic_data.control.pilot import CommandTrack, JoystickPilot, WaypointPilot
from beyondmimic_data.guidance.costs import Joystick, Obstacle, Sum, Waypoint
from beyondmimic_data.guidance.pillar_field import PillarField


@pytest.fixture
def history(setting):
    return setting(3).windows.time(slice(0, 5))


def facing(history, yaw: float):
    """Place all robots at the origin, turned to a heading."""
    half = torch.tensor([math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)])
    return dataclasses.replace(
        history,
        root_pos_w=torch.zeros_like(history.root_pos_w),
        root_quat_w=half.expand_as(history.root_quat_w),
    )


def test_each_robot_is_asked_for_its_own_command_times_the_gain(history) -> None:
    track = CommandTrack(
        torch.tensor([[[0.1, 0.0], [0.2, 0.1], [0.3, 0.0]], [[0.4, 0.0]] * 3]),
        torch.tensor([[0.0, 0.5, -0.5], [0.0] * 3]),
    )
    config = GuidanceConfig(scale=5.0, max_norm=2.5, max_ratio=0.5, command_gain=3.0)
    steering = JoystickPilot(track, config, 50.0).steer(0, history)
    guidance = steering.guidance
    assert (guidance.scale, guidance.max_norm, guidance.max_ratio) == (5.0, 2.5, 0.5)
    assert isinstance(guidance.cost, Joystick)
    torch.testing.assert_close(guidance.cost.velocity, 3 * track.velocity[0])
    torch.testing.assert_close(guidance.cost.yaw_rate, torch.tensor([0.0, 1.5, -1.5]))
    torch.testing.assert_close(steering.command[1], torch.tensor([0.2, 0.1, 0.5]))
    last = JoystickPilot(track, config, 50.0).steer(99, history)
    torch.testing.assert_close(last.command[:, 0], torch.full((3,), 0.4))


def test_a_goal_is_approached_within_bounds_in_the_heading_s_axes(history) -> None:
    goal = torch.tensor([[5.0, 0.0], [0.0, 5.0], [-5.0, 0.0]])
    velocity, yaw_rate = WaypointPilot(goal, GuidanceConfig()).command(facing(history, 0.0))
    torch.testing.assert_close(velocity, torch.tensor([[0.6, 0.0], [0.0, 0.3], [-0.3, 0.0]]))
    assert yaw_rate[0] == 0
    assert yaw_rate[1] == pytest.approx(0.8)
    assert abs(yaw_rate[2]) == pytest.approx(0.8)
    velocity, yaw_rate = WaypointPilot(goal, GuidanceConfig()).command(facing(history, math.pi / 2))
    torch.testing.assert_close(
        velocity, torch.tensor([[0.0, -0.3], [0.6, 0.0], [0.0, 0.3]]), atol=1e-5, rtol=0
    )
    assert yaw_rate[0] == pytest.approx(-0.8)
    assert yaw_rate[1] == pytest.approx(0.0, abs=1e-5)


def test_close_to_a_goal_it_slows_down_and_stands_at_it(history) -> None:
    goal = torch.tensor([[0.4, 0.0], [0.2, 0.0], [0.05, 0.05]])
    velocity, yaw_rate = WaypointPilot(goal, GuidanceConfig()).command(facing(history, 0.0))
    assert 0 < velocity[1, 0] < velocity[0, 0] < 0.6
    assert velocity[2].tolist() == [0, 0]
    assert yaw_rate[2] == 0


def test_the_papers_cost_is_a_choice_and_pillars_are_added(history) -> None:
    goal, config = torch.ones(3, 2), GuidanceConfig(waypoint_mode="cost", obstacle_weight=0.5)
    steering = WaypointPilot(goal, config).steer(0, history)
    assert isinstance(steering.guidance.cost, Waypoint)
    assert steering.command is None
    pillars = PillarField(torch.ones(3, 6, 2), 0.2)
    cost = WaypointPilot(goal, config, pillars=pillars).steer(0, history).guidance.cost
    assert isinstance(cost, Sum)
    assert [(weight, type(term)) for weight, term in cost.terms] == [(1.0, Waypoint), (0.5, Obstacle)]
    commanded = WaypointPilot(goal, GuidanceConfig(), pillars=pillars).steer(0, history)
    assert isinstance(commanded.guidance.cost.terms[0][1], Joystick)
    assert commanded.command.shape == (3, 3)
