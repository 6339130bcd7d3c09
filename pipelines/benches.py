"""The benchmarks by name; some need both the domain and the store."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from beyondmimic_data.config import quick

if TYPE_CHECKING:
    import torch

    from storage.trajectory_reader import TrajectoryReader


def run(name: str) -> dict[str, Any]:
    """Run a benchmark and return its figures."""
    benches: dict[str, Callable[[], dict[str, Any]]] = {
        "physics": _physics,
        "ppo": _ppo,
        "collect": _collect,
        "windows": _windows,
        "train": _train,
    }
    return benches[name]()


def _physics() -> dict[str, Any]:
    from beyondmimic_data.bench.physics import bench_physics

    return bench_physics()


def _ppo() -> dict[str, Any]:
    from beyondmimic_data.bench.ppo import bench_ppo

    return bench_ppo()


def _windows() -> dict[str, Any]:
    from beyondmimic_data.bench.sampler import bench_sampler
    from storage.bench_windows import bench_windows

    with tempfile.TemporaryDirectory(prefix="bench_sampler_") as folder:
        return bench_windows() | bench_sampler(_random_rollouts(Path(folder)))


class _ReaderWindows:
    """All windows of one folder of rollouts, whatever the split."""

    known_finite = False

    def __init__(self, reader: "TrajectoryReader") -> None:
        self._reader, self.columns = reader, reader.schema.slices
        self._length = quick().diffusion.window
        self._starts = reader.window_starts(self._length)

    def num_windows(self, split: str) -> int:
        return len(self._starts)

    def sample(self, split: str, batch: int, rng: np.random.Generator) -> "torch.Tensor":
        return self._reader.gather(self._starts[rng.integers(len(self._starts), size=batch)], self._length)


def _random_rollouts(folder: Path) -> _ReaderWindows:
    """Write rollouts of noise; every value is as likely to be read as that of a robot."""
    from assets.unit_sink import UnitStore
    from beyondmimic_data.config import RolloutConfig
    from beyondmimic_data.rollouts.collect import ROW_WIDTH, Unit
    from storage.trajectory_reader import TrajectoryReader

    config, length, units = RolloutConfig(chunk_steps=32_768), 512, 8
    sink = UnitStore.create(folder, ["noise"], 50.0, config, units)
    rng = np.random.default_rng(0)
    for unit in range(units):
        rows = rng.standard_normal((config.chunk_steps, ROW_WIDTH), dtype=np.float32)
        episodes = [
            {
                "episode_id": f"{unit}-{start}",
                "skill": "noise",
                "clip": "noise",
                "unit": unit,
                "start_row": start,
                "length": length,
                "termination": "time_out",
            }
            for start in range(0, config.chunk_steps, length)
        ]
        sink.write_unit(unit, Unit([rows], episodes, config.chunk_steps, 0))
    sink.finish()
    reader = TrajectoryReader(folder)
    reader.warm()
    return _ReaderWindows(reader)


def _train() -> dict[str, Any]:
    from beyondmimic_data.bench.train_bench import bench_train

    return bench_train()


def _collect() -> dict[str, Any]:
    from assets.unit_sink import UnitStore
    from beyondmimic_data.bench.collect import CONFIG, ROUNDS, bench_collect

    with tempfile.TemporaryDirectory(prefix="bench_collect_") as folder:
        hz = quick().control.control_hz
        return bench_collect(UnitStore.create(Path(folder), ["walk"], hz, CONFIG, ROUNDS))
