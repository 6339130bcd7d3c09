"""Writing a dataset as a LeRobot dataset of version 3.0, readable by that library without this project.

Steps stand in a few large Parquet files below ``data``, one row group an episode; ``meta`` holds what the
columns are, statistics, tasks, and where each episode stands. An episode's task is its skill.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from beyondmimic_data.errors import StoreError
from beyondmimic_data.files import write_json
from storage import lerobot_layout as layout
from storage.episode_stream import Episode, EpisodeStream
from storage.lerobot_layout import Feature, Summary
from storage.split_parquet import FILES_PER_FOLDER, PATTERN, SplitParquet

SOURCE = "meta/source.json"
"""Which dataset of this project it is, and what the columns of its store mean."""
FACT = "rollout/{}"
"""Column of ``meta/episodes`` that holds one of this project's episode index."""
PLACE = ("unit", "start_row", "length")
"""Columns of that index that say where an episode stands in the store, or that the layout has itself."""
MEBIBYTE = 2**20
EPISODES_PER_GROUP = 32
"""Episodes whose metadata wait in memory to be written together."""


def write_lerobot(
    folder: Path,
    stream: EpisodeStream,
    *,
    robot_type: str,
    progress: Callable[[str], None],
    file_mb: float = layout.FILE_MB,
) -> None:
    """Write all episodes of a stream as a LeRobot dataset.

    Args:
        folder: an empty folder.
        stream: episodes; those for training come first, so that each split is one range of them.
        robot_type: name of the robot.
        progress: receives lines about how far it is.
        file_mb: largest Parquet file, MiB.

    Raises:
        StoreError: the rate is no whole number, the steps hold no action, or they cannot be read.
    """
    rate = stream.schema.control_hz
    if rate != round(rate):
        raise StoreError(f"control_hz: found {rate}, expected a whole number, as LeRobot has it")
    features = layout.features_of(stream.schema)
    tasks = {skill: number for number, skill in enumerate(stream.rollouts)}
    total = _EpisodeWriter(folder, stream, features, tasks).write(round(file_mb * MEBIBYTE), progress)
    write_json(folder / layout.STATS, total.to_json(features))
    layout.write_tasks(folder / layout.TASKS, tasks)
    write_json(folder / SOURCE, stream.source())
    info = {
        "codebase_version": layout.CODEBASE_VERSION,
        "robot_type": robot_type,
        "total_episodes": len(stream),
        "total_frames": total.moments.count,
        "total_tasks": len(tasks),
        "chunks_size": FILES_PER_FOLDER,
        "data_files_size_in_mb": file_mb,
        "fps": round(rate),
        "splits": _splits(stream),
        "data_path": f"{layout.DATA}/{PATTERN}",
        "video_path": None,
        "features": {feature.name: feature.describe() for feature in features},
    }
    write_json(folder / layout.INFO, info)


class _EpisodeWriter:
    """Writes steps, and the metadata of their episodes."""

    def __init__(
        self, folder: Path, stream: EpisodeStream, features: tuple[Feature, ...], tasks: Mapping[str, int]
    ) -> None:
        self.folder, self.stream, self.features, self.tasks = folder, stream, features, tasks
        self.steps_schema = pa.schema([(feature.name, feature.arrow_type) for feature in features])
        facts = [field for field in stream.episodes.schema if field.name not in PLACE]
        self.facts = [field.name for field in facts]
        named = [field.with_name(FACT.format(field.name)) for field in facts]
        self.index_schema = pa.schema([*layout.episode_fields(features), *named])
        self.first = 0
        """Steps of the episodes before."""

    def write(self, max_bytes: int, progress: Callable[[str], None]) -> Summary:
        """Write all episodes into files of at most so many bytes; returns the statistics of all steps."""
        total: Summary | None = None
        waiting = []
        with (
            SplitParquet(self.folder / layout.DATA, self.steps_schema, max_bytes) as steps,
            SplitParquet(self.folder / layout.EPISODES, self.index_schema, max_bytes) as index,
        ):
            for number, episode in enumerate(self.stream.read(progress)):
                values = self._values(number, episode)
                columns = [feature.array(values[feature.name]) for feature in self.features]
                table = pa.table(columns, schema=self.steps_schema)
                place = steps.place(table.nbytes)
                steps.write(table)
                summary = Summary.of(np.concatenate(list(values.values()), axis=1, dtype=np.float64))
                total = summary if total is None else total.merge(summary)
                waiting.append(self._line(number, episode, place, summary))
                self.first += len(episode.rows)
                if len(waiting) == EPISODES_PER_GROUP:
                    self._write_index(index, waiting)
                    waiting = []
            if waiting:
                self._write_index(index, waiting)
        if total is None:
            raise StoreError(f"{self.stream.dataset.path}: it has no episode to export")
        return total

    def _values(self, number: int, episode: Episode) -> dict[str, np.ndarray]:
        """Return the values (T, size) of each feature of one episode."""
        frames = np.arange(len(episode.rows))[:, None]
        made: dict[str, np.ndarray] = {
            "timestamp": (frames / self.stream.schema.control_hz).astype(np.float32),
            "frame_index": frames,
            "episode_index": np.full_like(frames, number),
            "index": self.first + frames,
            "task_index": np.full_like(frames, self.tasks[episode.entry["skill"]]),
        }
        return {
            feature.name: episode.rows[:, feature.source] if feature.source else made[feature.name]
            for feature in self.features
        }

    def _line(
        self, number: int, episode: Episode, place: tuple[int, int], summary: Summary
    ) -> dict[str, Any]:
        """Return an episode's row of ``meta/episodes``, but for its own place."""
        chunk, file = place
        line = {
            "episode_index": number,
            "tasks": [episode.entry["skill"]],
            "length": len(episode.rows),
            "data/chunk_index": chunk,
            "data/file_index": file,
            "dataset_from_index": self.first,
            "dataset_to_index": self.first + len(episode.rows),
        }
        for feature, figures in summary.to_json(self.features).items():
            line |= {f"stats/{feature}/{name}": figure for name, figure in figures.items()}
        return line | {FACT.format(name): episode.entry[name] for name in self.facts}

    def _write_index(self, index: SplitParquet, lines: list[dict[str, Any]]) -> None:
        num_bytes = pa.Table.from_pylist(lines, schema=self.index_schema).nbytes
        chunk, file = index.place(num_bytes)
        place = {"meta/episodes/chunk_index": chunk, "meta/episodes/file_index": file}
        index.write(pa.Table.from_pylist([line | place for line in lines], schema=self.index_schema))


def _splits(stream: EpisodeStream) -> dict[str, str]:
    """Return the range of episodes of each side that has some."""
    ranges = {"train": (0, stream.num_train), "validation": (stream.num_train, len(stream))}
    return {name: f"{start}:{stop}" for name, (start, stop) in ranges.items() if stop > start}
