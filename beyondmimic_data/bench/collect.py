"""Collection throughput: whole units, written, against bare stepping of the same randomised robots."""

import dataclasses
import statistics
import time

from beyondmimic_data import process
from beyondmimic_data.config import RolloutConfig, quick
from beyondmimic_data.motions.synth import synthesise
from beyondmimic_data.rollouts.collect import UnitCollector, UnitRun, UnitSink
from beyondmimic_data.sim.mujoco_backend import TraceEvent
from beyondmimic_data.tracking import shipped
from beyondmimic_data.tracking.policy import TrackingPolicy

ROUNDS = 5
CONFIG = RolloutConfig(chunk_steps=65_536, episode_seconds=10.0)
"""Half the units of a large collection, with episodes half as long."""


def bench_collect(sink: UnitSink) -> dict[str, float]:
    """Collect and write units on one core, and replay each one's controls and resets bare.

    Args:
        sink: where units are written; ``ROUNDS`` of ``CONFIG``.

    Returns:
        ``bare_steps_per_s`` and ``steps_per_s`` (simulated control steps), ``kept_steps_per_s``, ``ratio`` of
        the first two, and ``kept_share``, the part of simulated steps that was kept; medians of the rounds,
        in which collection and bare stepping take turns.
    """
    process.prepare(1)
    preset = dataclasses.replace(quick(), rollouts=CONFIG)
    clip = synthesise("walk", preset.synth, preset.control.control_hz)
    policy = TrackingPolicy.load(shipped.FOLDER / shipped.FOUNDATION)
    collector = UnitCollector(policy, [clip], preset, "walk", preset.gate.latency_ms[1])
    rounds = []
    for number in range(ROUNDS):
        started = time.perf_counter()
        run = UnitRun(collector, number)
        trace: list[TraceEvent] = []
        run.backend.trace = trace
        unit = run.run()
        sink.write_unit(number, unit)
        seconds = time.perf_counter() - started
        run.backend.trace = None
        steps, bare = unit.simulated_steps, run.backend.replay(trace)
        rounds.append(
            {
                "bare_steps_per_s": steps / bare,
                "steps_per_s": steps / seconds,
                "kept_steps_per_s": unit.kept_steps / seconds,
                "ratio": bare / seconds,
                "kept_share": unit.kept_steps / steps,
            }
        )
    return {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
