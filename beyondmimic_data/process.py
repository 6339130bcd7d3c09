"""What a process needs of its machine: threads, memory, a port to listen on."""

import ctypes
import os
import socket

from beyondmimic_data.errors import BeyondMimicError

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def prepare(num_threads: int) -> None:
    """Set torch's threads, and keep freed memory in the process.

    glibc hands large blocks back to the kernel at every free; a training that allocates the same blocks again
    at every step then spends up to a third of its time on page faults.

    Args:
        num_threads: torch threads; 0 takes every core.
    """
    import torch

    torch.set_num_threads(num_threads or os.cpu_count() or 1)
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:  # another C library: nothing to tune
        return
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def require_free_port(host: str, port: int) -> None:
    """Check that a server can listen.

    Raises:
        BeyondMimicError: someone else does.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise BeyondMimicError(f"port {port} of {host} is taken; choose another with --port") from error
