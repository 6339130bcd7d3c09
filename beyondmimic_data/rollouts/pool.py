"""Collection on the cores of one machine without Ray: processes that write units into one mapped file."""

import concurrent.futures
import dataclasses
import functools
import logging
import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np

from beyondmimic_data import process
from beyondmimic_data.errors import BeyondMimicError, GateError
from beyondmimic_data.rollouts.collect import ROW_WIDTH, Unit, UnitCollector
from beyondmimic_data.rollouts.workers import CollectionJob

log = logging.getLogger(__name__)

LOG_SECONDS = 10.0


@dataclasses.dataclass(frozen=True)
class RowFile:
    """One file with room for units; every process maps it."""

    path: Path
    units: int
    """Units that it has room for."""
    unit_rows: int
    """Most rows of a unit."""
    dtype: str
    """``float32`` or ``float16``."""

    def create(self) -> None:
        """Make the file; it takes disk or memory only as rows are written."""
        shape = (self.units * self.unit_rows, ROW_WIDTH)
        np.lib.format.open_memmap(self.path, mode="w+", dtype=self.dtype, shape=shape)

    def rows(self) -> np.ndarray:
        """Return all rows (units * unit_rows, 342), mapped; those that no unit has are 0."""
        return np.load(self.path, mmap_mode="r+")

    def write(self, slot: int, unit: Unit) -> None:
        """Write the episodes of a unit one after the other from the slot's first row on."""
        rows, at = self.rows(), slot * self.unit_rows
        for piece in unit.pieces:
            rows[at : at + len(piece)] = piece
            at += len(piece)


@dataclasses.dataclass
class Collected:
    """What a collection came to."""

    episodes: dict[str, list[dict[str, Any]]]
    """Index rows of the kept episodes of each skill; ``start_row`` counts from the file's first row."""
    planned_units: int
    units: int = 0
    simulated_steps: int = 0
    rejected: int = 0
    seconds: float = 0.0

    @property
    def kept_steps(self) -> int:
        """Rows of all kept episodes."""
        return sum(episode["length"] for listed in self.episodes.values() for episode in listed)


def open_pool(workers: int) -> concurrent.futures.ProcessPoolExecutor:
    """Return processes that compute with one thread each; what they import is imported once."""
    return concurrent.futures.ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=process.prepare,
        initargs=(1,),
    )


def interleave(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return every (skill, unit) in an order whose every beginning has the skills in about their shares."""
    places = [((unit + 0.5) / n, skill, unit) for skill, n in counts.items() for unit in range(n)]
    return [(skill, unit) for _, skill, unit in sorted(places)]


def collect(
    pool: concurrent.futures.Executor,
    workers: int,
    jobs: Mapping[str, CollectionJob],
    units: Sequence[tuple[str, int]],
    file: RowFile,
    *,
    until: float,
    first_slot: int = 0,
    progress: Callable[[str], None] = log.info,
) -> Collected:
    """Collect units of several skills until all are done, or no further one may begin.

    Args:
        pool: of ``open_pool``.
        workers: units at a time.
        jobs: of each skill.
        units: skill and unit number, in the order in which they are begun; ``interleave`` gives one.
        file: receives the rows, the unit of position i at slot ``first_slot`` + i.
        until: value of ``time.monotonic`` from which on no unit begins; those that run are finished.
        first_slot: slots before it hold what was collected earlier.
        progress: receives a line every ten seconds.

    Raises:
        GateError: a skill of which units were collected kept no episode.
        BeyondMimicError: a process died, or there was no time for any unit.
    """
    hz = next(iter(jobs.values())).preset.control.control_hz
    done = Collected({skill: [] for skill in jobs}, len(units))
    began = logged = time.monotonic()
    waiting = list(enumerate(units, first_slot))[::-1]
    running: dict[concurrent.futures.Future, str] = {}
    seen: set[str] = set()
    try:
        while True:
            while waiting and len(running) < workers and time.monotonic() < until:
                slot, (skill, unit) = waiting.pop()
                running[pool.submit(_collect, jobs[skill], unit, file, slot)] = skill
            if not running:
                break
            for future in concurrent.futures.wait(
                running, return_when=concurrent.futures.FIRST_COMPLETED
            ).done:
                skill = running.pop(future)
                episodes, simulated, rejected = future.result()
                done.episodes[skill] += episodes
                done.units += 1
                done.simulated_steps += simulated
                done.rejected += rejected
                seen.add(skill)
            now = time.monotonic()
            done.seconds = now - began
            if now - logged > LOG_SECONDS or not waiting:
                logged = now
                progress(
                    f"{done.units}/{len(units)} units, {done.kept_steps / hz / 3600:.2f} h kept, "
                    f"{done.kept_steps / done.seconds:.0f} steps/s"
                )
    except BrokenProcessPool as error:
        raise BeyondMimicError("a collecting process died; is there enough memory?") from error
    if not done.units:
        raise BeyondMimicError("there was no time to collect any rollouts; give the run more of it")
    for skill in seen:
        if not done.episodes[skill]:
            raise GateError(f"{skill}: nothing could be kept, every episode fell; collect with less noise")
    return done


def _collect(
    job: CollectionJob, unit: int, file: RowFile, slot: int
) -> tuple[list[dict[str, Any]], int, int]:
    """Collect one unit into its slot; returns its episodes, simulated steps and rejected episodes."""
    result = _collector(job).collect(unit)
    file.write(slot, result)
    first = slot * file.unit_rows
    episodes = [{**episode, "start_row": first + episode["start_row"]} for episode in result.episodes]
    return episodes, result.simulated_steps, result.rejected


@functools.cache
def _collector(job: CollectionJob) -> UnitCollector:
    return job.collector()
