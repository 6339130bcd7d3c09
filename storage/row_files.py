"""Consecutive rows read from chunk files in large pieces, without mapping them."""

import os
from collections.abc import Sequence

import numpy as np

from beyondmimic_data.errors import StoreError
from storage import layout
from storage.step_array import ArrayInfo, check_alike


class RowFiles:
    """The rows of several arrays below each other, in the order and padding of ``step_array.load_rows``.

    A mapped page comes from the disk when it is touched, a few at a time; a read of megabytes keeps it busy.
    """

    def __init__(self, arrays: Sequence[ArrayInfo]) -> None:
        """Name the chunk files of arrays that Zarr stored plainly.

        Raises:
            StoreError: the arrays do not agree, or are compressed.
        """
        check_alike(arrays)
        for info in arrays:
            if not info.plain:
                raise StoreError(f"{info.folder}: its chunks are compressed: they cannot be read in pieces")
        self._files = [layout.chunk_path(info.folder, c) for info in arrays for c in range(info.num_chunks)]
        steps = [info.chunk_steps for info in arrays for _ in range(info.num_chunks)]
        self._ends = np.cumsum(steps)
        self._first = self._ends - steps
        self.dtype = arrays[0].dtype
        """Of the stored rows."""
        self.shape = (int(self._ends[-1]), arrays[0].schema.num_columns)
        """Rows and columns."""

    def read(self, first: int, out: np.ndarray) -> None:
        """Fill ``out`` (n, C), contiguous and of the stored type, with the rows from ``first`` on.

        Raises:
            StoreError: a chunk file is missing or cut short.
        """
        row_bytes, done = out[0].nbytes, 0
        chunk = int(np.searchsorted(self._ends, first, side="right"))
        while done < len(out):
            row = first + done - int(self._first[chunk])
            count = min(len(out) - done, int(self._ends[chunk]) - first - done)
            self._read_chunk(chunk, row * row_bytes, memoryview(out[done : done + count]).cast("B"))
            done += count
            chunk += 1

    def _read_chunk(self, chunk: int, offset: int, into: memoryview) -> None:
        path = self._files[chunk]
        try:
            handle = os.open(path, os.O_RDONLY)
        except FileNotFoundError as error:
            raise StoreError(f"{path}: missing; check the store's integrity") from error
        try:
            while into:
                count = os.preadv(handle, [into], offset)
                if not count:
                    raise StoreError(f"{path}: cut short at {offset} bytes; check the store's integrity")
                into, offset = into[count:], offset + count
        finally:
            os.close(handle)
