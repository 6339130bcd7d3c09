"""Writing a dataset as a LeRobot dataset of version 3.0, readable by that library without this project.

Steps stand in a few large Parquet files below ``data``, one row group an episode; ``meta`` holds what the
columns are, statistics, tasks, and where each episode stands. An episode's task is its skill.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from beyondmimic_data.errors import StoreError
from beyondmimic_data.files import write_json
from storage.episode_stream import Episode, EpisodeStream
from storage.moments import Moments
from storage.schema import Column, StepSchema
from storage.split_parquet import FILES_PER_FOLDER, PATTERN, SplitParquet

CODEBASE_VERSION = "v3.0"
MEGABYTE = 2**20
FILE_MB = 100
"""Largest Parquet file; the library's own default."""
EPISODES_PER_GROUP = 32
"""Episodes whose metadata wait in memory to be written together."""

ACTIONS = {"action": "action_clean", "action.executed": "action_cmd"}
"""Features that are one column of the store, named by joint."""
PHASE = "phase"
APART = ("clip_id",)
"""Columns that are no feature: an episode's clip stands in its metadata, by name."""
COUNTERS = ("frame_index", "episode_index", "index", "task_index")
"""int64 features that the layout requires beside ``timestamp``."""
QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
PLACE = ("unit", "start_row")
"""Columns of the episode index that say where an episode stands in this project's store."""


@dataclasses.dataclass(frozen=True)
class Feature:
    """One column of the exported steps."""

    name: str
    """Name in the layout."""
    dtype: str
    """``float32`` or ``int64``."""
    names: tuple[str, ...] | None = None
    """Name of each element; ``None`` for one number."""
    source: tuple[int, ...] = ()
    """Array columns of the store that it copies."""

    @property
    def size(self) -> int:
        """Number of elements."""
        return 1 if self.names is None else len(self.names)

    @property
    def arrow_type(self) -> pa.DataType:
        """Type of its Parquet column."""
        plain = pa.int64() if self.dtype == "int64" else pa.float32()
        return plain if self.names is None else pa.list_(plain, self.size)

    def describe(self) -> dict[str, Any]:
        """Return its entry in ``meta/info.json``."""
        names = None if self.names is None else list(self.names)
        return {"dtype": self.dtype, "shape": [self.size], "names": names}

    def array(self, values: np.ndarray) -> pa.Array:
        """Return values (T, size) as a Parquet column."""
        flat = pa.array(np.ascontiguousarray(values).reshape(-1))
        return flat if self.names is None else pa.FixedSizeListArray.from_arrays(flat, self.size)


def element_names(column: Column) -> tuple[str, ...]:
    """Name each element of a column, such as ``body_pos_w.pelvis.x``, in C order."""
    names = [column.name]
    for axis, size in enumerate(column.shape):
        if axis == 0 and column.names:
            labels = column.names
        else:
            labels = tuple("xyz") if size == 3 else tuple(str(i) for i in range(size))
        names = [f"{name}.{label}" for name in names for label in labels]
    return tuple(names)


def features_of(schema: StepSchema) -> tuple[Feature, ...]:
    """Return the features of steps: what the robot is in as the state, then the actions, then counters.

    Raises:
        StoreError: the steps hold no action.
    """
    features = []
    apart = {*ACTIONS.values(), PHASE, *APART}
    state = [column for column in schema.columns if column.name not in apart]
    names = tuple(name for column in state for name in element_names(column))
    features.append(Feature("observation.state", "float32", names, _places(schema, state)))
    for name, source in ACTIONS.items():
        column = schema.column(source)
        features.append(Feature(name, "float32", column.names, _places(schema, [column])))
    if PHASE in schema.slices:
        features.append(Feature(PHASE, "float32", source=_places(schema, [schema.column(PHASE)])))
    features.append(Feature("timestamp", "float32"))
    return (*features, *(Feature(name, "int64") for name in COUNTERS))


def _places(schema: StepSchema, columns: list[Column]) -> tuple[int, ...]:
    parts = (schema.slice(column.name) for column in columns)
    return tuple(place for part in parts for place in range(part.start, part.stop))


def write_lerobot(
    folder: Path,
    stream: EpisodeStream,
    *,
    robot_type: str,
    progress: Callable[[str], None],
    file_mb: int = FILE_MB,
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
        raise StoreError(
            f"control_hz: found {rate}, expected a whole number: the LeRobot layout has no other"
        )
    features = features_of(stream.schema)
    tasks = {skill: number for number, skill in enumerate(stream.rollouts)}
    totals = _write_episodes(folder, stream, features, tasks, file_mb * MEGABYTE, progress)
    write_json(folder / "meta" / "stats.json", totals.to_json(features))
    _write_tasks(folder / "meta" / "tasks.parquet", tasks)
    write_json(folder / "meta" / "source.json", stream.source())
    info = {
        "codebase_version": CODEBASE_VERSION,
        "robot_type": robot_type,
        "total_episodes": len(stream),
        "total_frames": totals.moments.count,
        "total_tasks": len(tasks),
        "chunks_size": FILES_PER_FOLDER,
        "data_files_size_in_mb": file_mb,
        "fps": round(rate),
        "splits": _splits(stream),
        "data_path": f"data/{PATTERN}",
        "video_path": None,
        "features": {feature.name: feature.describe() for feature in features},
    }
    write_json(folder / "meta" / "info.json", info)


@dataclasses.dataclass(frozen=True)
class Summary:
    """Statistics of all features, side by side."""

    moments: Moments
    """Of C elements."""
    quantiles: np.ndarray
    """(Q, C) of an episode; of several, the mean over their steps, as LeRobot itself sums them up."""

    @classmethod
    def of(cls, values: np.ndarray) -> "Summary":
        """Return the statistics of one episode's values (T, C)."""
        return cls(Moments.of(values), np.quantile(values, list(QUANTILES.values()), axis=0))

    def merge(self, other: "Summary") -> "Summary":
        """Return the statistics of both."""
        share = other.moments.count / (self.moments.count + other.moments.count)
        quantiles = self.quantiles + (other.quantiles - self.quantiles) * share
        return Summary(self.moments.merge(other.moments), quantiles)

    def to_json(self, features: tuple[Feature, ...]) -> dict[str, dict[str, list]]:
        """Return the statistics of each feature by their names in the layout."""
        figures = {name: getattr(self.moments, name) for name in ("min", "max", "mean", "std")}
        figures |= dict(zip(QUANTILES, self.quantiles, strict=True))
        value, start = {}, 0
        for feature in features:
            part = slice(start, start + feature.size)
            value[feature.name] = {name: figure[part].tolist() for name, figure in figures.items()}
            value[feature.name]["count"] = [self.moments.count]
            start = part.stop
        return value


def _write_episodes(
    folder: Path,
    stream: EpisodeStream,
    features: tuple[Feature, ...],
    tasks: Mapping[str, int],
    max_bytes: int,
    progress: Callable[[str], None],
) -> Summary:
    """Write steps and the metadata of their episodes; returns the statistics of all steps."""
    steps_schema = pa.schema([(feature.name, feature.arrow_type) for feature in features])
    kept = [field for field in stream.episodes.schema if field.name not in (*PLACE, "length")]
    facts = [field.with_name(f"rollout/{field.name}") for field in kept]
    schema = pa.schema([*_episode_fields(features), *facts])
    total: Summary | None = None
    first, waiting = 0, []
    with (
        SplitParquet(folder / "data", steps_schema, max_bytes) as steps,
        SplitParquet(folder / "meta" / "episodes", schema, max_bytes) as index,
    ):
        for number, episode in enumerate(stream.read(progress)):
            values = _values(features, episode, number, first, tasks, stream.schema.control_hz)
            table = pa.table(
                [feature.array(values[feature.name]) for feature in features], schema=steps_schema
            )
            chunk, file = steps.place(table.nbytes)
            steps.write(table)
            summary = Summary.of(np.concatenate(list(values.values()), axis=1, dtype=np.float64))
            total = summary if total is None else total.merge(summary)
            length = len(episode.rows)
            line = {
                "episode_index": number,
                "tasks": [episode.entry["skill"]],
                "length": length,
                "data/chunk_index": chunk,
                "data/file_index": file,
                "dataset_from_index": first,
                "dataset_to_index": first + length,
            }
            for feature, figures in summary.to_json(features).items():
                line |= {f"stats/{feature}/{name}": figure for name, figure in figures.items()}
            waiting.append(line | {f"rollout/{field.name}": episode.entry[field.name] for field in kept})
            first += length
            if len(waiting) == EPISODES_PER_GROUP:
                _write_index(index, waiting, schema)
                waiting = []
        if waiting:
            _write_index(index, waiting, schema)
    if total is None:
        raise StoreError(f"{stream.dataset.path}: it has no episode to export")
    return total


def _values(
    features: tuple[Feature, ...],
    episode: Episode,
    number: int,
    first: int,
    tasks: Mapping[str, int],
    rate: float,
) -> dict[str, np.ndarray]:
    """Return the values (T, size) of each feature of one episode."""
    frames = np.arange(len(episode.rows))[:, None]
    made: dict[str, np.ndarray] = {
        "timestamp": (frames / rate).astype(np.float32),
        "frame_index": frames,
        "episode_index": np.full_like(frames, number),
        "index": first + frames,
        "task_index": np.full_like(frames, tasks[episode.entry["skill"]]),
    }
    return {
        feature.name: episode.rows[:, feature.source] if feature.source else made[feature.name]
        for feature in features
    }


def _episode_fields(features: tuple[Feature, ...]) -> Iterator[pa.Field]:
    """Yield the columns of ``meta/episodes`` that the layout requires, and statistics of each feature."""
    yield pa.field("episode_index", pa.int64())
    yield pa.field("tasks", pa.list_(pa.string()))
    yield pa.field("length", pa.int64())
    for name in ("data/chunk_index", "data/file_index", "dataset_from_index", "dataset_to_index"):
        yield pa.field(name, pa.int64())
    for feature in features:
        for name in ("min", "max", "mean", "std", *QUANTILES):
            yield pa.field(f"stats/{feature.name}/{name}", pa.list_(pa.float64()))
        yield pa.field(f"stats/{feature.name}/count", pa.list_(pa.int64()))
    for name in ("meta/episodes/chunk_index", "meta/episodes/file_index"):
        yield pa.field(name, pa.int64())


def _write_index(index: SplitParquet, lines: list[dict[str, Any]], schema: pa.Schema) -> None:
    chunk, file = index.place(pa.Table.from_pylist(lines, schema=schema).nbytes)
    place = {"meta/episodes/chunk_index": chunk, "meta/episodes/file_index": file}
    index.write(pa.Table.from_pylist([line | place for line in lines], schema=schema))


def _splits(stream: EpisodeStream) -> dict[str, str]:
    """Return the range of episodes of each side that has some."""
    ranges = {"train": (0, stream.num_train), "validation": (stream.num_train, len(stream))}
    return {name: f"{start}:{stop}" for name, (start, stop) in ranges.items() if stop > start}


def _write_tasks(path: Path, tasks: Mapping[str, int]) -> None:
    """Write the tasks as pandas would, indexed by their names: the library looks them up by that index."""
    import pyarrow.parquet as pq

    types = {"task_index": ("int64", "int64"), "task": ("unicode", "object")}
    columns = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy, "metadata": None}
        for name, (kind, numpy) in types.items()
    ]
    pandas = {"index_columns": ["task"], "column_indexes": [], "columns": columns, "pandas_version": "2.0.0"}
    table = pa.table({"task_index": pa.array(tasks.values(), pa.int64()), "task": list(tasks)})
    pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(pandas)}), path)
