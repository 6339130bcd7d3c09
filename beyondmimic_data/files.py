"""Writing files so that a reader, or a killed process, never sees half of one."""

import contextlib
import json
import os
import re
import shutil
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

from beyondmimic_data.errors import StoreError, shown

MAX_TEXT_BYTES = 64 * 2**20
"""Longest document that is read into memory: the longest that the project writes has a tenth of it."""
_TEMPORARY = re.compile(r"\..+\.tmp(\.[^.]+)?|.+\.partial")
NAME_BYTES = 200
"""Longest name of a file or folder; locks and temporary files add to it, and file systems end at 255."""
PATH_BYTES = 2000
"""Longest path below a root; Linux ends at 4096 with the root."""


def path_below[P: PurePath](root: P, *names: str) -> P:
    """Return the path of names, each one file or folder, below a root.

    Names come from manifests, indexes, tables and command lines, which anyone may have written; every path
    that is made of one is made here.

    Raises:
        StoreError: a name would lead elsewhere, or no file system takes it.
    """
    for name in names:
        wrong = _wrong_name(name)
        if wrong is not None:
            raise StoreError(f"{root}: the name {shown(name)} {wrong}; rename it where it comes from")
    if sum(len(name.encode()) + 1 for name in names) > PATH_BYTES:
        raise StoreError(
            f"{root}: a path of {len(names)} names is longer than {PATH_BYTES} bytes; shorten it"
        )
    return root.joinpath(*names)


def _wrong_name(name: object) -> str | None:
    """Say what is wrong with a name of a file or folder, if anything."""
    if not isinstance(name, str):
        return f"is no text but {type(name).__name__}"
    if name in ("", ".", ".."):
        return "does not name a file or folder in it"
    if any(sign in "/\\" or not sign.isprintable() for sign in name):
        return "holds '/', '\\' or a character that cannot be printed"
    if len(name.encode()) > NAME_BYTES:
        return f"is {len(name.encode())} bytes long, and {NAME_BYTES} are allowed"
    return None


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``, synced and renamed into place when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp" + path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside ``path``, synced and renamed into place when the block succeeds.

    Whatever ends the block otherwise, an interruption too, removes the temporary folder; a killed process
    leaves it under its temporary name, ``.<name>.<random>.partial``.

    Raises:
        StoreError: ``path`` is a file, or a folder with something in it.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        found = "a folder that is not empty" if path.is_dir() else "a file"
        raise StoreError(f"{path}: found {found}, expected no folder or an empty one; nothing was written")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        for part in [*temporary.rglob("*"), temporary]:
            sync(part)
        try:
            temporary.rename(path)  # takes an empty folder's place, and no other's
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}; nothing was written") from error
        sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sweep(folder: Path) -> list[Path]:
    """Remove the temporary files and folders that killed writers left below, and return them.

    Their names are ``atomic_path``'s or zarr-python's.
    """
    left = [path for path in folder.rglob("*") if _TEMPORARY.fullmatch(path.name)]
    for path in left:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return left


def sync(path: Path) -> None:
    """Have the kernel bring a file, or a folder's list of names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically, indented, keys in the order given."""
    write_bytes(path, (json.dumps(value, indent=2) + "\n").encode())


def read_text(path: Path, limit: int = MAX_TEXT_BYTES) -> str:
    """Read a UTF-8 file that a person or another process may have put there.

    Raises:
        OSError: it cannot be read.
        ValueError: it holds more than ``limit`` bytes, or no text.
    """
    return _bytes_of(path, limit).decode()


def _bytes_of(path: Path, limit: int) -> bytes:
    with path.open("rb") as stream:
        if os.fstat(stream.fileno()).st_size > limit:
            raise ValueError(f"more than {limit / 2**20:g} MiB")
        return stream.read()


def read_json(path: Path, limit: int = MAX_TEXT_BYTES) -> Any:
    """Read a JSON file.

    Raises:
        OSError: it cannot be read.
        ValueError: it holds more than ``limit`` bytes, no text, or no JSON.
    """
    return parse_json(_bytes_of(path, limit))


def parse_json(data: bytes) -> Any:
    """Parse JSON in UTF-8.

    Raises:
        ValueError: it is not JSON, or nested too deeply to be anyone's.
    """
    try:
        return json.loads(data.decode())
    except RecursionError as error:
        raise ValueError("values nested too deeply") from error


def read_toml(path: Path, limit: int = MAX_TEXT_BYTES) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        OSError: it cannot be read.
        ValueError: it holds more than ``limit`` bytes, no text, or no TOML.
    """
    text = read_text(path, limit)
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("values nested too deeply") from error
