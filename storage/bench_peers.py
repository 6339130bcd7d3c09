"""The ways in which others read windows of trajectories, on the same rows, one core, for comparison.

* ``replay_buffer``: one array, a table of index ranges, and a slice a sample, padded at an episode's ends and
  stacked into a batch: the scheme of diffusion_policy, written anew in NumPy.
* ``hdf5``: a file an episode, opened for each sample, as in the loaders of ACT and robomimic.
* ``hugging_face``: an Arrow table asked for the rows of each sample, as LeRobot does; needs `datasets`.

What is not installed is left out with its reason: ``pip install 'beyondmimic[peers]'``.
"""

import importlib.util
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

Sampler = Callable[[np.ndarray], object]
"""Takes episode and first row within it, (N, 2), and reads that batch of windows."""
PACKAGES = {"replay_buffer": None, "hdf5": "h5py", "hugging_face": "datasets"}
"""What each needs beyond this project's own packages."""


def bench_peers(
    episodes: np.ndarray, window: int, batch: int, seconds: float, folder: Path, seed: int
) -> dict[str, float | str]:
    """Return windows a second of each way, or why it is skipped.

    Args:
        episodes: (E, R, C) float32, episodes of equal length.
        window: rows of a window.
        batch: windows at once.
        seconds: how long each is measured.
        folder: where they may write.
        seed: of the windows drawn.
    """
    rates: dict[str, float | str] = {}
    makers = {"replay_buffer": _replay_buffer, "hdf5": _hdf5, "hugging_face": _hugging_face}
    for name, make in makers.items():
        package = PACKAGES[name]
        if package is not None and importlib.util.find_spec(package) is None:
            rates[name] = f"skipped: {package} is not installed"
            continue
        sampler = make(episodes, window, folder)
        drawn = _draws(episodes, window, batch, seed)
        sampler(next(drawn))
        began, count = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            sampler(next(drawn))
            count += batch
        rates[name] = count / (time.perf_counter() - began)
    return rates


def _draws(episodes: np.ndarray, window: int, batch: int, seed: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(seed)
    most = (len(episodes), episodes.shape[1] - window + 1)
    while True:
        yield rng.integers(most, size=(batch, 2))


def _replay_buffer(episodes: np.ndarray, window: int, folder: Path) -> Sampler:
    import torch

    count, rows, columns = episodes.shape
    steps = episodes.reshape(count * rows, columns)
    fitting = rows - window + 1
    first = (np.arange(count)[:, None] * rows + np.arange(fitting)).ravel()
    # Begin and end in the buffer, begin and end in the sample: they differ at padded ends.
    table = np.stack([first, first + window, np.zeros_like(first), np.full_like(first, window)], 1)

    def one(index: int) -> dict[str, "torch.Tensor"]:
        begin, end, sample_begin, sample_end = table[index]
        part = steps[begin:end]
        if sample_begin > 0 or sample_end < window:
            padded = np.empty((window, columns), part.dtype)
            padded[:sample_begin], padded[sample_end:] = part[0], part[-1]
            padded[sample_begin:sample_end] = part
            part = padded
        return {"features": torch.from_numpy(part)}

    def sample(places: np.ndarray) -> object:
        samples = [one(episode * fitting + row) for episode, row in places]
        return torch.stack([s["features"] for s in samples])

    return sample


def _hdf5(episodes: np.ndarray, window: int, folder: Path) -> Sampler:
    import h5py
    import torch

    for number, rows in enumerate(episodes):
        with h5py.File(folder / f"episode_{number}.hdf5", "w") as file:
            file.create_dataset("features", data=rows)

    def one(episode: int, row: int) -> "torch.Tensor":
        with h5py.File(folder / f"episode_{episode}.hdf5", "r") as file:
            return torch.from_numpy(file["features"][row : row + window])

    return lambda places: torch.stack([one(episode, row) for episode, row in places.tolist()])


def _hugging_face(episodes: np.ndarray, window: int, folder: Path) -> Sampler:
    import datasets
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch

    _, rows, columns = episodes.shape
    values = pa.FixedSizeListArray.from_arrays(pa.array(episodes.reshape(-1)), columns)
    pq.write_table(pa.table({"features": values}), folder / "steps.parquet")
    files, cache = str(folder / "steps.parquet"), str(folder / "cache")
    loaded = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=cache)
    table = loaded.with_format("torch")

    def one(episode: int, row: int) -> "torch.Tensor":
        first = episode * rows + row
        read = table.select(range(first, first + window))["features"][:]
        return read if isinstance(read, torch.Tensor) else torch.stack(list(read))

    return lambda places: torch.stack([one(episode, row) for episode, row in places.tolist()])
