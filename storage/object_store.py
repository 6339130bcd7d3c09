"""Artifacts on an object store, or wherever else fsspec reaches, laid out as in a local store.

``<url>/<kind>/<key>/<recipe>/`` holds an artifact. While it is sent its manifest has another name, so that an
artifact half sent does not exist for readers.
"""

import concurrent.futures
import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
from fsspec.utils import get_protocol

from beyondmimic_data.errors import MissingToolError, StoreError
from beyondmimic_data.files import atomic_path
from beyondmimic_data.hashing import hash_file
from storage.artifacts import MANIFEST, content_files, parse_manifest

SENDING = "manifest.json.partial"
"""The manifest's name while the files it lists are sent; the next push of the same artifact goes on."""
STREAMS = 8
"""Files under way at once: a store far away answers each of them late."""
Moved = Callable[[int, bool], None]
"""Receives the size of each file, and whether it had to be moved or was there already."""


class ObjectStore:
    """All artifacts below one URL."""

    def __init__(self, url: str) -> None:
        """Prepare access; credentials and endpoints are those of fsspec and of the environment.

        Raises:
            MissingToolError: the package that reads such URLs is not installed.
            StoreError: nothing reads such URLs, or it names no place.
        """
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
        """Return the URL of an artifact's folder."""
        return f"{self.url}/{kind}/{key}/{recipe}"

    def find(self, kind: str, key: str, recipe: str) -> dict[str, Any] | None:
        """Return the manifest of the complete artifact of a recipe, or ``None``.

        Raises:
            StoreError: the manifest cannot be used, or the store does not answer.
        """
        data = self._read(f"{self._root}/{kind}/{key}/{recipe}/{MANIFEST}")
        if data is None:
            return None
        place = self.place(kind, key, recipe)
        remedy = f"remove {place} and push it again"
        manifest = parse_manifest(data, f"{place}/{MANIFEST}", remedy)
        found = tuple(manifest.get(name) for name in ("kind", "key", "recipe"))
        if found != (kind, key, recipe):
            raise StoreError(f"{place}/{MANIFEST}: is that of {found}, which does not belong there; {remedy}")
        return manifest

    def list(self, kind: str, key: str) -> list[dict[str, Any]]:
        """Return the manifests of all complete artifacts of a kind and key, oldest first.

        Raises:
            StoreError: a manifest cannot be used, or the store does not answer.
        """
        with self._explained():
            try:
                folders = self._fs.ls(f"{self._root}/{kind}/{key}", detail=False)
            except FileNotFoundError:
                return []
        recipes = sorted({folder.rstrip("/").rpartition("/")[2] for folder in folders})
        found = (self.find(kind, key, recipe) for recipe in recipes)
        return sorted((m for m in found if m is not None), key=lambda m: (m["created"], m["recipe"]))

    def send(self, folder: Path, manifest: dict[str, Any], moved: Moved) -> None:
        """Copy a local artifact here; what an interrupted copy of the same artifact brought stays.

        Args:
            folder: the artifact's.
            manifest: its manifest.
            moved: called for each file.

        Raises:
            StoreError: a local file is damaged, or the store does not take it.
        """
        line = [manifest[name] for name in ("kind", "key", "recipe")]
        target, files = "/".join([self._root, *line]), content_files(manifest)
        whole = self._begin(target, (folder / MANIFEST).read_bytes())

        def send_one(name: str) -> tuple[int, bool]:
            size, path = files[name]["bytes"], folder / name
            if whole.get(f"{target}/{name}") == size:
                return size, False
            if not path.is_file() or hash_file(path) != files[name]["sha256"]:
                raise StoreError(
                    f"{path}: missing, or its bytes are not those in the manifest; "
                    "'beyondmimic data verify --heal' removes what is damaged, so that it is made again"
                )
            with self._explained():
                self._fs.put_file(str(path), f"{target}/{name}")
            return size, True

        _for_each(send_one, files, moved)
        with self._explained():
            self._fs.mv(f"{target}/{SENDING}", f"{target}/{MANIFEST}")

    def fetch(self, manifest: dict[str, Any], folder: Path, moved: Moved) -> None:
        """Copy an artifact's files from here into a folder; files that are there whole stay.

        Args:
            manifest: the artifact's.
            folder: the partial folder of a local store.
            moved: called for each file.

        Raises:
            StoreError: a file is gone or not what the manifest says, or the store does not answer.
        """
        line = [manifest[name] for name in ("kind", "key", "recipe")]
        source, files = "/".join([self._root, *line]), content_files(manifest)
        remedy = f"remove {self.place(*line)} and push it again"

        def fetch_one(name: str) -> tuple[int, bool]:
            size, expected, path = files[name]["bytes"], files[name]["sha256"], folder / name
            if path.is_file() and path.stat().st_size == size and hash_file(path) == expected:
                return size, False
            with atomic_path(path) as temporary:
                with self._explained():
                    try:
                        self._fs.get_file(f"{source}/{name}", str(temporary))
                    except FileNotFoundError as error:
                        raise StoreError(f"{self.place(*line)}/{name}: missing; {remedy}") from error
                found = hash_file(temporary)
                if found != expected:
                    raise StoreError(
                        f"{self.place(*line)}/{name}: its bytes are not those in the manifest: SHA-256 "
                        f"{found[:16]}…, expected {expected[:16]}…; {remedy}"
                    )
            return size, True

        _for_each(fetch_one, files, moved)

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
        with self._explained():
            try:
                return self._fs.cat_file(path)
            except FileNotFoundError:
                return None

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what a store's library raises into one line that says what to look at."""
        try:
            yield
        except _failures() as error:
            raise StoreError(
                f"{self.url}: {type(error).__name__}: {_one_line(error)}; check the address, and for s3:// "
                "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, where it is not Amazon's, AWS_ENDPOINT_URL"
            ) from error


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
