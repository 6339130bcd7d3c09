"""Feeding mutants of valid files to the doors that read them: each is accepted or refused, and nothing else.

A door is what the project reads such files with. It refuses with one of the project's own errors, of one
line. Anything else is a crash: another exception, a message of several lines, more time or memory than such
a file may take, a process that dies. Mutants run in a process of their own, which is replaced when it dies.
"""

import contextlib
import dataclasses
import logging
import multiprocessing
import os
import random
import resource
import shutil
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from beyondmimic_data.bench.mutants import mutate
from beyondmimic_data.errors import BeyondMimicError, one_line

Verdict = Literal["accepted", "refused", "crash"]
VERDICTS: tuple[Verdict, ...] = ("accepted", "refused", "crash")
SECONDS = 10.0
"""Longest that a door may take; the valid files take less than one."""
MEGABYTES = 600.0
"""Most that a door may add to the process; the valid files add less than fifty."""
SPACE = 8 * 2**30
"""Bytes of address space that the process may take beyond what it has: a mutant must not end the machine."""
OUT_OF_MEMORY = ("allocate", "MemoryError")
"""In the text of a refusal: it came from the end of the memory, not from a check."""


@dataclasses.dataclass(frozen=True)
class Target:
    """One door and the valid files that its mutants are made of."""

    name: str
    make: Callable[[Path], None]
    """Writes the valid files into an empty folder."""
    read: Callable[[Path], object]
    """The door: reads the files of a folder, or raises one of the project's errors; writes nothing there."""
    files: tuple[str, ...]
    """Patterns of the files that are damaged, one of them at a time."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one mutant."""

    verdict: Verdict
    text: str
    """Message of a refusal; what happened in a crash."""
    file: str = ""
    """File that was damaged."""
    seconds: float = 0.0
    megabytes: float = 0.0
    """Added to the process at the most."""


def fuzz(
    targets: Sequence[Target],
    mutants: int,
    seed: int,
    *,
    first: int = 0,
    keep: Path | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> list[dict[str, Any]]:
    """Read mutants of every target and count what becomes of them.

    Args:
        targets: doors with their valid files.
        mutants: how many of each.
        seed: with the target's name and the mutant's number it decides the mutant.
        first: number of the first mutant.
        keep: folder to leave the last mutant of each target in, for a debugger.
        progress: receives a line a target.

    Returns:
        A line a target: ``target``, ``accepted``, ``refused``, ``crash``, ``seconds``, ``slowest_s``,
        ``most_mb`` and ``first_crash``, which is ``None`` or has ``mutant``, ``file`` and ``what``.

    Raises:
        BeyondMimicError: a target's valid files are refused by its own door.
    """
    lines = []
    with tempfile.TemporaryDirectory(prefix="fuzz_") as folder, _Reader(Path(folder), seed, keep) as reader:
        for target in targets:
            whole = reader.read(target, None)
            if whole.verdict != "accepted":
                found = f"its valid files are {whole.verdict}: {whole.text}"
                raise BeyondMimicError(f"fuzz: {target.name}: {found}")
            started = time.monotonic()
            outcomes = [reader.read(target, first + i) for i in range(mutants)]
            lines.append(_line(target.name, outcomes, first, time.monotonic() - started))
            progress(f"{target.name}: " + ", ".join(f"{lines[-1][v]} {v}" for v in VERDICTS))
    return lines


def _line(name: str, outcomes: list[Outcome], first: int, seconds: float) -> dict[str, Any]:
    crashes = [(first + i, o) for i, o in enumerate(outcomes) if o.verdict == "crash"]
    counts: dict[str, int] = {v: sum(o.verdict == v for o in outcomes) for v in VERDICTS}
    return {
        "target": name,
        **counts,
        "seconds": round(seconds, 1),
        "slowest_s": round(max((o.seconds for o in outcomes), default=0.0), 3),
        "most_mb": round(max((o.megabytes for o in outcomes), default=0.0)),
        "first_crash": next(({"mutant": i, "file": o.file, "what": o.text} for i, o in crashes), None),
    }


class _Reader:
    """The process that reads mutants, started when it is needed and again when it has died."""

    def __init__(self, folder: Path, seed: int, keep: Path | None) -> None:
        self._folder, self._seed, self._keep = folder, seed, keep
        self._context = multiprocessing.get_context("spawn")
        self._process: Any = None
        self._connection: Connection | None = None

    def __enter__(self) -> "_Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def read(self, target: Target, mutant: int | None) -> Outcome:
        """Return what becomes of one mutant; ``None`` reads the valid files."""
        if self._connection is None and mutant is not None:
            self._asked(target, None)
        return self._asked(target, mutant)

    def _asked(self, target: Target, mutant: int | None) -> Outcome:
        connection, started = self._started(), time.monotonic()
        connection.send((target, mutant))
        # The valid files come first, and with them the imports of everything that reads them.
        patience = 4 * SECONDS if mutant is not None else 20 * SECONDS
        try:
            if connection.poll(patience):
                return connection.recv()
            what = f"no end within {patience:g} s"
        except EOFError:
            self._process.join()
            what = f"the process ended with {self._process.exitcode}"
        self._stop()
        return Outcome("crash", what, seconds=time.monotonic() - started)

    def _started(self) -> Connection:
        if self._connection is None:
            self._connection, theirs = self._context.Pipe()
            arguments = (theirs, self._folder, self._seed, self._keep)
            self._process = self._context.Process(target=_serve, args=arguments, daemon=True)
            self._process.start()
            theirs.close()
        return self._connection

    def _stop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._process.kill()
            self._process.join()
            self._connection = None


def _serve(connection: Connection, folder: Path, seed: int, keep: Path | None) -> None:
    """Read mutants until the other side hangs up."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    os.chdir(folder)  # whatever a library leaves in the working folder goes with it
    with contextlib.suppress(EOFError):
        while True:
            target, mutant = connection.recv()
            connection.send(_outcome(target, mutant, folder / target.name, seed, keep))


def _outcome(target: Target, mutant: int | None, folder: Path, seed: int, keep: Path | None) -> Outcome:
    """Damage one file of a target's folder, read the folder, and put the file right again."""
    if mutant is None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        target.make(folder)
        outcome = _read(target, folder)
        _limit_memory()
        return outcome
    rng = random.Random(f"{seed}/{target.name}/{mutant}")
    path = rng.choice(
        sorted({path for pattern in target.files for path in folder.glob(pattern) if path.is_file()})
    )
    whole = path.read_bytes()
    path.write_bytes(mutate(path.name, whole, rng))
    if keep is not None:
        shutil.copytree(folder, keep / target.name, dirs_exist_ok=True)
    try:
        return dataclasses.replace(_read(target, folder), file=path.relative_to(folder).as_posix())
    finally:
        path.write_bytes(whole)


def _read(target: Target, folder: Path) -> Outcome:
    """Open the door once, and look at the clock and at the memory."""
    before, started = _reset_peak(), time.monotonic()
    verdict: Verdict = "accepted"
    text = ""
    try:
        target.read(folder)
    except BeyondMimicError as error:
        verdict, text = "refused", str(error)
        if not text.isprintable():
            verdict, text = "crash", f"a message of several lines: {text!r}"
        elif any(word in text for word in OUT_OF_MEMORY):
            verdict = "crash"
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        verdict = "crash"
        text = f"{type(error).__name__}: {error} ({Path(frame.filename).name}:{frame.lineno})"
    seconds, megabytes = time.monotonic() - started, _peak() - before
    if seconds > SECONDS:
        verdict, text = "crash", f"{seconds:.1f} s; {text}"
    elif megabytes > MEGABYTES:
        verdict, text = "crash", f"{megabytes:.0f} MB; {text}"
    return Outcome(verdict, one_line(text), seconds=seconds, megabytes=megabytes)


def _limit_memory() -> None:
    """Let the process take no more than ``SPACE`` beyond what it has mapped with everything imported."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + SPACE
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _reset_peak() -> float:
    """Forget the largest size of the process so far, where the kernel lets it; returns the size now, MB."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> float:
    """Return the largest resident size of the process since it was reset, MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
