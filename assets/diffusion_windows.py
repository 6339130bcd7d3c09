"""A dataset as the stream of windows that diffusion training reads."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from storage.artifacts import Artifact

if TYPE_CHECKING:
    import torch


class DatasetWindows:
    """Random windows of a dataset's splits."""

    def __init__(self, dataset: Artifact, length: int) -> None:
        """Open a dataset for windows of ``length`` rows."""
        from storage.dataset_reader import DatasetReader
        from storage.datasets import TRAIN, VALIDATION

        self._reader, self._length = DatasetReader(dataset), length
        self._starts = {split: self._reader.window_starts(length, split) for split in (TRAIN, VALIDATION)}

    @property
    def columns(self) -> Mapping[str, slice]:
        """Name of each quantity and its slice of a row."""
        return self._reader.schema.slices

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Order of joints and actions."""
        return self._reader.schema.joint_names

    @property
    def body_names(self) -> tuple[str, ...]:
        """Order of bodies."""
        return self._reader.schema.body_names

    def num_windows(self, split: str) -> int:
        """Return how many windows a split has."""
        return len(self._starts[split])

    def sample(self, split: str, batch: int, rng: np.random.Generator) -> "torch.Tensor":
        """Return random windows (batch, length, columns) float32 of a split."""
        starts = self._starts[split]
        return self._reader.gather(starts[rng.integers(len(starts), size=batch)], self._length)
