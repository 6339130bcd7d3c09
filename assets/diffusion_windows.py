"""A dataset as the stream of windows that diffusion training reads."""

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from beyondmimic_data.errors import StoreError
from storage.artifacts import Artifact

if TYPE_CHECKING:
    import torch

    from storage.block_pool import BlockPool
    from storage.dataset_reader import DatasetReader


log = logging.getLogger(__name__)

MOST_OF_MEMORY = 0.7
"""Share of the memory at hand that a dataset may take for its windows to be drawn one by one."""


class DatasetWindows:
    """Random windows of a dataset's splits.

    Windows for training of a dataset larger than memory come from a pool of blocks: see ``BlockPool``.
    """

    def __init__(
        self,
        dataset: Artifact,
        length: int,
        skill_weights: Sequence[str] = (),
        *,
        noise_kind: str | None = None,
        hours: float | None = None,
        control_hz: float = 50.0,
    ) -> None:
        """Open a dataset for windows of ``length`` rows.

        Args:
            dataset: its artifact.
            length: rows of a window.
            skill_weights: ``skill=weight`` each, see ``DiffusionConfig``; for windows of training.
            noise_kind: episodes with this exploration noise alone; all by default.
            hours: the first episodes that come to so many hours, in the same share of each skill.
            control_hz: rows a second.

        Raises:
            ConfigError: a weight that is none, or of an unknown skill.
            StoreError: no episode has this noise, or there are fewer hours.
        """
        from storage.dataset_reader import DatasetReader
        from storage.datasets import TRAIN, VALIDATION
        from storage.mapping import available_memory
        from storage.windows import weighted_starts

        self._reader, self._length = DatasetReader(dataset), length
        chosen = choose_episodes(
            self._reader, noise_kind, None if hours is None else hours * 3600 * control_hz
        )
        self._starts = {
            split: self._reader.window_starts(length, split, episodes=chosen) for split in (TRAIN, VALIDATION)
        }
        if skill_weights:
            skill = self._reader.skill_index(self._starts[TRAIN])
            self._starts[TRAIN] = weighted_starts(
                {name: self._starts[TRAIN][skill == i] for i, name in enumerate(self._reader.skills)},
                skill_weights,
            )
        too_large = self._reader.mapped and self._reader.rows.nbytes > MOST_OF_MEMORY * available_memory()
        self._pooled = TRAIN if too_large else None
        self._pool: BlockPool | None = None

    @property
    def columns(self) -> Mapping[str, slice]:
        """Name of each quantity and its slice of a row."""
        return self._reader.schema.slices

    @property
    def known_finite(self) -> bool:
        """Say that batches have to be looked at."""
        return False

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
        if split == self._pooled:
            return self._pool_of(rng).sample(batch)
        return self._reader.gather(starts[rng.integers(len(starts), size=batch)], self._length)

    def _pool_of(self, rng: np.random.Generator) -> "BlockPool":
        """Return the pool of the first call; ``rng`` seeds it."""
        if self._pool is None:
            from storage.block_pool import POOL_BYTES, BlockPool
            from storage.row_files import RowFiles

            size = self._reader.rows.nbytes / 1e9
            log.warning("%.1f GB of rollouts: windows come from blocks of %.1f GB", size, POOL_BYTES / 1e9)
            starts = np.sort(self._starts[self._pooled or ""])
            seed = int(rng.integers(2**31))
            self._pool = BlockPool(RowFiles(self._reader.arrays), starts, self._length, seed=seed)
        return self._pool


def choose_episodes(reader: "DatasetReader", noise_kind: str | None, rows: float | None) -> np.ndarray | None:
    """Return (E,) bool which episodes are used, or ``None`` for all.

    Raises:
        StoreError: no episode has this noise, or there are fewer rows.
    """
    if noise_kind is None and rows is None:
        return None
    episodes = reader.episodes
    chosen = np.ones(episodes.num_rows, bool)
    if noise_kind is not None:
        chosen &= np.array(episodes["noise_kind"].to_pylist(), dtype=str) == noise_kind
        if not chosen.any():
            raise StoreError(f"no episode of {reader.dataset.path} has the noise {noise_kind!r}")
    if rows is None:
        return chosen
    lengths = episodes["length"].to_numpy() * chosen
    share = rows / lengths.sum()
    if share > 1:
        raise StoreError(f"{reader.dataset.path} holds {lengths.sum()} such rows, {rows:.0f} were asked for")
    skills = np.array(episodes["skill"].to_pylist(), dtype=str)
    for skill in reader.skills:
        mine = skills == skill
        before = np.cumsum(lengths[mine]) - lengths[mine]
        chosen[mine] &= before < share * lengths[mine].sum()
    return chosen
