"""Does a policy finish its clips? Seeded starts from frame 0: completion with its interval, errors."""

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from beyondmimic_data.config import GateConfig, Preset, RandomisationConfig
from beyondmimic_data.motions.clip import Clip
from beyondmimic_data.robots import g1
from beyondmimic_data.sim import randomisation as rand
from beyondmimic_data.sim.mujoco_backend import MujocoBackend
from beyondmimic_data.statistics import wilson_interval
from beyondmimic_data.tracking import task
from beyondmimic_data.tracking.policy import TrackingPolicy
from beyondmimic_data.tracking.velocity import VelocityError
from beyondmimic_data.tracking.world import TrackingWorld

log = logging.getLogger(__name__)


CHECK_SEED = 500_000
"""First seed of the starts that choose a checkpoint."""
BIN_SECONDS = 20.0
"""Longest start of a latency bin: what latency breaks it breaks soon."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """The outcome of n seeded starts; arrays of n."""

    completed: np.ndarray
    """Reached the end without a fall."""
    seconds: np.ndarray
    """How long each lasted."""
    cause: np.ndarray
    """Index into ``task.TERMINATIONS``, or -1."""
    clip: np.ndarray
    """Index of the clip that each played."""
    latency_ms: np.ndarray
    """Latency of each."""
    errors: dict[str, np.ndarray]
    """Mean tracking errors of each while it lasted, and ``velocity_err_m_s`` (see ``VelocityError``)."""


def play(
    policy: TrackingPolicy,
    clips: Sequence[Clip],
    preset: Preset,
    seeds: Sequence[int],
    ranges: RandomisationConfig,
    seconds: float,
    *,
    feet: g1.Feet = "spheres",
    start_frames: np.ndarray | None = None,
    num_threads: int = 0,
) -> Trial:
    """Play every clip once a seed, with the deterministic action on noisy observations.

    Args:
        policy: the actor.
        clips: clips of the skill.
        preset: control rate and task.
        seeds: one start each; a seed decides randomisation and reset noise.
        ranges: randomisation of the trial.
        seconds: length to complete, or the clip's if it is shorter.
        feet: contact model.
        start_frames: (len(seeds),) frame of the clip at which each seed starts, frame 0 by default.
        num_threads: physics threads.
    """
    n = len(clips) * len(seeds)
    backend = MujocoBackend(n, preset.control, feet=feet, num_threads=num_threads)
    world = begin(backend, clips, preset, seeds, ranges, start_frames)
    clip = np.repeat(np.arange(len(clips)), len(seeds))
    limit = round(seconds * preset.control.control_hz)
    running, steps = np.ones(n, bool), np.zeros(n, np.int64)
    completed, cause = np.zeros(n, bool), np.full(n, -1)
    sums: dict[str, np.ndarray] = {}
    velocity = VelocityError(n, preset.control.control_hz)
    for t in range(min(limit, int(world.library.lengths.max()) - 1)):
        ends = world.advance(policy.act(world.observe_actor()), ids=np.flatnonzero(running))
        velocity.add(
            world.state,
            world.reference,
            torch.tensor([len(pushes) for pushes in world.pushes]),
            torch.from_numpy(running & ~ends.fell.numpy()),
        )
        steps += running
        fell = ends.fell.numpy() & running
        for name, value in world.errors().items():
            held = running & ~fell
            sums[name] = sums.get(name, np.zeros(n)) + np.where(held, value.numpy(), 0.0)
        world.advance_reference()
        cause[fell] = ends.causes.float().argmax(-1).numpy()[fell]
        done = running & ~fell & (ends.clip_end.numpy() | (t + 1 == limit))
        completed |= done
        running &= ~(fell | done)
        if not running.any():
            break
    held_steps = np.maximum(steps - (cause >= 0), 1)
    return Trial(
        completed=completed,
        seconds=steps / preset.control.control_hz,
        cause=cause,
        clip=clip,
        latency_ms=world.draw.latency_steps * preset.control.physics_dt * 1e3,
        errors={name: total / held_steps for name, total in sums.items()}
        | {"velocity_err_m_s": velocity.mean().numpy()},
    )


def begin(
    backend: MujocoBackend,
    clips: Sequence[Clip],
    preset: Preset,
    seeds: Sequence[int],
    ranges: RandomisationConfig,
    start_frames: np.ndarray | None = None,
) -> TrackingWorld:
    """Return a world whose robots stand at their starts: of every clip one a seed; see ``play``."""
    world = TrackingWorld(backend, clips, preset.control, preset.task, ranges, seed=int(seeds[0]))
    generators = [np.random.default_rng([seed, c]) for c in range(len(clips)) for seed in seeds]
    everyone = np.arange(len(generators))
    world.randomise(everyone, rand.draw(ranges, preset.control, generators))
    starts = np.repeat(world.library.starts.numpy(), len(seeds))
    if start_frames is not None:
        starts = starts + np.tile(start_frames, len(clips))
    world.reset(everyone, starts, generators)
    world.refresh()
    return world


def summarise(trial: Trial, clips: Sequence[Clip]) -> dict[str, Any]:
    """Return what n starts came to, and the same of each clip's.

    Returns:
        ``completion`` with its 95 % Wilson interval ``wilson_low`` and ``wilson_high``, ``n``,
        ``mean_seconds``, the means of ``Trial.errors``, ``falls`` by cause, and ``clips``: for each a row
        with its name and, but for the causes, the same figures.
    """
    rows = [
        {"clip": clip.name, **_figures(trial, np.flatnonzero(trial.clip == i))}
        for i, clip in enumerate(clips)
    ]
    falls = {name: int((trial.cause == i).sum()) for i, name in enumerate(task.TERMINATIONS)}
    return {**_figures(trial, np.arange(len(trial.completed))), "falls": falls, "clips": rows}


def _figures(trial: Trial, starts: np.ndarray) -> dict[str, Any]:
    """Return completion and mean errors of some starts."""
    n, done = len(starts), int(trial.completed[starts].sum())
    low, high = wilson_interval(done, n)
    return {
        "completion": done / n,
        "wilson_low": low,
        "wilson_high": high,
        "n": n,
        "mean_seconds": float(trial.seconds[starts].mean()),
        **{name: _mean(values[starts]) for name, values in trial.errors.items()},
    }


def _mean(values: np.ndarray) -> float:
    """Return the mean of the values that are numbers, NaN if there is none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def latency_bins(
    policy: TrackingPolicy, clips: Sequence[Clip], preset: Preset, seeds: Sequence[int], num_threads: int = 0
) -> list[dict[str, float]]:
    """Return the completion in each latency bin of the training range, seeds shared between the bins."""
    low, high = preset.randomisation.latency_ms
    gate = preset.gate
    seconds = min(gate.seconds, BIN_SECONDS)
    bins = []
    while low < high - 1e-9:
        top = min(low + gate.latency_bin_ms, high)
        shorter = dataclasses.replace(gate, latency_ms=(low, top), seconds=seconds)
        trial = gate_trial(
            policy, clips, dataclasses.replace(preset, gate=shorter), seeds=seeds, num_threads=num_threads
        )
        bins.append(
            {
                "low_ms": low,
                "high_ms": top,
                "completion": float(trial.completed.mean()),
                "n": len(trial.completed),
            }
        )
        low = top
    return bins


def gate_ranges(preset: Preset) -> RandomisationConfig:
    """Return what the preset's gate draws for each start."""
    gate = preset.gate
    return dataclasses.replace(preset.randomisation, latency_ms=gate.latency_ms, push=gate.push)


def gate_trial(
    policy: TrackingPolicy,
    clips: Sequence[Clip],
    preset: Preset,
    *,
    seeds: Sequence[int] | None = None,
    feet: g1.Feet = "spheres",
    num_threads: int = 0,
) -> Trial:
    """Play starts under the conditions of the preset's gate: its own, or those of other seeds."""
    gate = preset.gate
    if seeds is None:
        seeds = range(gate.seed_offset, gate.seed_offset + gate.seeds)
    return play(
        policy, clips, preset, seeds, gate_ranges(preset), gate.seconds, feet=feet, num_threads=num_threads
    )


def evaluate_gate(
    policy: TrackingPolicy,
    clips: Sequence[Clip],
    preset: Preset,
    *,
    trial: Trial | None = None,
    num_threads: int = 0,
) -> dict[str, Any]:
    """Hold a policy against the preset's gate (DESIGN section 10).

    Args:
        policy: the actor.
        clips: clips of the skill.
        preset: gate, control rate and task.
        trial: what ``gate_trial`` returned for them, if it was played already.
        num_threads: physics threads.

    Returns:
        The summary of the gate's trial, ``passed``, ``latency_bins``, and ``max_latency_ms``: the end of the
        last bin before the first one under the gate's bin completion, which bounds what may be collected.
    """
    gate = preset.gate
    if trial is None:
        trial = gate_trial(policy, clips, preset, num_threads=num_threads)
    report = summarise(trial, clips)
    bin_seeds = [gate.seed_offset + gate.seeds + i for i in range(max(gate.seeds // 2, 1))]
    bins = latency_bins(policy, clips, preset, bin_seeds, num_threads)
    usable = preset.randomisation.latency_ms[0]
    for entry in bins:
        if entry["completion"] < gate.min_bin_completion:
            break
        usable = entry["high_ms"]
    report |= {
        "passed": report["completion"] >= gate.completion and accurate(report, gate),
        "required": gate.completion,
        "max_body_pos_err_m": gate.max_body_pos_err_m,
        "max_velocity_err_m_s": gate.max_velocity_err_m_s,
        "latency_bins": bins,
        "max_latency_ms": usable,
    }
    log.info(
        "gate: %.0f %% of %d starts complete, %.0f %% required; bodies %.1f cm off, %.0f cm allowed; "
        "velocity %.2f m/s off, %.2f m/s allowed",
        100 * report["completion"],
        report["n"],
        100 * gate.completion,
        100 * report["body_pos_err_m"],
        100 * gate.max_body_pos_err_m,
        report["velocity_err_m_s"],
        gate.max_velocity_err_m_s,
    )
    return report


def accurate(report: dict[str, Any], gate: GateConfig) -> bool:
    """Tell whether a summary's errors lie within a gate's limits; without a window, velocity has none."""
    return (
        report["body_pos_err_m"] <= gate.max_body_pos_err_m
        and not report["velocity_err_m_s"] > gate.max_velocity_err_m_s
    )


def check(
    policy: TrackingPolicy, clips: Sequence[Clip], preset: Preset, num_threads: int = 0
) -> dict[str, Any]:
    """Try a policy during training, on seeds that no gate uses."""
    seeds = range(CHECK_SEED, CHECK_SEED + preset.training.check_seeds)
    with torch.inference_mode():
        return summarise(gate_trial(policy, clips, preset, seeds=seeds, num_threads=num_threads), clips)
