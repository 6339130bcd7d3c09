"""The episode index: one Parquet row an episode, with where it stands and everything drawn for it."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
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
REMEDY = "'beyondmimic data verify --heal' takes out what is damaged"

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
        StoreError: there is no such file, it is damaged, a column is missing or of another type, or a value
            that is required is missing.
    """
    import pyarrow.parquet as pq

    names = None if columns is None else list(columns)
    try:
        table = pq.read_table(path, columns=names, filters=where)
        table.validate(full=True)
    except (OSError, ValueError, pa.ArrowException) as error:
        what = " ".join(str(error).split())
        raise StoreError(f"{path}: not a readable episode index ({what})") from error
    for name in REQUIRED if names is None else names:
        if name not in table.column_names:
            raise StoreError(f"{path}: not a readable episode index (no column {name})")
    for name, kind in (REQUIRED | KNOWN).items():
        if name not in table.column_names:
            continue
        if table.schema.field(name).type != kind:
            raise StoreError(f"{path}: column {name}: found {table.schema.field(name).type}, expected {kind}")
        if name in REQUIRED and table[name].null_count:
            raise StoreError(f"{path}: column {name}: {table[name].null_count} values are missing")
    return table


def check_places(path: Path, table: pa.Table, num_rows: int) -> None:
    """Check that an index of rollouts places each episode once, on rows of its own.

    Args:
        path: the index's file, to name in an error.
        table: at least ``episode_id``, ``unit``, ``start_row`` and ``length``.
        num_rows: rows of the step array.

    Raises:
        StoreError: an id comes twice, episodes overlap or leave the array, or those of a unit do not stand
            one after the other from its first row.
    """
    ids = table["episode_id"].to_pylist()
    unit, start, length = (table[name].to_numpy() for name in ("unit", "start_row", "length"))
    order = np.argsort(start, kind="stable")
    unit, start, length = unit[order], start[order], length[order]
    end = start + length
    wrong = (unit < 0) | (start < 0) | (length < 1)
    wrong |= (start >= num_rows) | (length > num_rows) | (end > num_rows)
    same = unit[1:] == unit[:-1]
    wrong[1:] |= np.where(same, start[1:] != end[:-1], start[1:] < end[:-1]) | (unit[1:] < unit[:-1])
    first = np.append(True, ~same)[: len(unit)]  # of a unit, which begins at so many times the rows of one
    rows = start[first & (unit > 0)] // unit[first & (unit > 0)]
    wrong |= first & (start != unit * (int(np.median(rows)) if len(rows) else 0))
    if wrong.any():
        at = int(np.argmax(wrong))
        raise StoreError(
            f"{path}: episode {ids[order[at]]!r}: start_row {start[at]} and length {length[at]} are not "
            f"rows of its own of {num_rows}; {REMEDY}"
        )
    if len(set(ids)) != len(ids):
        twice = next(name for name, count in Counter(ids).items() if count > 1)
        raise StoreError(f"{path}: episode_id {twice!r} comes more than once; {REMEDY}")


def join_tables(tables: Sequence[pa.Table]) -> pa.Table:
    """Return indexes below each other; a column that one of them lacks is null there."""
    return pa.concat_tables(tables, promote_options="permissive").combine_chunks()
