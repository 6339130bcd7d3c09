"""Opening an NPZ that may be damaged or hostile: every header is checked before an array is unpacked.

A zip archive of a megabyte can declare, and unpack to, gigabytes. So each member's NPY header is read from
the first bytes of its stream; type and shape must make exactly the size that the archive declares, and all
of them together stay within ``MAX_UNPACKED``. What is read then is what the headers said, no more.
"""

import contextlib
import dataclasses
import io
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from beyondmimic_data.errors import MotionError
from beyondmimic_data.motions.formats import MAX_BYTES

MAX_MEMBERS = 64
"""Arrays of a file; clips of this project have seven, whole_body_tracking's motions too."""
MAX_UNPACKED = MAX_BYTES[".npz"]
"""Bytes of the arrays together: those of the largest file that is not compressed."""
MAX_INFLATION = 1040
"""Bytes that deflate can make of one; 1032 by its definition. More is a size that is not true."""
MAX_HEADER = 10_240
"""Bytes that an NPY header is looked for in; NumPy takes no longer one."""
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""What NumPy writes. Others inflate without bound."""
_SUFFIX = ".npy"


@dataclasses.dataclass(frozen=True)
class Header:
    """What an array will be."""

    shape: tuple[int, ...]
    dtype: np.dtype


class NpzFile:
    """An open archive whose headers have been checked."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        """Read the headers of all members.

        Raises:
            MotionError: a member is no plain array of the size it declares, or they are too many or large.
        """
        self._path, self._archive = path, archive
        members = archive.infolist()
        if len(members) > MAX_MEMBERS:
            raise MotionError(path, "NPZ arrays", f"{len(members)} members", f"at most {MAX_MEMBERS}")
        unpacked = sum(member.file_size for member in members)
        if unpacked > MAX_UNPACKED:
            expected = f"at most {MAX_UNPACKED // 2**20} MiB"
            raise MotionError(path, "unpacked size", f"{unpacked / 2**20:.0f} MiB", expected)
        self.headers: dict[str, Header] = {}
        """What each array will be, by name."""
        for member in members:
            name = member.filename.removesuffix(_SUFFIX)
            if name in self.headers or name == member.filename:
                raise MotionError(path, "NPZ arrays", repr(member.filename), "arrays, each name once")
            self.headers[name] = self._header(member)

    def read(self, name: str) -> np.ndarray:
        """Unpack one array.

        Raises:
            MotionError: its bytes are damaged.
        """
        with _member_errors(self._path, name), self._archive.open(name + _SUFFIX) as stream:
            return npy.read_array(stream, allow_pickle=False)

    def read_numbers(self, name: str) -> np.ndarray:
        """Unpack one array of floating-point numbers.

        Raises:
            MotionError: its bytes are damaged, it holds something else, or a number that is not finite.
        """
        if self.headers[name].dtype.kind != "f":
            found = f"values of type {self.headers[name].dtype}"
            raise MotionError(self._path, name, found, "floating-point numbers")
        array = self.read(name)
        finite = np.isfinite(array)
        if not finite.all():
            where = tuple(int(i) for i in np.argwhere(~finite)[0])
            raise MotionError(self._path, f"{name}{list(where)}", array[where], "a finite number")
        return array

    def _header(self, member: zipfile.ZipInfo) -> Header:
        name = member.filename.removesuffix(_SUFFIX)
        if member.compress_type not in METHODS or member.flag_bits & 1:
            raise MotionError(
                self._path, name, "another compression or encryption", "an array as NumPy packs it"
            )
        if member.file_size > MAX_INFLATION * member.compress_size:
            raise MotionError(
                self._path,
                name,
                f"{member.file_size} bytes declared of {member.compress_size} packed ones",
                "what they unpack to",
            )
        with _member_errors(self._path, name), self._archive.open(member) as stream:
            header, start = _read_header(stream.read(MAX_HEADER))
        if header.dtype.hasobject:
            raise MotionError(self._path, name, "pickled objects", "plain arrays; pickles are not read")
        if min(header.shape, default=0) < 0:
            raise MotionError(self._path, name, f"shape {header.shape}", "no negative length")
        size = start + math.prod(header.shape) * header.dtype.itemsize
        if size != member.file_size:
            found = f"{member.file_size} bytes for {header.dtype} of shape {header.shape}"
            raise MotionError(self._path, name, found, f"{size}")
        return header


@contextlib.contextmanager
def open_npz(path: Path) -> Iterator[NpzFile]:
    """Open an NPZ and check all headers.

    Raises:
        MotionError: it is no NPZ that can be trusted; says why.
    """
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:  # zipfile says BadZipFile, struct.error, ValueError and more of damaged bytes
        raise MotionError(path, "file", _spell(error), "a complete NPZ archive") from error
    with archive:
        yield NpzFile(path, archive)


def _read_header(first: bytes) -> tuple[Header, int]:
    """Return an array's header, from its member's first bytes, and how many bytes it takes."""
    stream = io.BytesIO(first)
    version = npy.read_magic(stream)
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"NPY version {version[0]}.{version[1]}, not 1.0 or 2.0")
    shape, _, dtype = readers[version](stream)
    return Header(shape, dtype), stream.tell()


@contextlib.contextmanager
def _member_errors(path: Path, name: str) -> Iterator[None]:
    """Make one MotionError of whatever zipfile, zlib and NumPy's parser raise at damaged bytes.

    They raise what their insides happen to: zlib.error, struct.error, tokenize.TokenError, AttributeError,
    OverflowError and others. Nothing but their calls stands inside.
    """
    try:
        yield
    except Exception as error:
        raise MotionError(path, name, _spell(error), "an array that can be read") from error


def _spell(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
