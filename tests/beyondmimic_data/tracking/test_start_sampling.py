"""Adaptive sampling of start seconds."""

import copy

import numpy as np
import pytest

from beyondmimic_data.config import SamplingConfig
from beyondmimic_data.errors import ConfigError
from beyondmimic_data.motions.clip import clip_from_qpos
from beyondmimic_data.robots import g1
from beyondmimic_data.tracking.reference import MotionLibrary
from beyondmimic_data.tracking.sampling import StartSampler


@pytest.fixture(scope="module")
def library() -> MotionLibrary:
    clips = [
        clip_from_qpos(f"c{i}", np.tile(g1.default_qpos(), (frames, 1)), 50, 50)
        for i, frames in enumerate((226, 126))
    ]
    return MotionLibrary(clips, ["pelvis", "torso_link"], g1.JOINT_NAMES)


def sampler(library: MotionLibrary, **changes: object) -> StartSampler:
    return StartSampler(library, SamplingConfig(**changes), np.random.default_rng(0))


def test_bins_are_seconds_of_each_clip_and_never_its_last_frame(library):
    s = sampler(library)
    assert s.first.tolist() == [0, 50, 100, 150, 200, 226, 276, 326]
    assert s.last.tolist() == [50, 100, 150, 200, 225, 276, 326, 351]
    starts = s.draw(5000)
    assert not set(starts) & {225, 351}


def test_a_share_of_starts_is_the_first_frame_of_the_drawn_clip(library):
    starts = sampler(library, enabled=False, first_frame_share=0.5).draw(20_000)
    first, second = np.mean(starts == 0), np.mean(starts == 226)
    assert first + second == pytest.approx(0.5, abs=0.02)
    assert first / second == pytest.approx(225 / 125, rel=0.1)


def test_a_share_beyond_one_is_named():
    with pytest.raises(ConfigError, match=r"sampling\.first_frame_share"):
        SamplingConfig(first_frame_share=1.5)


@pytest.mark.parametrize(("kernel", "before"), [(1, 0.033), (3, 0.552)])
def test_a_failing_second_draws_starts_to_itself_and_before_itself(library, kernel, before):
    """With a kernel of three, over half of the starts lie before the failing bin (METHOD 1.8)."""
    s = sampler(library, kernel_size=kernel, smoothing=1.0)
    s.record_failures(np.full(100, 160))
    s.advance()
    p = s.probabilities
    assert p.sum() == pytest.approx(1)
    assert p[:3].sum() == pytest.approx(before, abs=0.04)
    assert p[4:].sum() < 0.05


def test_failures_of_one_clip_do_not_leak_into_the_clip_before(library):
    s = sampler(library, smoothing=1.0, kernel_size=3)
    s.record_failures(np.full(100, 230))
    s.advance()
    assert s.probabilities[:5].sum() < 0.05


def test_without_adaptation_every_frame_is_as_likely(library):
    s = sampler(library, enabled=False)
    s.record_failures(np.full(100, 160))
    s.advance()
    np.testing.assert_allclose(s.probabilities, (s.last - s.first) / (s.last - s.first).sum())


def test_failures_fade_with_the_published_rate(library):
    s = sampler(library)
    s.record_failures(np.array([10]))
    s.advance()
    first = s.failures[0]
    for _ in range(693):
        s.advance()
    assert s.failures[0] / first == pytest.approx(0.5, abs=0.01)


def merge_all(parts: list[StartSampler]) -> None:
    """Merge samplers that would be different processes': ask each first what it passes."""
    gains: list[np.ndarray] = []
    for part in copy.deepcopy(parts):
        part.merge(lambda gain: gains.append(gain) or gain)
    for part in parts:
        part.merge(lambda _: np.sum(gains, axis=0))


def test_samplers_that_merge_count_as_one_would(library):
    whole, parts = sampler(library, smoothing=0.1), [sampler(library, smoothing=0.1) for _ in range(3)]
    rng = np.random.default_rng(5)
    for _ in range(4):
        for _ in range(6):
            seen = [rng.integers(0, 350, rng.integers(0, 4)) for _ in parts]
            whole.record_failures(np.concatenate(seen))
            whole.advance()
            for part, frames in zip(parts, seen):
                part.record_failures(frames)
                part.advance()
        merge_all(parts)
        for part in parts:
            np.testing.assert_allclose(part.failures, whole.failures, atol=1e-12)
    assert whole.failures.sum() > 1.0
