"""Other processes of this machine, found and held by their ids: for those who disturb a run on purpose."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from beyondmimic_data.errors import BeyondMimicError


def family(pid: int) -> list[int]:
    """Return the ids of all descendants of a process."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, queue = [], [pid]
    while queue:
        young = children.get(queue.pop(), [])
        found += young
        queue += young
    return found


def ray_workers(pid: int, actor: str = "") -> list[int]:
    """Return the ids of the Ray workers that a process has started, those of an actor class or all.

    Ray's agents are none: they outlive it by a minute and touch nothing.
    """
    commands = {child: command_of(child) for child in family(pid)}
    return [
        child for child, command in commands.items() if f"ray::{actor}" in command and "Agent" not in command
    ]


def command_of(pid: int) -> str:
    """Return a process's command line; nothing for one that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def await_end(pids: Sequence[int], patience_s: float) -> None:
    """Wait until processes have ended: workers follow their driver, and write until then.

    Raises:
        BeyondMimicError: one has not after ``patience_s``.
    """
    end = time.monotonic() + patience_s
    while any(command_of(pid) for pid in pids):
        if time.monotonic() > end:
            raise BeyondMimicError("processes of a killed driver did not end")
        time.sleep(0.05)


@contextlib.contextmanager
def held(pids: Sequence[int]) -> Iterator[None]:
    """Stop processes until the block ends; one that has ended by itself is left out."""
    stopped = []
    try:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                stopped.append(pid)
        yield
    finally:
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
