"""What adaptive sampling of starts brings: one clip, trained with each way of drawing them (METHOD 1.8)."""

import dataclasses
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from beyondmimic_data.config import Preset, SamplingConfig
from beyondmimic_data.files import read_json, write_json
from beyondmimic_data.hashing import hash_value
from beyondmimic_data.motions.clip import Clip
from beyondmimic_data.text_table import aligned
from beyondmimic_data.tracking.evaluate import play
from beyondmimic_data.tracking.policy import TrackingPolicy
from beyondmimic_data.tracking.trainer import Trainer, lead

log = logging.getLogger(__name__)

WAYS = {
    "uniform": SamplingConfig(enabled=False),
    "kernel 1": SamplingConfig(kernel_size=1),
    "kernel 3": SamplingConfig(kernel_size=3),
}
"""Ways of drawing start seconds, by name."""

STARTS_PER_SECOND = 32
"""Starts that are tried from each second of the clip."""

FIRST_SEED = 3_000_000
"""Seeds of those starts; no training, check or gate uses them."""


def failures_by_second(
    policy: TrackingPolicy, clip: Clip, preset: Preset, num_threads: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Start from every second of a clip and play to its end.

    Returns:
        Failure rate of each second (S,), and completed share of the rest of the clip, its mean over the
        starts of each second (S,).
    """
    hz = round(clip.fps)
    seconds = max((clip.num_frames - 1) // hz, 1)
    rng = np.random.default_rng(FIRST_SEED)
    frames = np.concatenate([s * hz + rng.integers(0, hz, STARTS_PER_SECOND) for s in range(seconds)])
    frames = np.minimum(frames, clip.num_frames - 2)
    seeds = range(FIRST_SEED, FIRST_SEED + len(frames))
    ranges = preset.randomisation if preset.training.push else preset.randomisation.without_pushes()
    trial = play(
        policy, [clip], preset, seeds, ranges, clip.duration, start_frames=frames, num_threads=num_threads
    )
    left = (clip.num_frames - 1 - frames) / clip.fps
    by_second = (seconds, STARTS_PER_SECOND)
    failed = (~trial.completed).reshape(by_second).mean(1)
    return failed, (trial.seconds / left).reshape(by_second).mean(1)


def study(
    clip: Clip,
    preset: Preset,
    steps: int,
    seeds: Sequence[int],
    folder: Path,
    num_threads: int = 0,
    progress: Callable[[str], None] = log.info,
) -> dict[str, Any]:
    """Train a clip from nothing with each way and seed, for the same number of steps.

    Args:
        clip: what to track.
        preset: every other number.
        steps: environment steps of each training.
        seeds: seeds of the trainings.
        folder: keeps what is done, so that an interrupted study goes on; runs of other numbers do not count.
        num_threads: physics threads; 0 takes every core.
        progress: told what begins and what it found.

    Returns:
        ``ways``: for each its ``failure_rate`` by second, mean over seeds, and ``mean`` and ``worst`` of each
        seed; ``clip``, ``steps``, ``seeds``.
    """
    threads = num_threads or os.cpu_count() or 1
    runs: dict[str, list[list[float]]] = {name: [] for name in WAYS}
    for seed in seeds:
        for name, sampling in WAYS.items():
            training = dataclasses.replace(preset.training, seed=seed)
            asked = dataclasses.replace(preset, training=training, sampling=sampling)
            number = hash_value({"clip": clip.version, "steps": steps, "preset": asked})
            path = folder / f"{number}.json"
            label = f"{name}, seed {seed}"
            if not path.exists():
                progress(f"{label}: trains {steps / 1e6:.1f} M steps")
                _run(clip, asked, steps, path, label, threads)
            rates = read_json(path)["failure_rate"]
            progress(f"{label}: {100 * np.mean(rates):.1f} % of starts fail")
            runs[name].append(rates)
    return {
        "clip": clip.name,
        "steps": steps,
        "seeds": list(seeds),
        "ways": {
            name: {
                "failure_rate": np.mean(rates, axis=0).tolist(),
                "mean": [float(np.mean(rate)) for rate in rates],
                "worst": [float(np.max(rate)) for rate in rates],
            }
            for name, rates in runs.items()
        },
    }


def _run(clip: Clip, preset: Preset, steps: int, path: Path, name: str, threads: int) -> None:
    """Write the failure rate by second of one training."""
    with lead([clip], preset, threads) as rank:
        trainer = Trainer([clip], preset, threads, rank)
        while trainer.counters.steps < steps:
            trainer.iterate()
    with torch.inference_mode():
        failed, lasted = failures_by_second(trainer.policy(), clip, preset, threads)
    document = {
        "run": name,
        "failure_rate": failed.tolist(),
        "lasted": lasted.tolist(),
        "steps": trainer.counters.steps,
        "minutes": trainer.counters.seconds / 60,
    }
    write_json(path, document)


def table(document: dict[str, Any]) -> str:
    """Return a study for a terminal: failure rates in percent."""
    ways = document["ways"]
    seconds = len(next(iter(ways.values()))["failure_rate"])
    rows = [["starts", "mean of seeds", "worst second of seeds", *(f"{s} s" for s in range(seconds))]]
    for name, way in ways.items():
        rows.append(
            [
                name,
                " ".join(f"{100 * v:.0f}" for v in way["mean"]),
                " ".join(f"{100 * v:.0f}" for v in way["worst"]),
                *(f"{100 * v:.0f}" for v in way["failure_rate"]),
            ]
        )
    return "\n".join(aligned(rows))
