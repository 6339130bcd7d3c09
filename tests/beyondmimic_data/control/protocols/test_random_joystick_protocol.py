import numpy as np
import pytest
from made_recordings import HZ, obey, record

from beyondmimic_data.control.protocols.random_joystick import draw_track, judge


def test_commands_change_every_one_to_three_seconds_within_the_range() -> None:
    track = draw_track(200, 3000, HZ, np.random.default_rng(0))
    command = np.concatenate([track.velocity.numpy(), track.yaw_rate.numpy()[..., None]], -1)
    assert -0.4 <= command[..., 0].min() < -0.35
    assert 0.75 < command[..., 0].max() <= 0.8
    assert 0.28 < np.abs(command[..., 1]).max() <= 0.3
    assert 0.75 < np.abs(command[..., 2]).max() <= 0.8
    standing = (command == 0).all(-1).mean()
    assert 0.1 < standing < 0.25
    turning_in_place = ((command[..., :2] == 0).all(-1) & (command[..., 2] != 0)).mean()
    assert 0.1 < turning_in_place < 0.25
    changed = (np.diff(command, axis=0) != 0).any(-1)
    for robot in range(200):
        between = np.diff(np.flatnonzero(changed[:, robot]))
        assert between.min() >= 50  # two stops on end may look like a longer one
    assert float(changed.sum(0).mean()) == pytest.approx(60 / 2, rel=0.15)


def test_following_has_no_error_and_a_constant_error_is_found() -> None:
    track = draw_track(3, 500, HZ, np.random.default_rng(1))
    recording = obey(track, 10.0)
    success, figures = judge(recording)
    assert success.all()
    assert figures["velocity_error_m_s"] == pytest.approx(0, abs=1e-6)
    assert figures["yaw_rate_error_rad_s"] < 0.02
    recording.root_lin_vel[..., 0] += 0.3
    recording.root_lin_vel[..., 1] += 0.4
    assert judge(recording)[1]["velocity_error_m_s"] == pytest.approx(0.5, abs=1e-6)


def test_a_fall_is_no_success() -> None:
    recording = record(10.0, 2)
    recording.head_height[100:, 1] = 0.0
    assert judge(recording)[0].tolist() == [True, False]
