"""One stored step array: its metadata, and its rows as memory, mapped where the disk holds the values."""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from beyondmimic_data.errors import StoreError, shown
from beyondmimic_data.files import read_json
from storage import layout
from storage.mapping import can_map, map_files
from storage.schema import StepSchema

log = logging.getLogger(__name__)

MAX_UNITS = 2**20
"""Most chunks of an array: of 32 768 steps each they are 190 000 hours at 50 Hz."""
_PLAIN_CODECS = [{"name": "bytes", "configuration": {"endian": "little"}}]


@dataclasses.dataclass(frozen=True)
class ArrayInfo:
    """What the Zarr metadata of a rollout folder say."""

    folder: Path
    """Rollout folder."""
    schema: StepSchema
    """Columns."""
    num_rows: int
    """Rows of the array, kept or not."""
    chunk_steps: int
    """Rows of a chunk; the last chunk is as long as the others on disk."""
    dtype: np.dtype
    """Little-endian float32 or float16."""
    plain: bool
    """The chunk files hold the values as they are in memory: uncompressed, unsharded, little-endian."""

    @property
    def num_chunks(self) -> int:
        """Chunks along the rows."""
        return -(-self.num_rows // self.chunk_steps)

    @property
    def chunk_bytes(self) -> int:
        """Size of an uncompressed chunk file."""
        return self.chunk_steps * self.schema.num_columns * self.dtype.itemsize

    @property
    def padded_rows(self) -> int:
        """Rows of whole chunks."""
        return self.num_chunks * self.chunk_steps


def read_array_info(folder: Path) -> ArrayInfo:
    """Read the metadata of a rollout folder.

    Raises:
        StoreError: there is no step array, or one that is not laid out as this project's.
    """
    source, group_source = layout.metadata_paths(folder)
    array, group = _read_metadata(source), _read_metadata(group_source)
    schema = StepSchema.from_attrs(group.get("attributes"), group_source)
    try:
        (num_rows, columns), grid = array["shape"], array["chunk_grid"]
        chunk_steps, chunk_columns = grid["configuration"]["chunk_shape"]
        if not all(type(n) is int and n > 0 for n in (num_rows, columns, chunk_steps, chunk_columns)):
            raise ValueError("sizes that are no positive numbers")
        if num_rows > MAX_UNITS * chunk_steps:
            raise ValueError(f"more than {MAX_UNITS} chunks")
        dtype = array["data_type"]
        plain = array["codecs"] == _PLAIN_CODECS and array["chunk_key_encoding"] == {
            "name": "default",
            "configuration": {"separator": "/"},
        }
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"{source}: not the metadata of a two-dimensional Zarr v3 array ({error!r})"
        ) from error
    if columns != schema.num_columns or chunk_columns != columns:
        raise StoreError(
            f"{source}: found {columns} columns in chunks of {chunk_columns}, "
            f"expected the schema's {schema.num_columns} in one chunk"
        )
    if not isinstance(dtype, str) or dtype not in ("float32", "float16"):
        raise StoreError(f"{source}: data_type: found {shown(dtype)}, expected float32 or float16")
    return ArrayInfo(folder, schema, num_rows, chunk_steps, np.dtype(dtype).newbyteorder("<"), plain)


def _read_metadata(path: Path) -> dict[str, Any]:
    try:
        value = read_json(path)
    except FileNotFoundError as error:
        raise StoreError(f"{path}: missing; that folder holds no rollouts") from error
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(value, dict):
        raise StoreError(f"{path}: found {shown(value)}, expected the metadata of Zarr v3")
    return value


def check_alike(arrays: Sequence[ArrayInfo]) -> None:
    """Check that rows of all arrays mean the same and have one type.

    Raises:
        StoreError: they do not.
    """
    first = arrays[0]
    for info in arrays[1:]:
        if not info.schema.same_columns(first.schema) or info.dtype != first.dtype:
            raise StoreError(
                f"{info.folder}: its columns, rate or type ({info.dtype.name}) are not those of "
                f"{first.folder} ({first.dtype.name}); collect them with one configuration"
            )


def load_rows(arrays: Sequence[ArrayInfo]) -> tuple[np.ndarray, bool]:
    """Give the rows of several arrays as one, below each other, each padded to whole chunks.

    They are mapped from the chunk files if all of them allow it, else read through Zarr into memory.

    Returns:
        (sum of padded_rows, C) read-only rows, and whether they are mapped.

    Raises:
        StoreError: the arrays do not agree, or a chunk file is missing or cut short.
    """
    check_alike(arrays)
    first = arrays[0]
    shape = (sum(info.padded_rows for info in arrays), first.schema.num_columns)
    if all(info.plain and can_map(info.chunk_bytes) for info in arrays):
        files = [layout.chunk_path(info.folder, c) for info in arrays for c in range(info.num_chunks)]
        sizes = [info.chunk_bytes for info in arrays for _ in range(info.num_chunks)]
        return map_files(files, sizes).view(first.dtype).reshape(shape), True
    size = shape[0] * shape[1] * first.dtype.itemsize
    log.info("%s: chunks cannot be mapped; reading %.2f GB into memory", first.folder, size / 1e9)
    rows = np.full(shape, np.nan, first.dtype)
    start = 0
    for info in arrays:
        rows[start : start + info.num_rows] = _read_through_zarr(info)
        start += info.padded_rows
    rows.flags.writeable = False
    return rows, False


def _read_through_zarr(info: ArrayInfo) -> np.ndarray:
    import zarr

    if info.plain:
        for chunk in range(info.num_chunks):  # Zarr would take a missing chunk for one full of NaN
            path = layout.chunk_path(info.folder, chunk)
            if not path.is_file() or path.stat().st_size != info.chunk_bytes:
                raise StoreError(
                    f"{path}: missing or not {info.chunk_bytes} bytes long; check the store's integrity"
                )
    array = zarr.open_array(str(layout.array_path(info.folder)), mode="r")
    return np.asarray(array[:])
