"""Going through a dataset's episodes one after the other, in the memory of one episode."""

import dataclasses
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from beyondmimic_data.errors import StoreError
from storage import layout
from storage.artifacts import Artifact, describe
from storage.dataset_reader import find_rollouts, place_episodes
from storage.datasets import TRAIN, VALIDATION, read_dataset
from storage.episode_index import join_tables
from storage.step_array import ArrayInfo, check_alike, read_array_info

PROGRESS_SECONDS = 5.0
"""Between two lines of progress."""


@dataclasses.dataclass(frozen=True)
class Episode:
    """One episode of a dataset."""

    entry: dict[str, Any]
    """Its row of the episode index, with ``split``."""
    rows: np.ndarray
    """(T, C) float32 steps."""


class EpisodeStream:
    """All episodes of some skills of a dataset: those for training first, then those for validation."""

    def __init__(self, dataset: Artifact, skills: Collection[str] | None = None) -> None:
        """Look up what the dataset names; no step is read.

        Args:
            dataset: a dataset's artifact.
            skills: only these, all by default.

        Raises:
            StoreError: the dataset has no such skill, its rollouts are gone or of another version, or they
                lack an episode that it lists.
        """
        self.dataset = dataset
        self.description = read_dataset(dataset.path)
        known = [entry["skill"] for entry in self.description["skills"]]
        for skill in skills or ():
            if skill not in known:
                raise StoreError(
                    f"{dataset.path}: skill: found {skill!r}, expected one of {', '.join(known)}"
                )
        self.rollouts = find_rollouts(dataset, self.description, skills)
        """Rollouts by skill."""
        self._infos = {skill: read_array_info(artifact.path) for skill, artifact in self.rollouts.items()}
        first = next(iter(self._infos.values()))
        check_alike(list(self._infos.values()))
        self.schema = first.schema
        """Columns; ``clip_names`` are those of the first skill, and an episode's entry names its clip."""
        self.precision = float(np.finfo(first.dtype).eps)
        """Relative distance of neighbouring numbers in the store's type."""
        placed = place_episodes(dataset, self.description, self.rollouts)
        joined = join_tables(list(placed.values()))
        split = np.array(joined["split"].to_pylist(), dtype=str)
        order = np.concatenate([np.flatnonzero(split == side) for side in (TRAIN, VALIDATION)])
        self.episodes: pa.Table = joined.take(pa.array(order))
        """The episode index in the order of the stream."""
        self.num_train = int(np.sum(split == TRAIN))
        """Episodes for training, which come first."""

    @property
    def num_steps(self) -> int:
        """Steps of all episodes."""
        return int(np.sum(self.episodes["length"].to_numpy()))

    def __len__(self) -> int:
        return self.episodes.num_rows

    def read(self, progress: Callable[[str], None]) -> Iterator[Episode]:
        """Yield the episodes in their order; ``progress`` receives a line every few seconds.

        Raises:
            StoreError: a chunk file is missing or cut short.
        """
        started = last = time.monotonic()
        steps = 0
        for number in range(len(self)):
            [entry] = self.episodes.slice(number, 1).to_pylist()
            info = self._infos[entry["skill"]]
            yield Episode(entry, read_rows(info, entry["start_row"], entry["length"]))
            steps += entry["length"]
            now = time.monotonic()
            if now - last >= PROGRESS_SECONDS:
                last, rate = now, steps / (now - started)
                left = (self.num_steps - steps) / rate
                progress(f"{number + 1} of {len(self)} episodes, {rate:.0f} steps/s, {left:.0f} s left")

    def source(self) -> dict[str, Any]:
        """Return where the steps come from and what the store says of them, as plain JSON."""
        return {
            "dataset": describe(self.dataset),
            "rollouts": [describe(artifact) for artifact in self.rollouts.values()],
            "steps": dataclasses.replace(self.schema, clip_names=()).to_attrs(),
        }


def read_rows(info: ArrayInfo, start: int, length: int) -> np.ndarray:
    """Read consecutive rows of a step array from the disk, and nothing else.

    Returns:
        (length, C) float32.

    Raises:
        StoreError: a chunk file is missing or cut short, or the rows hold none of an episode.
    """
    rows = _from_chunks(info, start, length) if info.plain else _through_zarr(info, start, length)
    rows = rows.astype(np.float32, copy=False)
    if np.isnan(rows).any():
        raise StoreError(
            f"{info.folder}: rows {start} to {start + length}: not all are steps; check the store's integrity"
        )
    return rows


def _from_chunks(info: ArrayInfo, start: int, length: int) -> np.ndarray:
    columns, size = info.schema.num_columns, info.schema.num_columns * info.dtype.itemsize
    parts = []
    while length > 0:
        chunk, row = divmod(start, info.chunk_steps)
        count = min(length, info.chunk_steps - row)
        path = layout.chunk_path(info.folder, chunk)
        try:
            values = np.fromfile(path, info.dtype, count * columns, offset=row * size)
        except FileNotFoundError as error:
            raise StoreError(f"{path}: missing; check the store's integrity") from error
        if values.size != count * columns:
            raise StoreError(f"{path}: cut short at row {row}; check the store's integrity")
        parts.append(values.reshape(count, columns))
        start, length = start + count, length - count
    return np.concatenate(parts)


def _through_zarr(info: ArrayInfo, start: int, length: int) -> np.ndarray:
    import zarr

    array = zarr.open_array(str(layout.array_path(info.folder)), mode="r")
    return np.asarray(array[start : start + length])
