"""Where episodes start: adaptive sampling of clip seconds by failures (BeyondMimic v4 S1, METHOD 1.8)."""

from collections.abc import Callable

import numpy as np
import torch

from beyondmimic_data.config import SamplingConfig
from beyondmimic_data.errors import StoreError
from beyondmimic_data.tracking.reference import MotionLibrary


class StartSampler:
    """Draws start frames over all clips of a library, more often just before where episodes fail."""

    def __init__(self, library: MotionLibrary, config: SamplingConfig, rng: np.random.Generator) -> None:
        """Cut every clip into bins of one second.

        Args:
            library: the clips.
            config: kernel, smoothing, and whether failures count at all.
            rng: source of draws.
        """
        self.config, self._rng = config, rng
        lengths, starts = library.lengths.numpy(), library.starts.numpy()
        width = round(library.fps)
        first, last, clip = [], [], []
        for c, (start, length) in enumerate(zip(starts, lengths)):
            for low in range(0, length - 1, width):
                first.append(start + low)
                last.append(start + min(low + width, length - 1))
                clip.append(c)
        self.first, self.last, self.clip = np.array(first), np.array(last), np.array(clip)
        """Frames [first, last) of each bin; a clip's last frame has no successor and starts no episode."""
        self._first_of_clip = starts[self.clip]
        self._bin_of_frame = np.searchsorted(self.first, np.arange(library.num_frames), side="right") - 1
        self.failures = np.zeros(len(self.first))
        """Smoothed failures of each bin."""
        self._common = np.zeros(len(self.first))
        """What every sampler of this training has, and how much of it is left."""
        self._pending = np.zeros(len(self.first))

    @property
    def probabilities(self) -> np.ndarray:
        """Probability of each bin: uniform over frames, or by failures of the bin and its successors."""
        if not self.config.enabled:
            weight = (self.last - self.first).astype(float)
            return weight / weight.sum()
        bins = len(self.failures)
        weight = self.failures + self.config.uniform_ratio / bins
        kernel = self.config.kernel_decay ** np.arange(self.config.kernel_size)
        kernel /= kernel.sum()
        smoothed = np.zeros(bins)
        for shift, k in enumerate(kernel):
            # A bin collects its successors' failures, up to its own clip's last bin.
            source = np.minimum(np.arange(bins) + shift, self._last_bin_of_clip)
            smoothed += k * weight[source]
        return smoothed / smoothed.sum()

    @property
    def _last_bin_of_clip(self) -> np.ndarray:
        return np.searchsorted(self.clip, self.clip, side="right") - 1

    def record_failures(self, frames: np.ndarray) -> None:
        """Count the frames at which episodes fell during a step."""
        self._pending += np.bincount(self._bin_of_frame[frames], minlength=len(self._pending))

    def advance(self) -> None:
        """Fold the counted failures into the average, once a control step."""
        a = self.config.smoothing
        self.failures = a * self._pending + (1 - a) * self.failures
        self._common *= 1 - a
        self._pending[:] = 0

    def merge(self, total: Callable[[np.ndarray], np.ndarray]) -> None:
        """Let every sampler of a training count what each has seen since they last did.

        Args:
            total: returns the sum of what all of them pass.
        """
        self.failures = self._common + total(self.failures - self._common)
        self._common = self.failures.copy()

    def draw(self, n: int) -> np.ndarray:
        """Draw (n,) start frames: a bin by its probability, uniform inside it, or its clip's first frame."""
        bins = self._rng.choice(len(self.first), size=n, p=self.probabilities)
        frames = self._rng.integers(self.first[bins], self.last[bins])
        begins = self._rng.random(n) < self.config.first_frame_share
        return np.where(begins, self._first_of_clip[bins], frames)

    def state(self) -> dict[str, torch.Tensor]:
        """Return what a checkpoint has to keep."""
        return {"failures": torch.from_numpy(self.failures.copy())}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Restore what ``state`` returned for the same clips.

        Raises:
            StoreError: it is of other clips.
        """
        if len(state["failures"]) != len(self.failures):
            found, expected = len(state["failures"]), len(self.failures)
            raise StoreError(f"a checkpoint of other clips: {found} seconds, {expected} expected; remove it")
        self.failures = state["failures"].numpy().copy()
        self._common = self.failures.copy()
