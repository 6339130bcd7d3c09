"""Collection throughput: whole units, written, against bare stepping of the same randomised robots."""

import dataclasses
import statistics
import time

import torch

from beyondmimic_data import process
from beyondmimic_data.config import quick
from beyondmimic_data.motions.synth import synthesise
from beyondmimic_data.robots import g1
from beyondmimic_data.rollouts.collect import UnitCollector, UnitRun, UnitSink
from beyondmimic_data.sim.mujoco_backend import TraceEvent
from beyondmimic_data.tracking.policy import TrackingPolicy

ROUNDS = 3
UNIT_STEPS = 4096


def default_pose_policy(hidden_dims: tuple[int, ...]) -> TrackingPolicy:
    """Return an actor of the usual size that holds the default pose, so that no training is needed here."""
    policy = TrackingPolicy(160, g1.NUM_JOINTS, hidden_dims)
    for parameter in policy.mlp[-1].parameters():
        torch.nn.init.zeros_(parameter)
    return policy.eval()


def bench_collect(sink: UnitSink) -> dict[str, float]:
    """Collect and write units on one core, and replay each one's controls and resets bare.

    Args:
        sink: where units are written.

    Returns:
        ``bare_steps_per_s`` and ``steps_per_s`` (simulated control steps), their ``ratio``, and
        ``kept_share``, the part of simulated steps that was kept; medians of the rounds.
    """
    process.prepare(1)
    preset = quick()
    preset = dataclasses.replace(
        preset,
        rollouts=dataclasses.replace(
            preset.rollouts, chunk_steps=UNIT_STEPS, drop_before_fall_seconds=0.0, min_episode_seconds=0.2
        ),
    )
    clip = synthesise("stand", preset.synth, preset.control.control_hz)
    collector = UnitCollector(default_pose_policy(preset.ppo.hidden_dims), [clip], preset, "stand", 40.0)
    bare, full, kept = [], [], []
    for number in range(ROUNDS):
        started = time.perf_counter()
        run = UnitRun(collector, number)
        trace: list[TraceEvent] = []
        run.backend.trace = trace
        unit = run.run()
        sink.write_unit(number, unit.rows, unit.episodes)
        full.append(unit.simulated_steps / (time.perf_counter() - started))
        run.backend.trace = None
        bare.append(unit.simulated_steps / run.backend.replay(trace))
        kept.append(len(unit.rows) / unit.simulated_steps)
    return {
        "bare_steps_per_s": statistics.median(bare),
        "steps_per_s": statistics.median(full),
        "ratio": statistics.median(f / b for f, b in zip(full, bare)),
        "kept_share": statistics.median(kept),
    }
