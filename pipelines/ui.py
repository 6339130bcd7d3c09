"""The Dagster UI with its daemon, on this machine only."""

import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from beyondmimic_data.errors import BeyondMimicError
from beyondmimic_data.process import require_free_port
from pipelines.home import PROJECT, end_interrupted_runs, only_ui, open_instance

log = logging.getLogger("beyondmimic.ui")

HOST = "127.0.0.1"
START_SECONDS = 180
PR_SET_PDEATHSIG = 1


@contextlib.contextmanager
def running_ui(port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``dg dev`` until the block ends.

    Args:
        port: port on 127.0.0.1.

    Raises:
        BeyondMimicError: the port is taken, another UI runs on the same state, or it does not start.
    """
    require_free_port(HOST, port)
    with only_ui():
        with open_instance() as instance:
            for run in end_interrupted_runs(instance, daemon_is_mine=True):
                log.warning("run %s was interrupted; it counts as never tried", run)
        command = [str(Path(sys.executable).with_name("dg")), "dev", "--host", HOST, "--port", str(port)]
        _listen_to_interrupts()
        process = subprocess.Popen(
            command,
            cwd=PROJECT,
            env={**os.environ, "VIRTUAL_ENV": sys.prefix},
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            start_new_session=True,
            preexec_fn=_follow_parent,
        )
        try:
            _wait_until_ready(process, port)
            yield process
        finally:
            _stop(process)


def _listen_to_interrupts() -> None:
    """Let SIGINT and SIGTERM raise: a child of a background shell ignores SIGINT, and would never end."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def _follow_parent() -> None:
    """End with the process that started it: a daemon left alone would disturb the next one."""
    _listen_to_interrupts()
    with contextlib.suppress(
        OSError, AttributeError
    ):  # not Linux: then only a killed parent leaves it behind
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)


def _wait_until_ready(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise BeyondMimicError(f"dg dev ended with code {process.returncode}; its output says why")
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/server_info", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise BeyondMimicError(f"dg dev did not answer on port {port} within {START_SECONDS} s")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End ``dg dev`` and all that it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            log.warning("dg dev did not end within 30 s and is killed")
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
