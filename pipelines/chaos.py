"""``beyondmimic chaos collect``: a collection that is killed, starved and damaged ends in a calm one's bytes.

Everything is real: drivers are `beyondmimic collect` processes, workers are Ray's, kills are SIGKILL, a disk
is a small file system that is full. What a machine does not allow, such as mounting one, is skipped and said.
"""

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from beyondmimic_data.errors import BeyondMimicError
from beyondmimic_data.hashing import hash_file
from pipelines import processes
from storage import layout
from storage.artifacts import PARTIAL, ArtifactStore
from storage.episode_index import read_episodes
from storage.manifests import MANIFEST
from storage.units import UnitMarker

SKILL = "synth__stand"
UNIT_STEPS = 1024
UNIT_BYTES = UNIT_STEPS * 342 * 4
LEAST_UNITS, UNITS_A_KILL = 40, 2
DRIVER_SHARE = 0.2
"""Of the kills that hit the driver, with everything it started; the others hit a worker."""
PATIENCE_S = 240.0
"""Longest wait for a process to get somewhere."""
STEPPED = "the clock steps back by a day"
STEPPED_CLOCK = f"""
import sys, threading, time
def step():
    real = time.time
    time.time = lambda: real() - 86_400
    print({STEPPED!r}, file=sys.stderr, flush=True)
timer = threading.Timer(5, step)
timer.daemon = True
timer.start()
"""
"""Runs before a driver: its clock steps back a few seconds later."""
MAIN = "from pipelines.cli import main; main()"
EVIDENCE = {
    "worker killed": "the worker of unit",
    "driver killed": "going on with",
    "chunk removed": "missing or cut short",
    "chunk corrupted": "not the bytes that were written",
    "stray temporary file": "left by a writer that was interrupted",
    "disk full": "No space left",
    "clock stepped back": STEPPED,
    "second collection": "is being built by another process",
    "complete artifact corrupted": "its bytes are not those",
}
"""What the log has to say after each kind of incident."""


@dataclasses.dataclass
class _Incident:
    kind: str
    units_done: int
    log: Path
    """Where its evidence has to stand."""


class _Driver:
    """A collection in a process group of its own, with its log."""

    def __init__(self, data: Path, state: Path, log: Path, units: int, prelude: str = "") -> None:
        hours = units * (UNIT_STEPS - 25) / 50 / 3600
        words = ["collect", "--preset", "test", "--synth.skills", "stand", "--rollouts.hours", f"{hours:.6f}"]
        self.log = log
        environment = os.environ | {"BEYONDMIMIC_DATA": str(data), "BEYONDMIMIC_STATE": str(state)}
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", f"{prelude}\nimport sys; sys.argv[1:] = {words!r}\n{MAIN}"],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def wait(self) -> int:
        """Return the exit code once the process and all that writes for it are gone."""
        writers = processes.ray_workers(self.process.pid)
        code = self.process.wait(PATIENCE_S)
        processes.await_end(writers, PATIENCE_S)
        return code

    def kill(self) -> None:
        """Kill the driver alone; Ray's workers notice and end."""
        writers = processes.ray_workers(self.process.pid)
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE_S)
        processes.await_end(writers, PATIENCE_S)

    def workers(self) -> list[int]:
        """Return the ids of its collecting actors."""
        return processes.ray_workers(self.process.pid, "Collector")


class _Chaos:
    """One disturbed collection."""

    def __init__(
        self, data: Path, work: Path, units: int, seed: int, progress: Callable[[str], None]
    ) -> None:
        self.data, self.work, self.units, self.progress = data, work, units, progress
        self.rng = np.random.default_rng(seed)
        self.incidents: list[_Incident] = []
        self.starts = 0
        self.driver = self._start()

    def _start(self, prelude: str = "") -> _Driver:
        self.starts += 1
        log = self.work / f"driver_{self.starts:03d}.log"
        self.driver = _Driver(self.data, self.work / "state", log, self.units, prelude)
        return self.driver

    def note(self, kind: str, log: Path) -> None:
        """Record an incident, and where the log has to speak of it."""
        self.incidents.append(_Incident(kind, self.done(), log))
        self.progress(f"{len(self.incidents)}: {kind}, {self.done()} of {self.units} units done")

    def folder(self) -> Path | None:
        """Return where the rollouts are, complete or not."""
        parent = self.data / "rollouts" / SKILL
        found = [p for p in parent.glob("*") if p.is_dir() and not p.name.startswith(".")]
        return found[0] if found else None

    def done(self) -> int:
        folder = self.folder()
        return len(list((folder / layout.UNITS).glob("*.json"))) if folder else 0

    def wait_for(self, units: int) -> None:
        """Wait until so many units are done and a worker is alive; a driver that ended is an error."""
        end = time.monotonic() + PATIENCE_S
        while self.done() < units or not self.driver.workers():
            if self.driver.ended and self.done() < self.units:
                raise BeyondMimicError(f"a driver ended by itself: {_tail(self.driver.log)}")
            if self.driver.ended:
                return
            if time.monotonic() > end:
                raise BeyondMimicError(f"no progress for {PATIENCE_S:.0f} s: {_tail(self.driver.log)}")
            time.sleep(0.02)

    def kill_worker(self) -> None:
        workers = self.driver.workers()
        if workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(self.rng.choice(workers)), signal.SIGKILL)
            self.note("worker killed", self.driver.log)

    def kill_driver(self, prelude: str = "") -> None:
        self.driver.kill()
        self._start(prelude)
        self.note("driver killed", self.driver.log)

    def damage(self) -> None:
        """While no driver runs: remove one chunk, flip a bit of another, leave a temporary file."""
        self.driver.kill()
        folder = self.folder()
        assert folder is not None, "units are done"
        marked = sorted((folder / layout.UNITS).glob("*.json"))
        picks = self.rng.choice(len(marked), 2, replace=False)
        first, second = (UnitMarker.read(marked[i]).unit for i in picks)
        layout.chunk_path(folder, first).unlink()
        _flip_bit(layout.chunk_path(folder, second), self.rng)
        (layout.chunk_path(folder, second).parent / ".0.abc.tmp").write_bytes(b"half a chunk")
        log = self._start().log
        for kind in ("driver killed", "chunk removed", "chunk corrupted", "stray temporary file"):
            self.note(kind, log)

    def step_clock(self) -> None:
        """Restart the driver so that its clock steps back by a day while it collects."""
        self.kill_driver(STEPPED_CLOCK)
        end = time.monotonic() + PATIENCE_S
        while STEPPED not in self.driver.log.read_text(errors="replace") and time.monotonic() < end:
            time.sleep(0.1)
        self.note("clock stepped back", self.driver.log)

    def second_collection(self) -> None:
        """Start a second driver on the same root while the first collects, its workers held meanwhile."""
        with processes.held(self.driver.workers()):
            second = _Driver(self.data, self.work / "state", self.work / "second.log", self.units)
            second.wait()
        self.note("second collection", second.log)

    def fill_disk(self, ballast: Path) -> None:
        """Fill the file system, and give the room back when the driver has given up."""
        with processes.held([self.driver.process.pid, *self.driver.workers()]), ballast.open("wb") as file:
            free = shutil.disk_usage(self.data).free  # true until somebody writes
            os.posix_fallocate(file.fileno(), 0, max(free - UNIT_BYTES // 2, 1))
        self.driver.wait()
        self.note("disk full", self.driver.log)
        ballast.unlink()
        self._start()

    def corrupt_complete(self) -> None:
        """Flip a bit of the complete artifact, and heal it with the verbs that a user has."""
        folder = self.folder()
        assert folder is not None, "the collection is complete"
        _flip_bit(layout.chunk_path(folder, int(self.rng.integers(self.units))), self.rng)
        log = self.work / "verify.log"
        environment = os.environ | {"BEYONDMIMIC_DATA": str(self.data)}
        words = [sys.executable, "-m", "pipelines.cli", "data", "verify", "--heal", "--kinds", "rollouts"]
        with log.open("wb") as output:
            subprocess.run(words, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False)
        self.note("complete artifact corrupted", log)
        self._start()


def chaos_collect(kills: int, seed: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """Collect twice from one policy, once calmly and once disturbed, and compare.

    Args:
        kills: of workers and drivers, at random moments.
        seed: of moments and victims.
        progress: receives a line after every incident.

    Returns:
        ``ok``; ``equal``, whether every file has the calm one's bytes; ``each_once``, whether every planned
        episode is there once; ``incidents`` by kind with the units done at each and the line that the log has
        on the last; ``skipped``, what this machine cannot do; ``units``, ``episodes``, ``seconds``,
        ``calm_seconds``.

    Raises:
        BeyondMimicError: a driver gave up by itself, or nothing went on.
    """
    units = max(LEAST_UNITS, UNITS_A_KILL * kills)
    with tempfile.TemporaryDirectory(prefix="chaos_collect_") as temporary:
        work = Path(temporary)
        calm, skipped = work / "calm", []
        _train(calm, work)
        with _small_file_system(work / "small", units * UNIT_BYTES * 5 // 4 + 2**27) as small:
            data = (small or work) / "data"
            shutil.copytree(calm, data)
            began = time.monotonic()
            driver = _Driver(calm, work / "calm_state", work / "calm.log", units)
            if driver.wait() != 0:
                raise BeyondMimicError(f"the calm collection failed: {_tail(driver.log)}")
            calm_seconds = time.monotonic() - began
            progress(f"calm: {units} units, {calm_seconds:.0f} s")
            began = time.monotonic()
            chaos = _Chaos(data, work, units, seed, progress)
            if small is None:
                skipped.append("disk full: this user may not mount a small file system")
            _disturb(chaos, kills, None if small is None else small / "ballast")
            seconds = time.monotonic() - began
            return _verdict(chaos, calm, skipped) | {"seconds": seconds, "calm_seconds": calm_seconds}


def _disturb(chaos: _Chaos, kills: int, ballast: Path | None) -> None:
    """Let incidents happen one after the other at random progress, then let the collection end."""
    rng = chaos.rng
    drivers = max(1, round(DRIVER_SHARE * kills))
    happenings: list[Callable[[], None]] = [chaos.kill_worker] * (kills - drivers)
    happenings += [chaos.kill_driver] * drivers
    happenings += [chaos.damage, chaos.step_clock, chaos.second_collection]
    happenings += [] if ballast is None else [lambda: chaos.fill_disk(ballast)]
    order = rng.permutation(len(happenings))
    # The last units are left alone: a driver that ends before its incident would prove nothing.
    moments = np.sort(rng.integers(2, int(0.8 * chaos.units), len(happenings)))
    for moment, index in zip(moments, order, strict=True):
        chaos.wait_for(int(moment))
        time.sleep(float(rng.uniform(0, 0.5)))
        happenings[index]()
    _finish(chaos)
    chaos.corrupt_complete()
    _finish(chaos)


def _finish(chaos: _Chaos) -> None:
    if chaos.driver.wait() != 0:
        raise BeyondMimicError(f"the last driver failed: {_tail(chaos.driver.log)}")


def _verdict(chaos: _Chaos, calm: Path, skipped: Sequence[str]) -> dict[str, Any]:
    """Compare the disturbed rollouts with the calm ones, and look every incident up in the log."""
    stores = [ArtifactStore(root) for root in (calm, chaos.data)]
    first, second = (store.latest("rollouts", SKILL) for store in stores)
    if first is None or second is None:
        raise BeyondMimicError("a collection ended without a complete artifact")
    contents = [
        {p.relative_to(a.path).as_posix(): hash_file(p) for p in a.path.rglob("*") if p.is_file()}
        for a in (first, second)
    ]
    for content in contents:
        content.pop(MANIFEST)  # says when it was made
    equal = contents[0] == contents[1] and first.version == second.version
    planned, found = (
        [str(name) for name in read_episodes(a.path / layout.EPISODES)["episode_id"].to_pylist()]
        for a in (first, second)
    )
    incidents = []
    for kind in dict.fromkeys(incident.kind for incident in chaos.incidents):
        of_kind = [incident for incident in chaos.incidents if incident.kind == kind]
        lines = [_evidence(incident) for incident in of_kind]
        incidents.append(
            {
                "kind": kind,
                "times": len(of_kind),
                "units_done": [incident.units_done for incident in of_kind],
                "silent": lines.count(""),
                "evidence": next((line for line in reversed(lines) if line), "NOT in the log"),
            }
        )
    each_once = sorted(found) == sorted(planned) and len(set(found)) == len(found)
    left = list((chaos.data / "rollouts" / SKILL).glob(f"*{PARTIAL}"))
    return {
        "ok": equal and each_once and not left and not any(line["silent"] for line in incidents),
        "equal": equal,
        "each_once": each_once,
        "units": chaos.units,
        "episodes": len(found),
        "incidents": incidents,
        "skipped": list(skipped),
    }


def _evidence(incident: _Incident) -> str:
    """Return the last line of the log that speaks of an incident, or nothing."""
    lines = incident.log.read_text(errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if EVIDENCE[incident.kind] in line), "")


def _train(data: Path, work: Path) -> None:
    """Make the policy that both collections roll out."""
    environment = os.environ | {"BEYONDMIMIC_DATA": str(data), "BEYONDMIMIC_STATE": str(work / "train_state")}
    words = [sys.executable, "-m", "pipelines.cli", "train", "--preset", "test", "--synth.skills", "stand"]
    log = work / "train.log"
    with log.open("wb") as output:
        done = subprocess.run(words, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise BeyondMimicError(f"no policy to collect with: {_tail(log)}")


@contextlib.contextmanager
def _small_file_system(folder: Path, size: int) -> Iterator[Path | None]:
    """Mount a file system of ``size`` bytes in memory; gives nothing where this user may not."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "chaos", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    try:
        yield folder if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _flip_bit(path: Path, rng: np.random.Generator) -> None:
    data = bytearray(path.read_bytes())
    data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)


def _tail(log: Path) -> str:
    return " / ".join(log.read_text(errors="replace").splitlines()[-3:])
