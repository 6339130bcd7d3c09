import numpy as np
import pytest
from made_recordings import HZ, obey, record

from beyondmimic_data.control.protocols.commands import one_each
from beyondmimic_data.control.protocols.velocity_grid import GRID, judge

N = 2 * len(GRID)


def test_following_every_command_has_no_error() -> None:
    success, figures = judge(obey(one_each(GRID, N), 8.0))
    assert success.all()
    for name in ("velocity_error_percent", "instant_error_percent", "yaw_rate_error_percent"):
        assert figures[name] == pytest.approx(0, abs=1e-4)
    assert [line["n"] for line in figures["grid"]] == [2] * len(GRID)
    assert figures["grid"][-1]["mean_yaw_rate_rad_s"] == pytest.approx(0.8)


def test_errors_are_relative_to_the_command_and_the_start_does_not_count() -> None:
    recording = obey(one_each(GRID, N), 8.0)
    recording.root_lin_vel[...] *= 0.8
    recording.yaw[...] *= 0.7
    recording.root_lin_vel[:150] = 9.0
    success, figures = judge(recording)
    assert figures["velocity_error_percent"] == pytest.approx(20)
    assert figures["yaw_rate_error_percent"] == pytest.approx(30)
    assert success.tolist() == [command.yaw_rate == 0 for command in GRID] * 2


def test_sway_counts_step_by_step_but_not_on_average() -> None:
    recording = obey(one_each(GRID, N), 8.0)
    sway = np.sin(2 * np.pi * np.arange(len(recording.qpos)) / HZ)
    recording.root_lin_vel[..., 1] += 0.1 * sway[:, None]
    _, figures = judge(recording)
    assert figures["velocity_error_percent"] < 1
    assert figures["instant_error_percent"] > 10


def test_a_fallen_robot_counts_as_a_fall_and_not_in_the_error() -> None:
    recording = obey(one_each(GRID, N), 8.0)
    recording.head_height[-1, 0] = 0.1
    recording.root_lin_vel[:, 0] = 0.0
    success, figures = judge(recording)
    assert success.tolist() == [False] + [True] * (N - 1)
    assert figures["grid"][0]["falls"] == 1
    assert figures["velocity_error_percent"] == pytest.approx(0, abs=1e-4)


def test_a_run_that_ended_early_has_no_error() -> None:
    recording = record(1.0, N)
    recording.head_height[-1] = 0.1
    success, figures = judge(recording)
    assert not success.any()
    assert figures["velocity_error_percent"] is None
