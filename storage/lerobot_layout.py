"""What a LeRobot dataset of version 3.0 holds: its features, their statistics, its files."""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from storage.moments import Moments
from storage.schema import Column, StepSchema

CODEBASE_VERSION = "v3.0"
INFO, STATS, TASKS = "meta/info.json", "meta/stats.json", "meta/tasks.parquet"
DATA, EPISODES = "data", "meta/episodes"
FILE_MB = 100
"""Largest Parquet file, MiB; the library's own default."""

ACTIONS = {"action": "action_clean", "action.executed": "action_cmd"}
"""Features that are one column of the store, named by joint; the layout needs them."""
MORE_ACTIONS = {"action.noise_free": "action_noise_free"}
"""The same, where the store has them."""
PHASE = "phase"
APART = ("clip_id",)
"""Columns that are no feature: an episode's clip stands in its metadata, by name."""
COUNTERS = ("frame_index", "episode_index", "index", "task_index")
"""int64 features that the layout requires beside ``timestamp``."""
QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
FIGURES = ("min", "max", "mean", "std", *QUANTILES)
"""Statistics of each element of a feature; ``count`` stands beside them."""


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
    """Array columns of the store that it copies; none if it is made at export."""

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
    """Return the features of steps: the robot's state, its actions, the phase of its clip, and counters.

    Raises:
        StoreError: the steps hold no action.
    """
    more = {name: source for name, source in MORE_ACTIONS.items() if source in schema.slices}
    actions = ACTIONS | more
    apart = {*actions.values(), PHASE, *APART}
    state = [column for column in schema.columns if column.name not in apart]
    names = tuple(name for column in state for name in element_names(column))
    features = [Feature("observation.state", "float32", names, _places(schema, state))]
    for name, source in actions.items():
        column = schema.column(source)
        features.append(Feature(name, "float32", column.names, _places(schema, [column])))
    if PHASE in schema.slices:
        features.append(Feature(PHASE, "float32", source=_places(schema, [schema.column(PHASE)])))
    features.append(Feature("timestamp", "float32"))
    return (*features, *(Feature(name, "int64") for name in COUNTERS))


def _places(schema: StepSchema, columns: Sequence[Column]) -> tuple[int, ...]:
    parts = (schema.slice(column.name) for column in columns)
    return tuple(place for part in parts for place in range(part.start, part.stop))


@dataclasses.dataclass(frozen=True)
class Summary:
    """Statistics of the elements of all features, side by side."""

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

    def to_json(self, features: Sequence[Feature]) -> dict[str, dict[str, list]]:
        """Return the statistics of each feature by their names in the layout."""
        figures = {name: getattr(self.moments, name) for name in ("min", "max", "mean", "std")}
        figures |= dict(zip(QUANTILES, self.quantiles, strict=True))
        value, start = {}, 0
        for feature in features:
            part = slice(start, start + feature.size)
            value[feature.name] = {name: figures[name][part].tolist() for name in FIGURES}
            value[feature.name]["count"] = [self.moments.count]
            start = part.stop
        return value


def episode_fields(features: Sequence[Feature]) -> Iterator[pa.Field]:
    """Yield the columns of ``meta/episodes`` that the layout has, statistics of each feature among them."""
    yield pa.field("episode_index", pa.int64())
    yield pa.field("tasks", pa.list_(pa.string()))
    yield pa.field("length", pa.int64())
    for name in ("data/chunk_index", "data/file_index", "dataset_from_index", "dataset_to_index"):
        yield pa.field(name, pa.int64())
    for feature in features:
        for name in FIGURES:
            yield pa.field(f"stats/{feature.name}/{name}", pa.list_(pa.float64()))
        yield pa.field(f"stats/{feature.name}/count", pa.list_(pa.int64()))
    for name in ("meta/episodes/chunk_index", "meta/episodes/file_index"):
        yield pa.field(name, pa.int64())


def write_tasks(path: Path, tasks: Mapping[str, int]) -> None:
    """Write the tasks as pandas would, indexed by their names: the library looks them up by that index."""
    import pyarrow.parquet as pq

    types = {"task_index": ("int64", "int64"), "task": ("unicode", "object")}
    columns = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy, "metadata": None}
        for name, (kind, numpy) in types.items()
    ]
    pandas = {"index_columns": ["task"], "column_indexes": [], "columns": columns, "pandas_version": "2.0.0"}
    table = pa.table({"task_index": pa.array(list(tasks.values()), pa.int64()), "task": list(tasks)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(pandas)}), path)
