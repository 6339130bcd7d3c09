"""Files below each other in one piece of memory, so that a row of any chunk is one address away."""

import ctypes
import functools
import mmap
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from beyondmimic_data.errors import StoreError

# <linux/mman.h>; Python 3.12 names neither.
_MAP_FIXED = 0x10
_MADV_POPULATE_READ = 22


@functools.cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    return libc


def can_map(file_bytes: int) -> bool:
    """Say whether files of this size can stand below each other in memory: whole pages, on Linux."""
    return os.uname().sysname == "Linux" and file_bytes % mmap.PAGESIZE == 0 and file_bytes > 0


def map_files(files: Sequence[Path], sizes: Sequence[int]) -> np.ndarray:
    """Map files one after another into one range of addresses, read-only and shared with the page cache.

    Args:
        files: at least one file.
        sizes: bytes of each, whole pages.

    Returns:
        (sum of sizes,) uint8; the mapping lives as long as the array or a view of it.

    Raises:
        StoreError: a file is missing or has another size.
    """
    reserved = mmap.mmap(-1, sum(sizes), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ)
    memory = np.frombuffer(reserved, np.uint8)
    address = memory.ctypes.data
    for path, size in zip(files, sizes, strict=True):
        try:
            handle = os.open(path, os.O_RDONLY)
        except FileNotFoundError as error:
            raise StoreError(f"{path}: missing; check the store's integrity") from error
        try:
            found = os.fstat(handle).st_size
            if found != size:
                raise StoreError(f"{path}: found {found} bytes, expected {size}; check the store's integrity")
            placed = _libc().mmap(address, size, mmap.PROT_READ, mmap.MAP_SHARED | _MAP_FIXED, handle, 0)
            if placed != address:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
        finally:
            os.close(handle)
        address += size
    return memory


def populate(memory: np.ndarray) -> None:
    """Bring mapped memory into the page cache and this process's page tables, where the kernel can (5.14)."""
    start = memory.ctypes.data // mmap.PAGESIZE * mmap.PAGESIZE
    length = memory.ctypes.data + memory.nbytes - start
    _libc().madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), _MADV_POPULATE_READ)


def available_memory() -> int:
    """Return bytes that can be taken without swapping.

    Raises:
        StoreError: the kernel does not say.
    """
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    raise StoreError("/proc/meminfo does not say MemAvailable")
