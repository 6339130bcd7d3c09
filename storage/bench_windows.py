"""How fast random windows come out of a mapped store, against the same gather from memory."""

import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from beyondmimic_data.errors import StoreError
from storage.artifacts import require_free_space
from storage.bench_peers import bench_peers
from storage.block_pool import BlockPool
from storage.mapping import available_memory
from storage.row_files import RowFiles
from storage.schema import Column, StepSchema
from storage.trajectory_reader import TrajectoryReader
from storage.trajectory_writer import TrajectoryWriter
from storage.windows import gather_windows

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

WINDOW = 21
COLUMNS = 194
CHUNK_STEPS = 16_384
BATCH = 256
ROUNDS = 5
_CHUNK_BYTES = CHUNK_STEPS * COLUMNS * 4
_STORE_CHUNKS = 80  # 1.02 GB
_EPISODE_ROWS = 512
_LEAST_ROUND_S, _LONGEST_ROUND_S = 0.3, 2.0
_SEED = 3
POOL_BLOCK, POOL_DRAWS = 2**23, 0.1
"""Bytes of a block, and how often a window is drawn while its block is in memory, where the disk is read."""
PEER_EPISODES, PEER_SECONDS, PEER_BATCH = 128, 2.0, 64
"""What the ways of others are measured on: as many episodes of 512 rows, batches of so many windows."""


def bench_windows(seconds: float = 50.0, folder: Path | None = None) -> dict[str, Any]:
    """Measure random windows of 21 rows of 194 float32 on one core, hot, mapped and from memory in turns.

    Args:
        seconds: limit of the whole benchmark; the store is made smaller where the disk is slow.
        folder: where to put the temporary store of 1 GB; the system's temporary folder by default.

    Returns:
        ``windows_per_s`` and ``ram_windows_per_s`` (medians of five rounds in turns), ``ratio`` of the two,
        ``store_gb``, and ``round_s``, how long a round was; ``peers``, windows a second of the ways in which
        others read the first ``peers_gb`` of the same rows, or why they are skipped; ``disk_gb_per_s``, the
        store read cold from end to end, ``shuffled_gb_per_s`` and ``shuffled_windows_per_s`` of a
        ``BlockPool``, cold too, and ``shuffled_ratio`` of the two.

    Raises:
        StoreError: the disk or the memory has no room for even a small store.
    """
    deadline = time.perf_counter() + 0.8 * seconds
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory(prefix="bench_windows_", dir=folder) as temporary:
            reader = _make_store(Path(temporary), seconds / 3)
            if not reader.mapped:
                raise StoreError(f"{temporary}: this machine cannot map chunks of {_CHUNK_BYTES} bytes")
            disk = _bench_disk(Path(temporary) / "store", reader)
            reader.warm()
            memory = torch.from_numpy(reader.rows.copy())
            left = (deadline - time.perf_counter()) / (2 * ROUNDS)
            result = _compare(reader, memory, min(max(left, _LEAST_ROUND_S), _LONGEST_ROUND_S))
            episodes = memory.numpy()[: PEER_EPISODES * _EPISODE_ROWS].reshape(-1, _EPISODE_ROWS, COLUMNS)
            peers = bench_peers(episodes, WINDOW, PEER_BATCH, PEER_SECONDS, Path(temporary), _SEED)
            return result | disk | {"peers": peers, "peers_gb": episodes.nbytes / 1e9}
    finally:
        torch.set_num_threads(threads)


def _bench_disk(store: Path, reader: TrajectoryReader) -> dict[str, float]:
    """Read the store cold, from its first byte to its last, and then in shuffled blocks, cold again."""
    files = sorted(
        path for path in store.rglob("*") if path.is_file() and path.stat().st_size >= _CHUNK_BYTES
    )
    _forget(files)
    began, size = time.perf_counter(), 0
    buffer = bytearray(POOL_BLOCK)
    for path in files:
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                size += count
    sequential = size / (time.perf_counter() - began)
    _forget(files)
    began = time.perf_counter()
    pool = BlockPool(
        RowFiles([reader.info]),
        reader.window_starts(WINDOW),
        WINDOW,
        draws_a_window=POOL_DRAWS,
        pool_bytes=size // 8,
        block_bytes=POOL_BLOCK,
    )
    drawn = 0
    while pool.bytes_read < 0.9 * size:
        pool.sample(BATCH)
        drawn += BATCH
    seconds = time.perf_counter() - began
    pool.close()
    return {
        "disk_gb_per_s": sequential / 1e9,
        "shuffled_gb_per_s": pool.bytes_read / seconds / 1e9,
        "shuffled_ratio": pool.bytes_read / seconds / sequential,
        "shuffled_windows_per_s": drawn / seconds,
    }


def _forget(files: Sequence[Path]) -> None:
    """Have the kernel drop its copies of files, so that the next read is the disk's."""
    for path in files:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


def _compare(reader: TrajectoryReader, memory: "torch.Tensor", round_s: float) -> dict[str, float]:
    """Time both, in turns; each draws the same windows in the same order."""
    import torch

    starts = reader.window_starts(WINDOW)
    out = torch.empty(BATCH, WINDOW, reader.schema.num_columns)
    drawn = torch.from_numpy(np.random.default_rng(_SEED).choice(starts, (4096, BATCH)))
    mapped_rates, memory_rates = [], []
    for _ in range(ROUNDS):
        mapped_rates.append(_rate(lambda index: reader.gather(index, WINDOW, out), drawn, round_s))
        memory_rates.append(_rate(lambda index: gather_windows(memory, index, WINDOW, out), drawn, round_s))
    windows_per_s, ram_windows_per_s = statistics.median(mapped_rates), statistics.median(memory_rates)
    return {
        "windows_per_s": windows_per_s,
        "ram_windows_per_s": ram_windows_per_s,
        "ratio": windows_per_s / ram_windows_per_s,
        "store_gb": memory.nbytes / 1e9,
        "round_s": round_s,
    }


def _rate(gather: Callable[["torch.Tensor"], object], drawn: "torch.Tensor", seconds: float) -> float:
    """Return windows a second of one round."""
    began = time.perf_counter()
    batches = 0
    while time.perf_counter() - began < seconds:
        gather(drawn[batches % len(drawn)])
        batches += 1
    return batches * drawn.shape[1] / (time.perf_counter() - began)


def _make_store(folder: Path, seconds: float) -> TrajectoryReader:
    """Write a store as large as disk, memory and time allow, up to 1 GB, through the project's own writer."""
    _write_units(folder / "first", 1)  # what is imported on the way is not the disk's time
    began = time.perf_counter()
    _write_units(folder / "probe", 4)
    affordable = int(4 * seconds / (time.perf_counter() - began))
    units = min(_STORE_CHUNKS, affordable, available_memory() // (3 * _CHUNK_BYTES))
    if units < 1:
        raise StoreError("too little memory or time for a store of one chunk")
    if units < _STORE_CHUNKS:
        log.warning("the store has %d chunks, not %d: memory or disk allow no more", units, _STORE_CHUNKS)
    require_free_space(folder, units * _CHUNK_BYTES)
    _write_units(folder / "store", units)
    return TrajectoryReader(folder / "store")


def _write_units(folder: Path, units: int) -> None:
    schema = StepSchema(columns=(Column("features", (COLUMNS,)),), control_hz=50.0)
    writer = TrajectoryWriter.create(folder, schema, units=units, chunk_steps=CHUNK_STEPS)
    noise = np.random.default_rng(_SEED).standard_normal((CHUNK_STEPS, COLUMNS), dtype=np.float32)
    for unit in range(units):
        episodes = [
            {
                "episode_id": f"{unit}-{start}",
                "skill": "bench",
                "clip": "noise",
                "unit": unit,
                "start_row": writer.first_row(unit) + start,
                "length": _EPISODE_ROWS,
                "termination": "time_out",
            }
            for start in range(0, CHUNK_STEPS, _EPISODE_ROWS)
        ]
        writer.write_unit(unit, [noise + unit], episodes)
    writer.finish()
