"""Where Dagster keeps its state, and what an interrupted process left in it."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
from dagster._core.instance.ref import InstanceRef

from beyondmimic_data.errors import StoreError
from pipelines.requests import ACTIVE, INTERRUPTED_TAG

PROJECT = Path(__file__).parents[1]
"""Holds ``dagster.yaml`` and ``pyproject.toml``."""
DRIVER_TAG = "beyondmimic/driver"
"""On runs inside a `beyondmimic run`: that process."""
UI_LOCK = "ui.lock"


def state_folder() -> Path:
    """Return where Dagster's state goes: ``BEYONDMIMIC_STATE``, or ``.dagster`` in the project."""
    return Path(os.environ.get("BEYONDMIMIC_STATE") or PROJECT / ".dagster").absolute()


def prepare_environment() -> None:
    """Point Dagster at the project's ``dagster.yaml`` and at the state folder, here and in children."""
    state_folder().mkdir(parents=True, exist_ok=True)
    os.environ["BEYONDMIMIC_STATE"] = str(state_folder())
    os.environ["DAGSTER_HOME"] = str(PROJECT)


@contextlib.contextmanager
def open_instance() -> Iterator[dg.DagsterInstance]:
    """Open the project's Dagster instance for runs inside this process.

    Console output is not captured: that replaces the standard streams of the whole process, which several
    runs in threads would do to each other. Pools do not hold here either: Ray's CPUs are the limit, and a
    slot of a killed process would block the next one for ever.
    """
    prepare_environment()
    overrides = {
        "compute_logs": {
            "module": "dagster._core.storage.noop_compute_log_manager",
            "class": "NoOpComputeLogManager",
        },
        "concurrency": {},
    }
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(PROJECT), overrides=overrides)) as instance:
        # Every run would configure Python's logging anew, for handlers that `dagster.yaml` does not have.
        # That takes logging's lock, then each handler's; a run beside it that logs takes them the other way
        # round.
        vars(instance)["get_yaml_python_handlers"] = list
        yield instance


def driver() -> str:
    """Return a name of this process that no later process has."""
    return f"{os.getpid()}:{_started(os.getpid())}"


def end_interrupted_runs(instance: dg.DagsterInstance, *, daemon_is_mine: bool = False) -> list[str]:
    """Mark runs as failed whose process died without saying so; they count as never tried.

    Args:
        instance: the project's instance.
        daemon_is_mine: no daemon is running, so that a run of one cannot be alive either.

    Returns:
        Ids of the runs.
    """
    ended = []
    for run in instance.get_runs(dg.RunsFilter(statuses=ACTIVE)):
        owner = run.tags.get(DRIVER_TAG)
        if daemon_is_mine if owner is None else not _alive(owner):
            instance.add_run_tags(run.run_id, {INTERRUPTED_TAG: "true"})
            instance.report_run_failed(run, "the process that executed this run ended without finishing it")
            ended.append(run.run_id)
    return ended


@contextlib.contextmanager
def only_ui() -> Iterator[None]:
    """Be the one process that runs the UI and its daemon on this state folder.

    Raises:
        StoreError: there is another.
    """
    import fcntl

    state_folder().mkdir(parents=True, exist_ok=True)
    with (state_folder() / UI_LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(
                f"another UI runs on {state_folder()}; use or stop that one, or set BEYONDMIMIC_STATE"
            ) from error
        yield


def _started(pid: int) -> str:
    """Return when a process started, in clock ticks since boot; where /proc is missing, something unique."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return uuid.uuid4().hex


def _alive(owner: str) -> bool:
    pid, _, started = owner.partition(":")
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _started(int(pid)) == started
