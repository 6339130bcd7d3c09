import numpy as np
import pytest
import torch

from beyondmimic_data.diffusion.frames import frames_from_rows
from beyondmimic_data.diffusion.sampler import FullSampler, gaussian
from beyondmimic_data.guidance.keyframes import KeyframePlan


def test_keyframes_of_the_recording_itself_land_on_its_own_features(policy, windows) -> None:
    frames = frames_from_rows(windows.sample("train", 2, np.random.default_rng(0)), windows.columns)
    history = frames.time(slice(0, 5))
    # The history's current step is control step 100; frames 9 and 14 of the window are 5 and 10 steps ahead.
    plan = KeyframePlan(frames.time(slice(9, 15, 5)), steps=(105, 110))
    keyframes = plan.at(policy, history, 100)
    assert keyframes is not None
    assert keyframes.mask[0].nonzero().flatten().tolist() == [9, 14]
    expected = policy.constrain_states(policy.representation.encode(frames, policy.current))
    torch.testing.assert_close(keyframes.states[:, [9, 14]], expected[:, [9, 14]], atol=1e-5, rtol=0)

    sampled = FullSampler(policy, gaussian(torch.Generator().manual_seed(0))).plan(
        history, keyframes=keyframes
    )
    torch.testing.assert_close(
        sampled.features[:, 9], policy.decode_states(expected[:, 9]), atol=1e-4, rtol=1e-4
    )


def test_keyframes_outside_the_window_are_not_there(policy, windows) -> None:
    frames = frames_from_rows(windows.sample("train", 1, np.random.default_rng(0)), windows.columns)
    plan = KeyframePlan(frames.time(slice(9, 10)), steps=(50,))
    history = frames.time(slice(0, 5))
    assert plan.at(policy, history, 33) is None
    assert plan.at(policy, history, 34) is not None
    assert plan.at(policy, history, 49) is not None
    assert plan.at(policy, history, 50) is None


def test_one_step_a_keyframe(policy, windows) -> None:
    frames = frames_from_rows(windows.sample("train", 1, np.random.default_rng(0)), windows.columns)
    with pytest.raises(ValueError, match="1 steps for 2 keyframes"):
        KeyframePlan(frames.time(slice(0, 2)), steps=(3,)).at(policy, frames.time(slice(0, 5)), 0)
