"""Reading the rollouts of one skill: its episode index, its rows, and windows of them."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from beyondmimic_data.errors import StoreError
from beyondmimic_data.files import read_json
from storage import layout
from storage.episode_index import check_places, read_episodes
from storage.integrity import check_opened
from storage.mapping import populate
from storage.moments import Moments
from storage.step_array import load_rows, read_array_info
from storage.windows import as_tensor, gather_windows, window_starts

if TYPE_CHECKING:
    import torch


class TrajectoryReader:
    """Random access to the rollouts of one folder.

    Chunk files are mapped, so that opening costs nothing and readers share the page cache; a store that
    another program compressed or cut differently is read into memory.
    """

    def __init__(self, folder: Path) -> None:
        """Open a finished folder.

        Raises:
            StoreError: the folder holds no finished rollouts, files of it are missing or changed
                (``integrity.check_opened``), or its index places episodes wrongly.
        """
        index = folder / layout.EPISODES
        if not index.exists():
            raise StoreError(f"{index}: missing; the collection of that folder is not finished")
        check_opened(folder)
        self.folder = folder
        self.info = read_array_info(folder)
        self.schema = self.info.schema
        self.episodes = read_episodes(index)
        check_places(index, self.episodes, self.info.num_rows)
        rows, self.mapped = load_rows([self.info])
        self.rows = rows[: self.info.num_rows]
        """(R, C) read-only rows in the store's type."""
        self._steps = as_tensor(self.rows)

    def window_starts(self, length: int) -> np.ndarray:
        """Return (W,) int64: every row where ``length`` rows of one episode begin."""
        first_rows, lengths = (self.episodes[name].to_numpy() for name in ("start_row", "length"))
        return window_starts(first_rows, lengths, length)

    def gather(
        self, starts: "torch.Tensor | np.ndarray", length: int, out: "torch.Tensor | None" = None
    ) -> "torch.Tensor":
        """Return windows (N, length, C) float32 that begin at the given rows.

        Args:
            starts: (N,) int64, of ``window_starts``; other rows may cross an episode's end.
            length: rows of a window.
            out: (N, length, C) float32 to write into.
        """
        return gather_windows(self._steps, starts, length, out)

    def moments(self) -> Moments:
        """Return mean, deviation and range of the kept rows' columns, as recorded when they were written."""
        return read_moments(self.folder)

    def warm(self) -> None:
        """Read all chunks into the page cache; worth it where they fit into memory."""
        if self.mapped:
            populate(self.rows)


def read_moments(folder: Path) -> Moments:
    """Read the statistics of a finished folder's columns.

    Raises:
        StoreError: there are none, or they are damaged.
    """
    path = folder / layout.STATISTICS
    try:
        return Moments.from_json(read_json(path))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: no readable statistics ({error!r}); collect the rollouts again") from error
