"""Random windows of rows that are larger than memory: from a pool of blocks that is renewed all the time.

Windows drawn one by one all over a disk cost a seek each. Here blocks are read whole, in an order shuffled
anew for each pass, and windows are drawn from those in memory; a block goes when its share of draws is made.
With a pool of a hundred blocks the windows of a batch come from a hundred places.
"""

import itertools
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch

from beyondmimic_data.errors import StoreError
from storage.windows import gather_windows

POOL_BYTES, BLOCK_BYTES = 2**30, 2**23


class RowSource(Protocol):
    """Rows on a disk, such as ``RowFiles``."""

    shape: tuple[int, int]
    dtype: np.dtype

    def read(self, first: int, out: np.ndarray) -> None:
        """Fill ``out`` (n, C) with the rows from ``first`` on."""
        ...


class BlockPool:
    """Draws windows from blocks in memory; the next block is read meanwhile.

    Windows that would cross the border of two blocks are drawn like all others: a block is read with the rows
    that its last windows need.
    """

    def __init__(
        self,
        rows: RowSource,
        starts: np.ndarray,
        length: int,
        *,
        draws_a_window: float = 0.25,
        pool_bytes: int = POOL_BYTES,
        block_bytes: int = BLOCK_BYTES,
        seed: int = 0,
    ) -> None:
        """Fill the pool.

        Args:
            rows: (R, C) rows on a disk.
            starts: (W,) sorted rows where a window begins.
            length: rows of a window.
            draws_a_window: how often a window is drawn, on average, while its block is in memory; less mixes
                better and reads more.
            pool_bytes: memory that the pool takes.
            block_bytes: what is read at once.
            seed: decides the order of blocks and the draws.

        Raises:
            StoreError: there is no window.
        """
        if not len(starts):
            raise StoreError("no window to draw: every episode is shorter than a window")
        num_rows, columns = rows.shape
        row_bytes = columns * rows.dtype.itemsize
        self._rows, self._length = rows, length
        self._block_rows = max(block_bytes // row_bytes, length)
        borders = np.arange(0, num_rows + self._block_rows, self._block_rows)
        edges = np.searchsorted(starts, borders)
        self._parts = [starts[a:b] for a, b in itertools.pairwise(edges) if b > a]
        self._rng = np.random.default_rng(seed)
        slots = min(max(pool_bytes // (self._block_rows * row_bytes), 2), len(self._parts) + 1)
        self._stride = self._block_rows + length - 1
        self._pool = torch.from_numpy(np.empty((slots * self._stride, columns), rows.dtype))
        self._starts: list[np.ndarray] = [np.zeros(0, np.int64)] * slots
        self._order: list[int] = []
        self._draws_a_window, self._drawn = draws_a_window, 0.0
        self.bytes_read = 0
        """Bytes of blocks read so far."""
        self._reader = ThreadPoolExecutor(1, "block-pool")
        self._oldest = slots - 1
        for slot in range(slots - 1):
            self._starts[slot] = self._read(slot, self._next())
        self._coming = self._fetch()

    def sample(self, batch: int, out: torch.Tensor | None = None) -> torch.Tensor:
        """Return random windows (batch, length, C) float32 of the blocks in memory.

        ``out`` (batch, length, C) float32 is written into if it is given.
        """
        counts = np.array([len(part) for part in self._starts])
        ends = np.cumsum(counts)
        picks = self._rng.integers(ends[-1], size=batch)
        slots = np.searchsorted(ends, picks, side="right")
        inside = picks - (ends - counts)[slots]
        starts = np.array([self._starts[slot][i] for slot, i in zip(slots, inside, strict=True)])
        windows = gather_windows(self._pool, starts, self._length, out)
        self._drawn += batch
        present = counts[counts > 0]
        while self._drawn >= self._draws_a_window * present.mean():
            self._drawn -= self._draws_a_window * float(present.mean())
            self._renew()
        return windows

    def close(self) -> None:
        """End the thread that reads ahead."""
        self._reader.shutdown(cancel_futures=True)

    def _renew(self) -> None:
        """Let the block that was read ahead in, and the oldest one go: its place is filled next."""
        self._starts[self._oldest] = self._coming.result()
        self._oldest = (self._oldest + 1) % len(self._starts)
        self._starts[self._oldest] = np.zeros(0, np.int64)
        self._coming = self._fetch()

    def _fetch(self) -> "Future[np.ndarray]":
        return self._reader.submit(self._read, self._oldest, self._next())

    def _next(self) -> int:
        """Return the next block of the pass; a pass begins with another order."""
        if not self._order:
            self._order = self._rng.permutation(len(self._parts)).tolist()
        return self._order.pop()

    def _read(self, slot: int, block: int) -> np.ndarray:
        """Copy a block into a slot; returns where its windows begin in the pool."""
        starts = self._parts[block]
        first, end = int(starts[0]), int(starts[-1]) + self._length
        into = slot * self._stride
        place = self._pool[into : into + end - first].numpy()
        self._rows.read(first, place)
        self.bytes_read += place.nbytes
        return starts - first + into
