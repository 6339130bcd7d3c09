"""Artifacts on an object store, or wherever else fsspec reaches, laid out as in a local store.

``<url>/<kind>/<key>/<recipe>/`` holds an artifact. While it is sent its manifest has another name, so that an
artifact half sent does not exist for readers.
"""

import concurrent.futures
import contextlib
import logging
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
from fsspec.utils import get_protocol

from beyondmimic_data.errors import MissingToolError, StoreError, shown
from beyondmimic_data.files import atomic_path, path_below
from beyondmimic_data.hashing import hash_file
from storage.manifests import (
    LINEAGE,
    MANIFEST,
    MAX_BYTES,
    Manifest,
    content_files,
    is_hash,
    parse_manifest,
    place_of,
)

log = logging.getLogger(__name__)

SENDING = "manifest.json.partial"
"""The manifest's name while the files it lists are sent; the next push of the same artifact goes on."""
STREAMS = 8
"""Files under way at once: a store far away answers each of them late."""
PIECE_BYTES = 2**23
"""Read at once: of a file that turns out too large no more than that comes too much."""
LOGIN_NAMES = ("", "abfs", "abfss", "file", "ftp", "hdfs", "local", "memory", "sftp", "smb", "ssh")
"""Protocols whose addresses may have a name before an @, which is no secret there."""
Moved = Callable[[int, bool], None]
"""Receives the size of each file, and whether it had to be moved or was there already."""


class ObjectStore:
    """All artifacts below one URL."""

    def __init__(self, url: str) -> None:
        """Prepare access; credentials and endpoints are those of fsspec and of the environment.

        Raises:
            MissingToolError: the package that reads such URLs is not installed.
            StoreError: nothing reads such URLs, it names no place, or it holds credentials.
        """
        refuse_credentials(url)
        self.url = url.rstrip("/")
        # Object stores have no folders; on a disk they have to be made.
        options = {"auto_mkdir": True} if get_protocol(url) in ("file", "local") else {}
        try:
            self._fs, root = fsspec.url_to_fs(url, **options)
        except ImportError as error:
            raise MissingToolError(
                f"{url}: {_one_line(error)}; for s3:// it is this project's extra 's3'"
            ) from error
        except ValueError as error:
            raise StoreError(f"{url}: {_one_line(error)}; expected such as s3://bucket/prefix") from error
        self._root = root.rstrip("/")
        if not self._root:
            raise StoreError(f"{url}: names no place; expected such as s3://bucket/prefix")
        self._fs.invalidate_cache()  # listings of an earlier use in this process

    def place(self, kind: str, key: str, recipe: str) -> str:
        """Return the URL of an artifact's folder.

        Raises:
            StoreError: nothing of that kind is copied, the key is no name, or the recipe no recipe.
        """
        return f"{self.url}/{self._below(kind, key, recipe)}"

    def _below(self, kind: str, key: str, recipe: str) -> str:
        """Return an artifact's folder below the root; raises as ``place``."""
        if kind not in LINEAGE:
            raise StoreError(f"{self.url}: kind: found {shown(kind)}, expected one of {', '.join(LINEAGE)}")
        if not is_hash(recipe):
            raise StoreError(f"{self.url}/{kind}: recipe: found {shown(recipe)}, expected 16 hex digits")
        return str(path_below(PurePosixPath(kind), key, recipe))

    def find(self, kind: str, key: str, recipe: str) -> Manifest | None:
        """Return the manifest of the complete artifact of a recipe, or ``None``.

        Raises:
            StoreError: the manifest cannot be used or is that of another artifact, its place is none, or the
                store does not answer.
        """
        place = self.place(kind, key, recipe)
        data = self._read(f"{self._root}/{self._below(kind, key, recipe)}/{MANIFEST}")
        if data is None:
            return None
        remedy = f"remove {place} and push it again"
        return parse_manifest(data, f"{place}/{MANIFEST}", (kind, key, recipe), remedy)

    def list(self, kind: str, key: str) -> list[Manifest]:
        """Return the manifests of all complete artifacts of a kind and key, oldest first.

        What has no recipe's name is no artifact, and is passed over.

        Raises:
            StoreError: a manifest cannot be used, or the store does not answer.
        """
        place = path_below(PurePosixPath(kind), key)
        with self._explained():
            try:
                folders = self._fs.ls(f"{self._root}/{place}", detail=False)
            except FileNotFoundError:
                return []
        names = {folder.rstrip("/").rpartition("/")[2] for folder in folders}
        for name in sorted(name for name in names if not is_hash(name)):
            log.warning("%s/%s: passed over %s, which is no recipe", self.url, place, shown(name))
        found = (self.find(kind, key, recipe) for recipe in sorted(filter(is_hash, names)))
        return sorted((m for m in found if m is not None), key=lambda m: (m["created"], m["recipe"]))

    def send(self, folder: Path, manifest: Manifest, moved: Moved) -> None:
        """Copy a local artifact here; what an interrupted copy of the same artifact brought stays.

        Args:
            folder: the artifact's.
            manifest: its manifest.
            moved: called for each file.

        Raises:
            StoreError: a local file is damaged, or the store does not take it.
        """
        target, files = f"{self._root}/{self._below(*place_of(manifest))}", content_files(manifest)
        whole = self._begin(target, (folder / MANIFEST).read_bytes())

        def send_one(name: str) -> tuple[int, bool]:
            size, path = files[name]["bytes"], folder / name
            if whole.get(f"{target}/{name}") == size:
                return size, False
            if not path.is_file() or hash_file(path) != files[name]["sha256"]:
                raise StoreError(
                    f"{path}: missing, or its bytes are not those in the manifest; "
                    "'beyondmimic data verify --heal' takes out what is damaged, so that it is made again"
                )
            with self._explained():
                self._fs.put_file(str(path), f"{target}/{name}")
            return size, True

        _for_each(send_one, files, moved)
        with self._explained():
            self._fs.mv(f"{target}/{SENDING}", f"{target}/{MANIFEST}")

    def fetch(self, manifest: Manifest, folder: Path, moved: Moved) -> None:
        """Copy an artifact's files from here into a folder; files that are there stay.

        Args:
            manifest: the artifact's.
            folder: of a local store's ``adopt``: the files in it are whole.
            moved: called for each file.

        Raises:
            StoreError: a file is gone, larger than the manifest says or not what it says, the store does not
                answer, or the disk does not take it.
        """
        source, files = f"{self._root}/{self._below(*place_of(manifest))}", content_files(manifest)
        place = self.place(*place_of(manifest))
        remedy = f"remove {place} and push it again"

        def fetch_one(name: str) -> tuple[int, bool]:
            size, expected = files[name]["bytes"], files[name]["sha256"]
            path = path_below(folder, *name.split("/"))
            if path.exists():
                return size, False
            with _on_this_disk(path), atomic_path(path) as temporary:
                try:
                    whole = self._copy(f"{source}/{name}", temporary, size)
                except FileNotFoundError as error:
                    raise StoreError(f"{place}/{name}: missing; {remedy}") from error
                if not whole:
                    raise StoreError(
                        f"{place}/{name}: larger than the {size} bytes in the manifest; {remedy}"
                    )
                found = hash_file(temporary)
                if found != expected:
                    raise StoreError(
                        f"{place}/{name}: its bytes are not those in the manifest: SHA-256 "
                        f"{found[:16]}…, expected {expected[:16]}…; {remedy}"
                    )
            return size, True

        _for_each(fetch_one, files, moved)

    def _copy(self, source: str, target: Path, size: int) -> bool:
        """Copy a file to the disk as far as ``size`` bytes; returns whether that was all of it.

        Raises:
            FileNotFoundError: there is none.
        """
        with target.open("wb") as local, self._opened(source) as remote:
            while True:
                with self._explained():
                    data = remote.read(min(PIECE_BYTES, size - local.tell() + 1))
                if len(data) > size - local.tell():
                    return False
                if not data:
                    return True
                local.write(data)

    @contextlib.contextmanager
    def _opened(self, path: str) -> Iterator[Any]:
        """Open a file for reading in pieces; ``FileNotFoundError`` if there is none."""
        with self._explained(but=FileNotFoundError):
            file = self._fs.open(path, "rb", block_size=PIECE_BYTES)
        with file:
            yield file

    def _begin(self, target: str, manifest: bytes) -> dict[str, int]:
        """Return the files that an interrupted copy with the same manifest brought; what others left goes."""
        if self._read(f"{target}/{SENDING}") != manifest:
            with self._explained():
                with contextlib.suppress(FileNotFoundError):
                    self._fs.rm(target, recursive=True)
                self._fs.pipe_file(f"{target}/{SENDING}", manifest)
        with self._explained():
            found = self._fs.find(target, detail=True)
        return {name: info["size"] for name, info in found.items()}

    def _read(self, path: str) -> bytes | None:
        """Return a manifest's bytes, or ``None`` if there is none."""
        parts: list[bytes] = []
        left = MAX_BYTES
        try:
            with self._opened(path) as remote:
                while True:
                    with self._explained():
                        data = remote.read(min(PIECE_BYTES, left + 1))
                    if not data:
                        return b"".join(parts)
                    parts.append(data)
                    left -= len(data)
                    if left < 0:
                        name = path.removeprefix(self._root)
                        raise StoreError(
                            f"{self.url}{name}: larger than {MAX_BYTES} bytes; it is no manifest"
                        )
        except FileNotFoundError:
            return None

    @contextlib.contextmanager
    def _explained(self, but: type[Exception] | tuple[()] = ()) -> Iterator[None]:
        """Turn what a store's library raises, ``but`` one kind, into one line that says what to look at."""
        try:
            yield
        except but:
            raise
        except _failures() as error:
            raise StoreError(
                f"{self.url}: {type(error).__name__}: {_one_line(error)}; check the address, and for s3:// "
                "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, where it is not Amazon's, AWS_ENDPOINT_URL"
            ) from error


def refuse_credentials(url: str) -> None:
    """Check that an address holds no user, password or key, which logs and listings would repeat.

    Raises:
        StoreError: it does; the address is not in the message.
    """
    chained = re.findall(r"(\w+)://(.*?)(?=::\w+://|$)", url, re.DOTALL) or [("", url)]
    for protocol, rest in chained:
        host = re.split(r"[/?#]", rest)[0]
        login, port = host.rpartition("@")[0], host.rpartition(":")[2]
        named = bool(login) and (":" in login or protocol.lower() not in LOGIN_NAMES)
        split = ":" in host and not port.isdigit() and "@" in rest  # a secret key may hold a slash
        signed = "?" in rest and protocol.lower() in ("http", "https")
        if named or split or signed:
            raise StoreError(
                f"the address ({protocol}…): it holds credentials, and is not repeated here; take them out "
                "and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use fsspec's configuration"
            )


@contextlib.contextmanager
def _on_this_disk(path: Path) -> Iterator[None]:
    """Say which file this machine's disk does not take."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}; mend that and run again") from error


def _failures() -> tuple[type[Exception], ...]:
    """Return what a store's library raises: botocore's own errors are no ``OSError``, others' are."""
    botocore = sys.modules.get("botocore.exceptions")
    return (OSError,) if botocore is None else (OSError, botocore.BotoCoreError)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _for_each(move: Callable[[str], tuple[int, bool]], names: dict[str, Any], moved: Moved) -> None:
    """Move several files at once; the first error, or Ctrl-C, ends it when those under way have ended."""
    pool = concurrent.futures.ThreadPoolExecutor(STREAMS)
    try:
        for future in concurrent.futures.as_completed([pool.submit(move, name) for name in names]):
            moved(*future.result())
    finally:
        pool.shutdown(cancel_futures=True)
