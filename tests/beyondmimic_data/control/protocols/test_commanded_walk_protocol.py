import numpy as np
import pytest
from made_recordings import record

from beyondmimic_data.control.protocols.commanded_walk import judge


@pytest.mark.parametrize(
    ("speed", "success"), [(0.5, True), (0.36, True), (0.64, True), (0.34, False), (-0.5, False)]
)
def test_the_mean_speed_after_the_start_decides(speed, success) -> None:
    recording = record(15.0, 2)
    recording.root_lin_vel[100:, :, 0] = speed
    found, figures = judge(recording)
    assert found.tolist() == [success] * 2
    assert figures["mean_speed_m_s"] == pytest.approx(speed)
    assert figures["up_rate"] == 1.0


def test_a_fall_fails_and_a_robot_that_stops_is_up() -> None:
    recording = record(15.0, 4)
    recording.root_lin_vel[..., 0] = np.array([0.5, 0.5, 0.5, 0.0])
    recording.head_height[600:, 0] = 0.1
    success, figures = judge(recording)
    assert success.tolist() == [False, True, True, False]
    assert figures["up_rate"] == 0.75
    assert figures["up_wilson_low"] < 0.75 < figures["up_wilson_high"]


def test_a_run_in_which_all_fell_at_once_has_no_speed() -> None:
    recording = record(1.0, 2)
    recording.head_height[-1] = 0.1
    success, figures = judge(recording)
    assert not success.any()
    assert figures["mean_speed_m_s"] is None
