import dataclasses
import math

import numpy as np
import pytest
import torch

from beyondmimic_data.config import GuidanceConfig
from beyondmimic_data.control.pilot import (
    CommandFollower,
    CommandTrack,
    JoystickPilot,
    WaypointPilot,
    way_round,
)
from beyondmimic_data.control.protocols.forest import draw_pillars
from beyondmimic_data.guidance.costs import Joystick, Obstacle, Sum, Waypoint
from beyondmimic_data.guidance.pillar_field import PillarField

HZ = 50.0


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
    config = GuidanceConfig(
        scale=5.0,
        max_norm=2.5,
        max_ratio=0.5,
        until_level=5,
        command_gain=3.0,
        turn=(-2.0, 2.0),
        acceleration=1e3,
        turn_acceleration=1e3,
        integral_gain=0.0,
        heading_gain=0.0,
    )
    steering = JoystickPilot(track, config, 50.0).steer(0, history)
    guidance = steering.guidance
    assert (guidance.scale, guidance.max_norm, guidance.max_ratio) == (5.0, 2.5, 0.5)
    assert guidance.until_level == 5
    assert isinstance(guidance.cost, Joystick)
    torch.testing.assert_close(guidance.cost.velocity, 3 * track.velocity[0])
    torch.testing.assert_close(guidance.cost.yaw_rate, torch.tensor([0.0, 1.5, -1.5]))
    torch.testing.assert_close(steering.command[1], torch.tensor([0.2, 0.1, 0.5]))
    last = JoystickPilot(track, config, 50.0).steer(99, history)
    torch.testing.assert_close(last.command[:, 0], torch.full((3,), 0.4))


AT_ONCE = GuidanceConfig(acceleration=1e3, turn_acceleration=1e3, integral_gain=1.0, integral_limit=1.0)


def moving(history, velocity: tuple[float, float]):
    """Let all robots face along x and move."""
    still = facing(history, 0.0)
    planar = torch.tensor([*velocity, 0.0]).expand_as(history.root_lin_vel_w)
    return dataclasses.replace(still, root_lin_vel_w=planar, root_ang_vel_w=torch.zeros_like(planar))


def test_more_is_asked_until_a_sluggish_robot_does_what_is_commanded(history) -> None:
    """Who does half of what it is asked ends at its command; the share still holds after a reversal."""
    follow = CommandFollower(AT_ONCE, HZ)
    speed = 0.0
    for command, seconds in ((0.4, 8.0), (-0.2, 0.1)):
        for _ in range(round(seconds * HZ)):
            asked, _ = follow(
                torch.tensor([[command, 0.0]] * 3), torch.zeros(3), moving(history, (speed, 0.0))
            )
            speed = 0.5 * float(asked[0, 0])
        assert speed == pytest.approx(command, abs=0.02)


def test_nothing_beyond_the_data_is_asked(history) -> None:
    follow = CommandFollower(AT_ONCE, HZ)
    for _ in range(500):
        asked, rate = follow(
            torch.tensor([[-0.4, 0.3]] * 3), torch.full((3,), 3.0), moving(history, (0.0, 0.0))
        )
    assert asked[0].tolist() == pytest.approx([-0.7, 0.4])
    assert rate[0].item() == pytest.approx(1.2)


def test_a_jump_of_the_command_is_ramped_from_what_the_robot_does(history) -> None:
    config = GuidanceConfig(acceleration=1.0, turn_acceleration=2.0, integral_gain=0.0, heading_gain=0.0)
    follow = CommandFollower(config, HZ)
    first, rate = follow(torch.tensor([[-0.4, 0.0]] * 3), torch.ones(3), moving(history, (0.6, 0.0)))
    assert first[0].tolist() == pytest.approx([0.58, 0.0], abs=1e-6)
    assert rate[0].item() == pytest.approx(0.04)
    for _ in range(60):
        last, rate = follow(torch.tensor([[-0.4, 0.0]] * 3), torch.ones(3), moving(history, (0.6, 0.0)))
    assert last[0].tolist() == pytest.approx([-0.4, 0.0], abs=1e-6)
    assert rate[0].item() == pytest.approx(1.0)


def test_a_heading_that_lags_is_turned_after_and_a_lost_one_waits(history) -> None:
    config = dataclasses.replace(AT_ONCE, heading_gain=2.0, heading_limit=0.5)
    follow, none = CommandFollower(config, HZ), torch.zeros(3, 2)
    assert follow(none, torch.zeros(3), facing(history, 0.0))[1].tolist() == [0, 0, 0]
    _, rate = follow(none, torch.zeros(3), facing(history, -0.1))
    assert rate[0].item() == pytest.approx(0.2, abs=1e-5)
    _, rate = follow(none, torch.zeros(3), facing(history, -2.0))
    assert rate[0].item() == pytest.approx(1.0, abs=1e-5)
    _, rate = follow(none, torch.zeros(3), facing(history, -1.6))
    assert rate[0].item() == pytest.approx(0.2, abs=1e-5)


def test_forgotten_robots_begin_anew_and_the_others_go_on(history) -> None:
    follow, command = CommandFollower(AT_ONCE, HZ), torch.tensor([[0.4, 0.0]] * 3)
    for _ in range(50):
        before, _ = follow(command, torch.zeros(3), moving(history, (0.0, 0.0)))
    follow.forget(torch.tensor([1]))
    after, _ = follow(command, torch.zeros(3), moving(history, (0.0, 0.0)))
    assert after[1, 0] < 0.45 < before[1, 0] <= after[0, 0]


def test_a_goal_is_approached_within_bounds_in_the_heading_s_axes(history) -> None:
    goal = torch.tensor([[5.0, 0.0], [0.0, 5.0], [-5.0, 0.0]])
    velocity, yaw_rate = WaypointPilot(goal, GuidanceConfig(), HZ).command(facing(history, 0.0))
    torch.testing.assert_close(velocity, torch.tensor([[0.6, 0.0], [0.0, 0.3], [-0.3, 0.0]]))
    assert yaw_rate[0] == 0
    assert yaw_rate[1] == pytest.approx(0.8)
    assert abs(yaw_rate[2]) == pytest.approx(0.8)
    velocity, yaw_rate = WaypointPilot(goal, GuidanceConfig(), HZ).command(facing(history, math.pi / 2))
    torch.testing.assert_close(
        velocity, torch.tensor([[0.0, -0.3], [0.6, 0.0], [0.0, 0.3]]), atol=1e-5, rtol=0
    )
    assert yaw_rate[0] == pytest.approx(-0.8)
    assert yaw_rate[1] == pytest.approx(0.0, abs=1e-5)


def test_close_to_a_goal_it_slows_down_and_stands_at_it(history) -> None:
    goal = torch.tensor([[0.4, 0.0], [0.2, 0.0], [0.05, 0.05]])
    velocity, yaw_rate = WaypointPilot(goal, GuidanceConfig(), HZ).command(facing(history, 0.0))
    assert 0 < velocity[1, 0] < velocity[0, 0] < 0.6
    assert velocity[2].tolist() == [0, 0]
    assert yaw_rate[2] == 0


def test_the_papers_cost_is_a_choice_and_pillars_are_added(history) -> None:
    goal, config = torch.ones(3, 2), GuidanceConfig(waypoint_mode="cost", obstacle_weight=0.5)
    steering = WaypointPilot(goal, config, HZ).steer(0, history)
    assert isinstance(steering.guidance.cost, Waypoint)
    assert steering.command is None
    pillars = PillarField(torch.ones(3, 6, 2), 0.2)
    cost = WaypointPilot(goal, config, HZ, pillars=pillars).steer(0, history).guidance.cost
    assert isinstance(cost, Sum)
    assert [(weight, type(term)) for weight, term in cost.terms] == [(1.0, Waypoint), (0.5, Obstacle)]
    weighted = GuidanceConfig(obstacle_weight=0.5)
    commanded = WaypointPilot(goal, weighted, HZ, pillars=pillars).steer(0, history)
    assert isinstance(commanded.guidance.cost.terms[0][1], Joystick)
    assert commanded.command.shape == (3, 3)
    alone = WaypointPilot(goal, GuidanceConfig(obstacle_weight=0.0), HZ, pillars=pillars).steer(0, history)
    assert isinstance(alone.guidance.cost, Joystick)


def test_a_way_goes_round_a_pillar_on_the_nearer_side_and_is_as_long() -> None:
    goal = torch.tensor([[5.0, 0.0]]).expand(4, 2)
    pillars = torch.tensor([[[1.5, 2.0]], [[1.5, 0.1]], [[1.5, -0.1]], [[-1.0, 0.0]]])
    way = way_round(goal, pillars, 0.2)
    torch.testing.assert_close(way.norm(dim=-1), torch.full((4,), 5.0))
    torch.testing.assert_close(way[[0, 3]], goal[[0, 3]])
    assert way[1, 1] < -1.0
    assert way[2, 1] > 1.0
    direction = way[1] / 5
    assert (torch.tensor([1.5, 0.1]) @ torch.stack([-direction[1], direction[0]])).abs() > 0.6


def test_a_pillar_behind_the_goal_is_no_obstacle() -> None:
    goal = torch.tensor([[1.0, 0.0]])
    torch.testing.assert_close(way_round(goal, torch.tensor([[[1.8, 0.0]]]), 0.2), goal)


def test_a_point_that_obeys_comes_through_every_forest(history) -> None:
    rng, n, dt = np.random.default_rng(8), 60, 0.1
    pillars = PillarField(torch.from_numpy(np.stack([draw_pillars(rng) for _ in range(n)])).float(), 0.2)
    pilot = WaypointPilot(torch.tensor([[6.0, 0.0]]).expand(n, 2), GuidanceConfig(), HZ, pillars=pillars)
    one = facing(history, 0.0).select(torch.zeros(n, dtype=torch.long))
    xy, yaw, clearance = torch.zeros(n, 2), torch.zeros(n), []
    for _ in range(300):
        position = torch.cat([xy, torch.ones(n, 1)], -1)[:, None].expand(-1, 5, -1)
        quat = torch.stack([torch.cos(yaw / 2), 0 * yaw, 0 * yaw, torch.sin(yaw / 2)], -1)
        state = dataclasses.replace(one, root_pos_w=position, root_quat_w=quat[:, None].expand(-1, 5, -1))
        velocity, yaw_rate = pilot.command(state)
        c, s = torch.cos(yaw), torch.sin(yaw)
        x, y = velocity.T
        xy = xy + dt * torch.stack([c * x - s * y, s * x + c * y], -1)
        yaw = yaw + dt * yaw_rate
        clearance.append(pillars.distance(position[:, 0]))
    assert (xy - torch.tensor([6.0, 0.0])).norm(dim=-1).max() < 0.3
    assert torch.stack(clearance).min() > 0.3
