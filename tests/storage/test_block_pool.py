"""Windows from a pool of blocks: whole, from everywhere, the same for the same seed."""

import numpy as np
import pytest
from stored_rollouts import CHUNK_STEPS, write_rollouts

from beyondmimic_data.errors import StoreError
from storage.block_pool import BlockPool
from storage.row_files import RowFiles
from storage.step_array import read_array_info
from storage.trajectory_reader import TrajectoryReader
from storage.windows import window_starts

LENGTH, EPISODE, EPISODES = 5, 37, 50


@pytest.fixture
def rows() -> np.ndarray:
    """Rows that say which they are."""
    number = np.arange(EPISODE * EPISODES, dtype=np.float32)
    return np.stack([number, number // EPISODE], 1)


class Rows:
    """Rows in memory, read as if they were on a disk."""

    def __init__(self, rows: np.ndarray) -> None:
        self._rows, self.shape, self.dtype = rows, rows.shape, rows.dtype

    def read(self, first: int, out: np.ndarray) -> None:
        out[:] = self._rows[first : first + len(out)]


@pytest.fixture
def starts() -> np.ndarray:
    return window_starts(np.arange(EPISODES) * EPISODE, np.full(EPISODES, EPISODE), LENGTH)


def pool_of(rows, starts, **options):
    sizes = {"pool_bytes": 800 * 8, "block_bytes": 100 * 8}
    return BlockPool(Rows(rows), starts, LENGTH, **(sizes | options))


def test_a_window_is_consecutive_rows_of_one_episode(rows, starts):
    pool = pool_of(rows, starts)
    for _ in range(40):
        windows = pool.sample(32).numpy()
        np.testing.assert_array_equal(np.diff(windows[..., 0], axis=1), 1)
        assert (np.ptp(windows[..., 1], axis=1) == 0).all()
    pool.close()


def test_every_window_comes_up_about_as_often(rows, starts):
    pool = pool_of(rows, starts)
    seen = np.zeros(len(rows))
    draws = 40 * len(starts)
    for _ in range(draws // 64):
        np.add.at(seen, pool.sample(64).numpy()[:, 0, 0].astype(int), 1)
    pool.close()
    counts = seen[starts]
    assert counts.min() > 0.4 * counts.mean()
    assert counts.max() < 2.0 * counts.mean()
    assert seen.sum() == counts.sum()


def test_a_batch_mixes_blocks(rows, starts):
    pool = pool_of(rows, starts)
    blocks = pool.sample(64).numpy()[:, 0, 0] // 100
    pool.close()
    assert len(np.unique(blocks)) == 7


def test_a_seed_decides_the_windows(rows, starts):
    runs = []
    for _ in range(2):
        pool = pool_of(rows, starts, seed=4)
        runs.append([pool.sample(16).numpy() for _ in range(60)])
        pool.close()
    np.testing.assert_array_equal(runs[0], runs[1])


def test_what_fits_into_the_pool_is_drawn_from_too(rows, starts):
    pool = pool_of(rows[:80], starts[starts < 60], pool_bytes=10**6)
    assert pool.sample(8).shape == (8, LENGTH, 2)
    pool.close()


def test_no_window_is_an_error(rows):
    with pytest.raises(StoreError, match="shorter than a window"):
        pool_of(rows, np.zeros(0, np.int64))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_rows_of_files_are_those_of_the_store(tmp_path, dtype):
    for name in ("a", "b"):
        write_rollouts(tmp_path / name, dtype=dtype)
    files = RowFiles([read_array_info(tmp_path / name) for name in ("a", "b")])
    whole = np.concatenate([TrajectoryReader(tmp_path / name).rows for name in ("a", "b")])
    assert files.shape == whole.shape
    for first, count in ((0, 10), (CHUNK_STEPS - 3, 6), (10, 3 * CHUNK_STEPS), (len(whole) - 5, 5)):
        out = np.empty((count, files.shape[1]), files.dtype)
        files.read(first, out)
        np.testing.assert_array_equal(out, whole[first : first + count])


def test_a_chunk_that_is_cut_short_is_named(tmp_path):
    write_rollouts(tmp_path)
    files = RowFiles([read_array_info(tmp_path)])
    chunk = tmp_path / "steps.zarr" / "steps" / "c" / "1" / "0"
    chunk.write_bytes(chunk.read_bytes()[:100])
    with pytest.raises(StoreError, match="c/1/0: cut short at 100 bytes"):
        files.read(CHUNK_STEPS, np.empty((8, files.shape[1]), files.dtype))
