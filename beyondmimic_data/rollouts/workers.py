"""Collection on Ray: actors that write whole units and return statistics only."""

import collections
import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beyondmimic_data.config import Preset
from beyondmimic_data.errors import BeyondMimicError, GateError

if TYPE_CHECKING:
    from beyondmimic_data.rollouts.collect import UnitCollector, UnitSink

log = logging.getLogger(__name__)

MOST_LOST = 10
"""Workers that may die without a unit done in between: what kills each at once is no accident."""


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
    student: Path | None = None
    """Folder of the diffusion policy that drives for bursts, if one does."""

    def collector(self) -> "UnitCollector":
        """Load policies and clips."""
        from beyondmimic_data.motions.clip import Clip
        from beyondmimic_data.rollouts.collect import UnitCollector
        from beyondmimic_data.tracking.policy import TrackingPolicy

        clips, policy = [Clip.load(path) for path in self.clips], TrackingPolicy.load(self.policy)
        return UnitCollector(policy, clips, self.preset, self.skill, self.max_latency_ms, self.student)


class Collector:
    """The body of an actor: one policy, loaded once."""

    def __init__(self, job: CollectionJob, sink: "UnitSink") -> None:
        """Load policy and clips; one torch thread, as a unit's bytes require."""
        from beyondmimic_data import process

        process.prepare(1)
        self._collector = job.collector()
        self._sink = sink

    def run(self, unit: int) -> tuple[int, float]:
        """Collect and store one unit; returns its kept steps and the seconds it took.

        Raises:
            GateError: nothing of what was simulated could be kept.
            StoreError: the unit cannot be written.
        """
        began = time.perf_counter()
        result = self._collector.collect(unit)
        if not result.episodes:
            raise GateError(
                f"{self._collector.skill}: all {result.rejected} episodes of unit {unit} fell before they "
                "could be kept; train the skill longer or collect with less noise"
            )
        self._sink.write_unit(unit, result)
        return result.kept_steps, time.perf_counter() - began


def collect_units(
    job: CollectionJob,
    sink: "UnitSink",
    units: Sequence[int],
    *,
    workers: int,
    progress: Callable[[str], None] = log.info,
) -> None:
    """Collect units on Ray actors; one that dies is replaced and its unit collected again.

    Args:
        job: the skill.
        sink: where units go; pickled to every actor.
        units: unit numbers still to do.
        workers: actors at most.
        progress: receives a line after every unit.

    Raises:
        BeyondMimicError: a unit cannot be collected or written, or workers die as fast as they start.
    """
    import ray

    actor: Any = ray.remote(num_cpus=job.preset.rollouts.cpus_per_worker)(Collector)
    waiting, shown = collections.deque(units), _Progress(job, len(units), progress)
    running: dict[Any, tuple[Any, int]] = {}
    idle = [actor.remote(job, sink) for _ in range(min(workers, len(units)))]
    lost = 0
    try:
        while waiting or running:
            while waiting and idle:
                worker, unit = idle.pop(), waiting.popleft()
                running[worker.run.remote(unit)] = worker, unit
            (done,), _ = ray.wait(list(running), num_returns=1)
            worker, unit = running.pop(done)
            try:
                kept, seconds = ray.get(done)
            except ray.exceptions.RayActorError as error:
                lost += 1
                if lost > MOST_LOST:
                    raise BeyondMimicError(
                        f"{job.skill}: {lost} workers died one after the other, the last with: "
                        f"{str(error).splitlines()[0]}"
                    ) from error
                log.warning("%s: the worker of unit %d died; another one collects it", job.skill, unit)
                waiting.appendleft(unit)
                worker = actor.remote(job, sink)
            else:
                lost = 0
                shown.add(kept, seconds)
            idle.append(worker)
            while idle and not waiting:  # its CPUs may serve another skill while the last units are done
                ray.kill(idle.pop())
    finally:
        for worker in [*idle, *(worker for worker, _ in running.values())]:
            ray.kill(worker)


class _Progress:
    """A line after every unit: what is done, how fast, and how long the rest takes."""

    def __init__(self, job: CollectionJob, units: int, line: Callable[[str], None]) -> None:
        self._skill, self._hz, self._units, self._line = (
            job.skill,
            job.preset.control.control_hz,
            units,
            line,
        )
        self._done = self._kept = 0
        self._began: float | None = None

    def add(self, kept_steps: int, seconds: float) -> None:
        """Count a unit that took so long, and say so; time counts from the start of the first one.

        A skill whose workers wait for those of another to end is not slow.
        """
        now = time.perf_counter()
        self._began = now - seconds if self._began is None else self._began
        self._done += 1
        self._kept += kept_steps
        elapsed = now - self._began
        left = elapsed / self._done * (self._units - self._done)
        self._line(
            f"{self._skill}: {self._done}/{self._units} units, {self._kept / self._hz / 3600:.2f} h kept, "
            f"{self._kept / elapsed:.0f} steps/s, {_clock(left)} left"
        )


def _clock(seconds: float) -> str:
    """Return a span of time as a person reads it."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
