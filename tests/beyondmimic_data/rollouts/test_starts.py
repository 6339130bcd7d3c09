"""Starts of episodes: even coverage of every clip, and some far off the reference."""

import numpy as np
import pytest

from beyondmimic_data.config import RolloutConfig
from beyondmimic_data.rollouts.starts import StartSampler

HZ = 50
USUAL = RolloutConfig(recovery_share=0.0)


def draws(lengths, config, n=20_000, most=10**6):
    sampler = StartSampler(np.array(lengths), config, HZ)
    rng = np.random.default_rng(0)
    return [sampler.draw(rng, most) for _ in range(n)]


@pytest.mark.parametrize("frames", [201, 501, 6201])
def test_every_second_of_a_clip_is_passed_as_often(frames):
    passes = np.zeros(frames)
    for start in draws([frames], USUAL):
        passes[start.frame : start.frame + start.steps] += 1
    seconds = passes[: frames // HZ * HZ].reshape(-1, HZ).mean(1)
    assert seconds.max() < 1.25 * seconds.mean()
    assert seconds.min() > 0.75 * seconds.mean()


def test_clips_are_passed_by_their_length():
    lengths = [1001, 3001]
    steps = np.zeros(2)
    for start in draws(lengths, USUAL):
        steps[start.clip] += start.steps
    assert steps[1] / steps[0] == pytest.approx(3, rel=0.1)


def test_an_episode_ends_with_its_clip_and_is_long_enough():
    for start in draws([301, 60, 20], USUAL, 2000):
        last = (300, 59, 19)[start.clip]
        assert 0 <= start.frame < last
        assert min(50, last) <= start.steps <= last - start.frame
        assert not start.recovery


def test_a_shorter_episode_covers_as_evenly():
    passes = np.zeros(501)
    for start in draws([501], USUAL, most=120):
        assert start.steps <= 120
        passes[start.frame : start.frame + start.steps] += 1
    seconds = passes[:500].reshape(-1, HZ).mean(1)
    assert seconds.min() > 0.75 * seconds.mean()


def test_recoveries_are_their_share_and_short():
    found = draws([3001], RolloutConfig(recovery_share=0.25, recovery_seconds=4.0))
    short = [start for start in found if start.recovery]
    assert len(short) / len(found) == pytest.approx(0.25, abs=0.02)
    assert max(start.steps for start in short) == 200
