"""Collection on Ray: actors that write whole units and return statistics only."""

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from beyondmimic_data.config import Preset
from beyondmimic_data.errors import GateError
from beyondmimic_data.rollouts.collect import UnitSink

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class CollectionJob:
    """Everything that decides what a skill's rollouts hold."""

    skill: str
    """Skill key."""
    clips: tuple[Path, ...]
    """Its clips."""
    policy: Path
    """Folder of its policy."""
    max_latency_ms: float
    """Latency up to which the policy holds."""
    preset: Preset
    """Every number."""


class Collector:
    """The body of an actor: one policy, loaded once."""

    def __init__(self, job: CollectionJob, sink: UnitSink) -> None:
        """Load policy and clips; one torch thread, as a unit's bytes require."""
        from beyondmimic_data import process
        from beyondmimic_data.motions.clip import Clip
        from beyondmimic_data.rollouts.collect import UnitCollector
        from beyondmimic_data.tracking.policy import TrackingPolicy

        process.prepare(1)
        clips = [Clip.load(path) for path in job.clips]
        policy = TrackingPolicy.load(job.policy)
        self._collector = UnitCollector(policy, clips, job.preset, job.skill, job.max_latency_ms)
        self._sink = sink

    def run(self, unit: int) -> dict[str, Any]:
        """Collect and store one unit; returns its statistics.

        Raises:
            GateError: nothing of what was simulated could be kept.
        """
        started = time.perf_counter()
        result = self._collector.collect(unit)
        if not result.episodes:
            raise GateError(
                f"{self._collector.skill}: all {result.rejected} episodes of unit {unit} fell before they "
                "could be kept; train the skill longer or collect with less noise"
            )
        self._sink.write_unit(unit, result.rows, result.episodes)
        return {
            "unit": unit,
            "kept_steps": len(result.rows),
            "simulated_steps": result.simulated_steps,
            "episodes": len(result.episodes),
            "rejected": result.rejected,
            "seconds": time.perf_counter() - started,
        }


def collect_units(
    job: CollectionJob,
    sink: UnitSink,
    units: Sequence[int],
    *,
    workers: int,
    progress: Callable[[str], None] = log.info,
) -> list[dict[str, Any]]:
    """Collect units on Ray actors; a killed actor is restarted and its unit tried again.

    Args:
        job: the skill.
        sink: where units go; pickled to every actor.
        units: unit numbers still to do.
        workers: actors at most.
        progress: receives a line after every unit.

    Returns:
        The statistics of each unit, in the order of their numbers.
    """
    import ray
    from ray.util import ActorPool

    cpus = job.preset.rollouts.cpus_per_worker
    remote = ray.remote(num_cpus=cpus, max_restarts=-1, max_task_retries=3)(Collector)
    actors: list[Any] = [remote.remote(job, sink) for _ in range(min(workers, len(units)))]
    pool, done, started = ActorPool(actors), [], time.perf_counter()
    hz = job.preset.control.control_hz
    try:
        for result in pool.map_unordered(lambda actor, unit: actor.run.remote(unit), list(units)):
            done.append(result)
            hours = sum(r["kept_steps"] for r in done) / hz / 3600
            elapsed = time.perf_counter() - started
            left = elapsed / len(done) * (len(units) - len(done))
            progress(
                f"{job.skill}: {len(done)}/{len(units)} units, {hours:.2f} h kept, "
                f"{hours * 3600 * hz / elapsed:.0f} steps/s, {left:.0f} s left"
            )
    finally:
        for actor in actors:
            ray.kill(actor)
    return sorted(done, key=lambda r: r["unit"])
