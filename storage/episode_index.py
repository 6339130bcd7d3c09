"""The episode index: one Parquet row an episode, with where it stands and everything drawn for it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from beyondmimic_data.errors import StoreError
from beyondmimic_data.files import atomic_path

if TYPE_CHECKING:
    from pyarrow.compute import Expression

REQUIRED: dict[str, pa.DataType] = {
    "episode_id": pa.string(),
    "skill": pa.string(),
    "clip": pa.string(),
    "unit": pa.int64(),
    "start_row": pa.int64(),
    "length": pa.int64(),
    "termination": pa.string(),
}
"""Columns that every index has: what an episode is, the rows it takes, why it ended."""

KNOWN: dict[str, pa.DataType] = {
    "start_frame": pa.int64(),
    "raw_length": pa.int64(),
    "recovery": pa.bool_(),
    "verdict": pa.string(),
    "latency_ms": pa.float64(),
    "friction": pa.float64(),
    "body_pos_err_m": pa.float64(),
    "mass_scale": pa.list_(pa.float64()),
    "joint_offset": pa.list_(pa.float64()),
    "com_offset": pa.list_(pa.float64()),
    "push_seconds": pa.list_(pa.float64()),
    "push_velocity": pa.list_(pa.float64()),
}
"""Types of the columns that rollouts record; a column that is in neither list gets the type of its values."""


def plain_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return an index row as plain JSON values; a number that is not finite becomes null."""
    return {name: _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # NumPy arrays and scalars, torch tensors
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def episode_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return index rows as a table: the required columns, the known ones, then the others by name.

    Raises:
        StoreError: a required value is missing, an id comes twice, or a column mixes types.
    """
    present = {name for row in rows for name in row}
    extra = sorted(present - REQUIRED.keys() - KNOWN.keys())
    types: dict[str, pa.DataType | None] = dict(REQUIRED)
    types |= {name: kind for name, kind in KNOWN.items() if name in present or not rows}
    types |= dict.fromkeys(extra)
    columns = {}
    for name, kind in types.items():
        values = [_plain(row.get(name)) for row in rows]
        if name in REQUIRED and None in values:
            raise StoreError(f"episode index: row {values.index(None)}: '{name}' is missing")
        try:
            columns[name] = pa.array(values, kind)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise StoreError(f"episode index: column '{name}': {error}") from error
    ids = [row["episode_id"] for row in rows]
    if len(set(ids)) != len(ids):
        twice = next(i for i in ids if ids.count(i) > 1)
        raise StoreError(f"episode index: episode_id {twice!r} comes more than once")
    return pa.table(columns)


def write_episodes(path: Path, table: pa.Table) -> None:
    """Write an index atomically; equal tables give equal bytes."""
    import pyarrow.parquet as pq

    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_episodes(
    path: Path, where: "Expression | None" = None, columns: Iterable[str] | None = None
) -> pa.Table:
    """Read an index, or the part of it that a query wants.

    Args:
        path: Parquet file.
        where: keep rows for which this holds, such as ``pyarrow.compute.field("friction") > 1.0``.
        columns: names to read, all by default.

    Raises:
        StoreError: there is no such file, it is damaged, or a column is missing.
    """
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path, columns=None if columns is None else list(columns), filters=where)
    except (OSError, pa.ArrowInvalid) as error:
        raise StoreError(f"{path}: not a readable episode index ({error})") from error


def join_tables(tables: Sequence[pa.Table]) -> pa.Table:
    """Return indexes below each other; a column that one of them lacks is null there."""
    return pa.concat_tables(tables, promote_options="permissive").combine_chunks()
