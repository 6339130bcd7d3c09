"""Where episodes begin and how long they may last, so that every second of every clip is passed as often."""

import dataclasses

import numpy as np

from beyondmimic_data.config import RolloutConfig


@dataclasses.dataclass(frozen=True)
class Start:
    """The beginning of an episode and its longest course."""

    clip: int
    """Index of the clip."""
    frame: int
    """Frame of the clip, from 0."""
    steps: int
    """Control steps after which it is over."""
    recovery: bool
    """Whether it begins far off the reference, to show the way back."""


class StartSampler:
    """Draws starts uniformly over the seconds of all clips.

    An episode is a span of fixed length laid over its clip anywhere, also over its edges, and cut there. Each
    frame is then under as many spans as any other; spans that begin inside the clip would leave its first
    seconds to few.
    """

    def __init__(self, lengths: np.ndarray, config: RolloutConfig, control_hz: float) -> None:
        """Prepare for clips of ``lengths`` (C,) frames."""
        self._last = np.asarray(lengths, np.int64) - 1
        self._least = max(round(config.min_episode_seconds * control_hz), 1)
        self._usual = round(config.episode_seconds * control_hz)
        self._recovery = round(config.recovery_seconds * control_hz)
        self._recovery_share = config.recovery_share

    def draw(self, rng: np.random.Generator, most_steps: int) -> Start:
        """Draw one start of an episode of at most ``most_steps``, and what the configuration allows."""
        recovery = bool(rng.random() < self._recovery_share)
        longest = min(self._recovery if recovery else self._usual, most_steps)
        span = np.minimum(max(longest, 1), self._last)
        first = -np.maximum(span - self._least, 0)
        counts = np.cumsum(np.maximum(self._last - self._least, 0) - first + 1)
        pick = int(rng.integers(counts[-1]))
        clip = int(np.searchsorted(counts, pick, side="right"))
        place = int(first[clip]) + pick - int(counts[clip - 1] if clip else 0)
        frame = max(place, 0)
        end = min(place + int(span[clip]), int(self._last[clip]))
        return Start(clip, frame, max(end - frame, 1), recovery)
