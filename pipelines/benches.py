"""The benchmarks by name; some need both the domain and the store."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


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
    from storage.bench_windows import bench_windows

    return bench_windows()


def _train() -> dict[str, Any]:
    from beyondmimic_data.bench.train_bench import bench_train

    return bench_train()


def _collect() -> dict[str, Any]:
    from assets.unit_sink import UnitStore
    from beyondmimic_data.bench.collect import CONFIG, ROUNDS, bench_collect
    from beyondmimic_data.config import quick

    with tempfile.TemporaryDirectory(prefix="bench_collect_") as folder:
        hz = quick().control.control_hz
        return bench_collect(UnitStore.create(Path(folder), ["walk"], hz, CONFIG, ROUNDS))
