import numpy as np
import pytest
import torch
from made_recordings import HZ, record

from beyondmimic_data.control.protocols import PROTOCOLS
from beyondmimic_data.control.protocols.inpainting import judge, keyframe_steps


def test_keyframes_stand_every_fifth_of_a_second_and_at_the_end() -> None:
    assert keyframe_steps(21, 4, 50.0) == (10, 16)
    assert keyframe_steps(25, 4, 50.0) == (10, 20)
    assert keyframe_steps(21, 4, 25.0) == (5, 10, 15, 16)


def test_keyframes_are_the_recorded_future_and_are_let_go_when_their_time_has_come(setting) -> None:
    made = setting(3)
    task = PROTOCOLS["inpainting"].make(made)
    history = made.windows.time(slice(0, 5))
    given = task.steer(0, history).keyframes
    assert given.mask[0].nonzero().flatten().tolist() == [14, 20]
    encoded = made.policy.constrain_states(made.policy.representation.encode(made.windows, 4))
    torch.testing.assert_close(given.states[:, 14], encoded[:, 14])
    later = task.steer(10, history).keyframes
    assert later.mask[0].nonzero().flatten().tolist() == [10]
    assert task.steer(16, history).keyframes is None


def test_errors_are_measured_at_keyframes_only(setting) -> None:
    made = setting(3)
    task = PROTOCOLS["inpainting"].make(made)

    class State:
        root_pos_w = made.windows.root_pos_w[:, 14] + torch.tensor([0.3, 0.0, 0.4])
        body_pos_w = made.windows.body_pos_w[:, 14] + torch.tensor([0.3, 0.0, 0.4])

    at = task.measure(10, State())
    assert at["root_error"] == pytest.approx(np.full(3, 0.5), abs=1e-5)
    assert at["body_error"] == pytest.approx(np.zeros(3), abs=1e-5)
    State.body_pos_w = State.body_pos_w + torch.tensor([0.0, 0.2, 0.0])
    assert task.measure(10, State())["body_error"] == pytest.approx(np.full(3, 0.2), abs=1e-5)
    assert np.isnan(task.measure(11, State())["root_error"]).all()


def test_a_fall_fails_and_does_not_count_in_the_errors() -> None:
    recording = record(5.0, 2)
    recording.head_height[200:, 1] = 0.0
    root = np.full((251, 2), np.nan)
    root[10], root[16] = [0.1, 5.0], [0.3, 5.0]
    recording.measured.update(root_error=root, body_error=root / 2)
    success, figures = judge(recording)
    assert success.tolist() == [True, False]
    assert figures["keyframes"] == 2
    assert figures["root_error_m"] == pytest.approx(0.2)
    assert figures["body_error_m"] == pytest.approx(0.1)
    assert figures["root_error_by_keyframe_m"] == pytest.approx({"0.2 s": 0.1, f"{16 / HZ:g} s": 0.3})
