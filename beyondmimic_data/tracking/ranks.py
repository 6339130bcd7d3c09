"""Processes that train one policy together, a core each: the ranks of rsl-rl's distributed PPO, over gloo.

One process that steps physics on several cores leaves all but one idle while it handles tensors; several
processes do everything side by side and meet in every gradient.
"""

import contextlib
import datetime
import logging
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch.distributed as dist

from beyondmimic_data.errors import BeyondMimicError
from beyondmimic_data.rank import ALONE, Rank

log = logging.getLogger(__name__)

_MEETING = datetime.timedelta(minutes=5)
"""Longest time from the first rank's start to the last one's."""
_WAITING = datetime.timedelta(hours=2)
"""Longest time that the others wait while the first rank tries the policy."""
_LEAVING_SECONDS = 10.0
"""Time that the others have to end by themselves."""


class RankLostError(BeyondMimicError):
    """A process that trains with others has ended before them."""


@contextlib.contextmanager
def together(count: int, follow: Callable[..., None], *args: Any) -> Iterator[Rank]:
    """Make this process the first of so many ranks, and the others' first.

    Args:
        count: ranks in all; 1 starts no process.
        follow: what the others run, importable by name: called with their rank, then ``args``. It has to
            return once ``Rank.agree`` is false.
        args: picklable.

    Yields:
        The first rank. Afterwards the others are told that it is over.

    Raises:
        RankLostError: one of the others has ended too early.
    """
    if count == 1:
        yield ALONE
        return
    first, spawn = Rank(0, count), multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="ranks") as folder:
        path = Path(folder) / "store"
        others: list[BaseProcess] = []
        for number in range(1, count):
            rank = Rank(number, count)
            others.append(spawn.Process(target=_run, args=(rank, path, follow, args), daemon=True))
            others[-1].start()
        try:
            _meet(first, path, others)
            yield first
            first.agree(False)
        except RuntimeError as error:
            lost = _lost(others)
            if lost is None:
                raise
            raise RankLostError(f"{lost}: {error}") from error
        finally:
            if dist.is_initialized():
                dist.destroy_process_group()
            for other in others:
                other.join(_LEAVING_SECONDS)
                if other.is_alive():
                    log.debug("process %d has not ended by itself", other.pid)
                    other.kill()
                    other.join()


def _run(rank: Rank, path: Path, follow: Callable[..., None], args: tuple[Any, ...]) -> None:
    """Be one of the other ranks."""
    store = _store(path, rank)
    store.set(_arrival(rank.number), "here")
    try:
        _join(rank, store)  # the first rank may be gone before the last connection is made
        follow(rank, *args)
    except (BeyondMimicError, RuntimeError) as error:
        # What all ranks see, and that another one has gone, the first rank says itself.
        if not isinstance(error, BeyondMimicError) and not _another_has_gone(error):
            raise
        log.debug("rank %d ends: %s", rank.number, error)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _another_has_gone(error: RuntimeError) -> bool:
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def _store(path: Path, rank: Rank) -> dist.FileStore:
    """Open the file over which ranks find each other, once a process."""
    store = dist.FileStore(str(path), rank.count)
    store.set_timeout(_MEETING)
    return store


def _join(rank: Rank, store: dist.FileStore) -> None:
    # The ranks are one machine's; nobody else may call.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", store=store, rank=rank.number, world_size=rank.count, timeout=_WAITING)
    dist.barrier()  # nobody leaves while another one still connects


def _meet(first: Rank, path: Path, others: list[BaseProcess]) -> None:
    """Wait until every other rank is there, then join them.

    Raises:
        RankLostError: one ended on its way, or is not there in time.
    """
    store, deadline = _store(path, first), time.monotonic() + _MEETING.total_seconds()
    while not store.check([_arrival(number) for number in range(1, first.count)]):
        lost = _lost(others, 0.0)
        if lost is not None or time.monotonic() > deadline:
            raise RankLostError(
                f"{lost or 'a training process does not start'}; look for its own error above"
            )
        time.sleep(0.02)
    _join(first, store)


def _arrival(number: int) -> str:
    return f"rank {number} has come"


def _lost(others: list[BaseProcess], patience_seconds: float = 5.0) -> str | None:
    """Say which of the other ranks has ended, if one has; one that only followed another ended well."""
    deadline = time.monotonic() + patience_seconds
    while all(other.is_alive() for other in others):
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.05)
    codes = {number: other.exitcode for number, other in enumerate(others, 2) if not other.is_alive()}
    number = max(codes, key=lambda n: codes[n] != 0)
    return f"training process {number} of {len(others) + 1} ended (exit code {codes[number]})"
