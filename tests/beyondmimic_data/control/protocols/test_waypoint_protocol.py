import math

import numpy as np
import pytest
import torch
from made_recordings import HZ, record, walk_to

from beyondmimic_data.control.protocols import PROTOCOLS
from beyondmimic_data.control.protocols.waypoint import arrival, first_time


def test_goals_lie_in_eight_directions_three_to_six_metres_away(setting) -> None:
    made = setting(80)
    goal = PROTOCOLS["waypoint"].make(made).goal
    assert goal is not None
    local = made.frame.to_local(goal[:, None])[:, 0]
    distance = local.norm(dim=-1)
    assert 3.0 <= distance.min() < 3.3
    assert 5.7 < distance.max() <= 6.0
    turn = torch.remainder(torch.atan2(local[:, 1], local[:, 0]), 2 * math.pi) / (math.pi / 4)
    torch.testing.assert_close(torch.remainder(turn.round(), 8), torch.arange(80.0) % 8)
    torch.testing.assert_close(turn, turn.round(), atol=1e-3, rtol=0)


def test_one_arrives_by_being_there_and_standing_for_half_a_second() -> None:
    recording = record(20.0, 4)
    t = np.arange(len(recording.qpos)) / HZ
    there = np.minimum(t / 5, 1.0) * 4.0
    passing = 0.5 * t
    short = np.minimum(t / 5, 1.0) * 3.69
    near = np.minimum(t / 5, 1.0) * 3.71
    path = np.stack([there, passing, short, near], -1)
    walk_to(np.stack([path, 0 * path], -1), recording)
    found = arrival(torch.tensor([[4.0, 0.0]] * 4), recording)
    assert np.isfinite(found).tolist() == [True, False, False, True]
    assert found[0] == pytest.approx(5.5, abs=0.05)


def test_a_task_judges_arrival_and_falls(setting) -> None:
    made = setting(8)
    task = PROTOCOLS["waypoint"].make(made)
    recording = record(20.0, 8)
    start = made.frame.xy.numpy()
    t = np.minimum(np.arange(len(recording.qpos)) / HZ / 10, 1.0)[:, None, None]
    walk_to(start + t * (task.goal.numpy() - start), recording)
    recording.head_height[800:, 3] = 0.1
    success, figures = task.judge(recording)
    assert success.tolist() == [True, True, True, False, True, True, True, True]
    assert figures["mean_seconds_to_goal"] == pytest.approx(10.5, abs=0.1)
    assert figures["success_by_direction"]["135"] == 0.0
    assert figures["success_by_direction"]["0"] == 1.0


def test_a_condition_has_to_hold_on_end() -> None:
    held = np.array([[1, 0], [1, 1], [0, 1], [1, 1], [1, 0], [1, 0]], bool)
    assert first_time(held, 3, 1.0).tolist() == [5.0, 3.0]
    assert first_time(held, 4, 1.0).tolist() == [math.inf, math.inf]
    assert first_time(held, 9, 1.0).tolist() == [math.inf, math.inf]
