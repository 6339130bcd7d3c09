"""Windows of rows that a device holds: drawing a batch there costs no copy from the host."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from beyondmimic_data.errors import StoreError
from storage.datasets import TRAIN, VALIDATION, split_episodes
from storage.windows import weighted_starts, window_starts

if TYPE_CHECKING:
    import torch


class DeviceWindows:
    """Random windows of episodes whose rows lie in one tensor, on a GPU or in memory."""

    def __init__(
        self,
        rows: "torch.Tensor",
        columns: Mapping[str, slice],
        episodes: Mapping[str, Sequence[tuple[str, int, int]]],
        length: int,
        *,
        validation_fraction: float,
        split_seed: int,
        skill_weights: Sequence[str] = (),
    ) -> None:
        """Find the windows of each split; see ``split_episodes`` and ``weighted_starts``.

        Args:
            rows: (R, C) float32 or float16; rows outside of the episodes are never read.
            columns: name of each quantity and its slice of a row.
            episodes: ``episode_id``, first row and number of rows of the episodes of each skill.
            length: rows of a window.
            validation_fraction: share of episodes for validation.
            split_seed: seed of the split.
            skill_weights: ``skill=weight`` each, for windows of training.

        Raises:
            ConfigError: as ``weighted_starts``.
            StoreError: a row of an episode is not finite.
        """
        import torch

        self.rows, self.columns = rows, dict(columns)
        self._length = torch.arange(length, device=rows.device)
        parts: dict[str, dict[str, np.ndarray]] = {TRAIN: {}, VALIDATION: {}}
        for skill, listed in episodes.items():
            ids, first, count = zip(*listed) if listed else ((), (), ())
            sides = np.array(split_episodes(ids, validation_fraction, split_seed), dtype=str)
            for split, by_skill in parts.items():
                here = sides == split
                by_skill[skill] = window_starts(np.array(first)[here], np.array(count)[here], length)
            self._require_finite(listed)
        self._starts = {split: np.concatenate(list(by_skill.values())) for split, by_skill in parts.items()}
        if skill_weights:
            self._starts[TRAIN] = weighted_starts(parts[TRAIN], skill_weights)

    @property
    def known_finite(self) -> bool:
        """Say that every episode was looked at when the windows were made."""
        return True

    def _require_finite(self, listed: Sequence[tuple[str, int, int]]) -> None:
        for episode, first, count in listed:
            if not self.rows[first : first + count].isfinite().all():
                raise StoreError(f"episode {episode} holds values that are not finite; collect it again")

    def num_windows(self, split: str) -> int:
        """Return how many windows a split has."""
        return len(self._starts[split])

    def sample(self, split: str, batch: int, rng: np.random.Generator) -> "torch.Tensor":
        """Return random windows (batch, length, columns) float32 of a split, where the rows are."""
        import torch

        starts = self._starts[split]
        drawn = torch.from_numpy(starts[rng.integers(len(starts), size=batch)])
        # The copy is not waited for: the host would stand still until the device had caught up with it.
        index = drawn.to(self.rows.device, non_blocking=True)[:, None] + self._length
        windows = torch.index_select(self.rows, 0, index.flatten())
        return windows.view(batch, len(self._length), -1).float()
