"""Artifacts: immutable folders found by the recipe that made them and versioned by the bytes they hold.

``<root>/<kind>/<key>/<recipe>/`` holds an artifact; its ``manifest.json`` is written last, and a folder
without one does not exist for readers. While it is built it is ``<recipe>.partial``, kept over a crash so
that resumable work goes on, and locked by one builder.
"""

import builtins
import contextlib
import dataclasses
import fcntl
import itertools
import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from beyondmimic_data.errors import StoreError, shown
from beyondmimic_data.files import path_below, sweep, sync, write_json
from beyondmimic_data.hashing import hash_file
from storage.manifests import (
    KINDS,
    LINE,
    MANIFEST,
    Manifest,
    content_files,
    make_manifest,
    place_of,
    read_manifest,
)

log = logging.getLogger(__name__)

PARTIAL = ".partial"
FAILED = ".failed.json"
SET_ASIDE = "set_aside"
"""Folder below the root for what stood in an artifact's place and is not what belongs there."""


@dataclasses.dataclass(frozen=True)
class Artifact:
    """One complete artifact."""

    kind: str
    """What it is: ``motions``, ``policies``, ``rollouts``, ``datasets``, ``diffusion``, …"""
    key: str
    """Skill, or ``all`` for what all skills share."""
    recipe: str
    """Hash of everything that decided its content."""
    version: str
    """Hash of the bytes it holds."""
    path: Path
    """Its folder."""
    meta: dict[str, Any]
    """What its builder recorded: parents, configuration, figures."""
    created: float
    """Seconds since the epoch; later than that of every artifact of its kind and key before it."""

    @property
    def root(self) -> Path:
        """Root of the store that holds it."""
        return self.path.parents[2]


class Build:
    """An artifact under construction: write into ``path``, record into ``meta``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.meta: dict[str, Any] = {}
        self.digests: dict[str, str] = {}
        """SHA-256 of files whose writer knows it, by path relative to ``path``: they are not read again."""


class ArtifactStore:
    """All artifacts under one local root."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).absolute()

    def folder(self, kind: str, key: str, recipe: str) -> Path:
        """Return where an artifact of this recipe is, or will be.

        Raises:
            StoreError: there is no such kind, or key or recipe are no names.
        """
        return path_below(self._kind_folder(kind), key, recipe)

    def partial(self, kind: str, key: str, recipe: str) -> Path:
        """Return where an artifact of this recipe is while it is built; raises as ``folder``."""
        return self._beside(kind, key, recipe, PARTIAL)

    def note(self, kind: str, key: str, recipe: str) -> Path:
        """Return where it is said why this recipe could not be built; raises as ``folder``."""
        return self._beside(kind, key, recipe, FAILED)

    def _beside(self, kind: str, key: str, recipe: str, suffix: str) -> Path:
        folder = self.folder(kind, key, recipe)
        return folder.with_name(folder.name + suffix)

    def _kind_folder(self, kind: str) -> Path:
        if kind not in KINDS:
            raise StoreError(f"{self.root}: kind: found {shown(kind)}, expected one of {', '.join(KINDS)}")
        return self.root / kind

    def find(self, kind: str, key: str, recipe: str) -> Artifact | None:
        """Return the complete artifact of a recipe, or ``None``.

        Raises:
            StoreError: its manifest cannot be used.
        """
        return self._read(kind, key, self.folder(kind, key, recipe))

    def list(self, kind: str, key: str) -> builtins.list[Artifact]:
        """Return all complete artifacts of a kind and key, oldest first.

        Raises:
            StoreError: a manifest cannot be used.
        """
        found = (self._read(kind, key, path) for path in self.folders(kind, key))
        return sorted((a for a in found if a is not None), key=lambda a: (a.created, a.recipe))

    def folders(self, kind: str, key: str) -> builtins.list[Path]:
        """Return the folders with a manifest of a kind and key, whatever it says, by their recipes."""
        parent = path_below(self._kind_folder(kind), key)
        if not parent.is_dir():
            return []
        return sorted(p for p in parent.iterdir() if p.suffix != PARTIAL and (p / MANIFEST).is_file())

    def latest(self, kind: str, key: str) -> Artifact | None:
        """Return the newest complete artifact of a kind and key, or ``None``."""
        artifacts = self.list(kind, key)
        return artifacts[-1] if artifacts else None

    def kinds(self) -> builtins.list[str]:
        """Return the kinds that have a folder, sorted."""
        return sorted(kind for kind in KINDS if (self.root / kind).is_dir())

    def keys(self, kind: str) -> builtins.list[str]:
        """Return the keys that have an artifact of a kind, whatever its manifest says, sorted."""
        parent = self._kind_folder(kind)
        if not parent.is_dir():
            return []
        return sorted(p.name for p in parent.iterdir() if p.is_dir() and self.folders(kind, p.name))

    @contextlib.contextmanager
    def lock(self, kind: str, key: str, recipe: str) -> Iterator[None]:
        """Be the one process that builds or removes an artifact of a recipe.

        Raises:
            StoreError: another process is.
        """
        final = self.folder(kind, key, recipe)
        final.parent.mkdir(parents=True, exist_ok=True)
        with _exclusive(final.with_name(f".{final.name}.lock"), f"{kind}/{key}/{recipe}"):
            yield

    @contextlib.contextmanager
    def build(self, kind: str, key: str, recipe: str) -> Iterator[Build]:
        """Build an artifact: yields its partial folder, and completes it when the block succeeds.

        The partial folder of an earlier, interrupted build of the same recipe is handed out again, so that
        resumable work goes on where it stopped. On an error the folder stays and stays invisible.

        Raises:
            StoreError: another process is building the same artifact, or it is complete already.
        """
        with self._begun(kind, key, recipe) as partial:
            build = Build(partial)
            yield build
            self._complete(self._manifest(kind, key, recipe, build))

    @contextlib.contextmanager
    def adopt(self, manifest: Manifest) -> Iterator[Path]:
        """Take over an artifact of another store, manifest and all: yields its partial folder to be filled.

        Of what an interrupted build or adoption left there only whole files of the manifest are handed out;
        all else is set aside. The block puts the other ``content_files`` there and answers for their bytes.
        The artifact keeps its time, so an old one does not become the latest. On an error the folder stays
        and stays invisible.

        Raises:
            StoreError: another process is building the same artifact, it is complete already, or the
                manifest contradicts itself.
        """
        files = content_files(manifest)
        with self._begun(*place_of(manifest)) as partial:
            sweep(partial)
            strange = [
                path
                for path in sorted(partial.rglob("*"))
                if not path.is_dir() and not _is_whole(path, files.get(path.relative_to(partial).as_posix()))
            ]
            if strange:
                self.set_aside(partial, strange)
            yield partial
            for name, entry in files.items():
                path = partial / name
                if not path.is_file() or path.stat().st_size != entry["bytes"]:
                    raise StoreError(f"{path}: missing, or not {entry['bytes']} bytes long; copy it again")
            self._complete(manifest)

    def set_aside(self, folder: Path, files: Iterable[Path] | None = None) -> Path:
        """Move an artifact's folder, or files of it, out of the way, for a person to look at.

        The caller holds the artifact's lock.

        Args:
            folder: the artifact's, complete or partial.
            files: files below it, which keep their places in the new folder; the whole folder by default.

        Returns:
            Where to: ``<root>/set_aside/<kind>/<key>/<name of the folder>.<number>``.
        """
        parent = self.root / SET_ASIDE / folder.parent.relative_to(self.root)
        names = (parent / f"{folder.name}.{number}" for number in itertools.count(1))
        target = next(path for path in names if not path.exists())
        target.parent.mkdir(parents=True, exist_ok=True)
        moves = [(folder, target)] if files is None else [(f, target / f.relative_to(folder)) for f in files]
        for source, destination in moves:
            destination.parent.mkdir(parents=True, exist_ok=True)
            source.rename(destination)
            log.warning("%s: set aside as %s", source, destination)
        return target

    @contextlib.contextmanager
    def _begun(self, kind: str, key: str, recipe: str) -> Iterator[Path]:
        """Lock a recipe that is not complete, and yield its partial folder without a manifest."""
        final, partial = self.folder(kind, key, recipe), self.partial(kind, key, recipe)
        with self.lock(kind, key, recipe):
            if (final / MANIFEST).exists():
                raise StoreError(f"{final} is complete already; find() it instead of building it again")
            partial.mkdir(exist_ok=True)
            (partial / MANIFEST).unlink(missing_ok=True)
            yield partial

    def _complete(self, manifest: Manifest) -> None:
        """Write the manifest of a partial folder whose files are all there, and rename it."""
        final, partial = self.folder(*place_of(manifest)), self.partial(*place_of(manifest))
        _sync_tree(partial)
        write_json(partial / MANIFEST, manifest)
        if final.exists():  # left by a crash between two file-system operations: no manifest, so no artifact
            self.set_aside(final)
        partial.rename(final)
        sync(final.parent)

    def _manifest(self, kind: str, key: str, recipe: str, build: Build) -> Manifest:
        sweep(build.path)
        files = {}
        for path in sorted(p for p in build.path.rglob("*") if p.is_file()):
            name = path.relative_to(build.path).as_posix()
            sha256 = build.digests.get(name) or hash_file(path)
            files[name] = {"bytes": path.stat().st_size, "sha256": sha256}
        # A clock that steps back must not make an older artifact the latest one.
        newest = max((a.created for a in self.list(kind, key)), default=0.0)
        return make_manifest((kind, key, recipe), max(time.time(), newest + 1e-3), build.meta, files)

    @staticmethod
    def _read(kind: str, key: str, path: Path) -> Artifact | None:
        try:
            manifest = read_manifest(path)
        except FileNotFoundError:
            return None
        return Artifact(
            kind, key, manifest["recipe"], manifest["version"], path, manifest["meta"], manifest["created"]
        )


def _is_whole(path: Path, entry: dict[str, Any] | None) -> bool:
    """Say whether a file has the size and the bytes of a manifest's entry."""
    if entry is None or not path.is_file() or path.is_symlink():
        return False
    return path.stat().st_size == entry["bytes"] and hash_file(path) == entry["sha256"]


def require_free_space(path: Path, needed_bytes: int) -> None:
    """Check that the disk of ``path`` has room before work starts.

    Raises:
        StoreError: less is free than needed.
    """
    probe = path
    while not probe.exists():
        probe = probe.parent
    free = shutil.disk_usage(probe).free
    if free < needed_bytes:
        raise StoreError(
            f"{path}: {needed_bytes / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free; "
            "free some space or ask for less"
        )


def _sync_tree(folder: Path) -> None:
    """Bring every file and folder below to the disk, so that a manifest never survives what it lists."""
    for path in folder.rglob("*"):
        if path.is_file() or path.is_dir():
            sync(path)
    sync(folder)


@contextlib.contextmanager
def _exclusive(lock: Path, what: str) -> Iterator[None]:
    """Hold a file lock that ends with the process, however that ends; the file goes when the work is done."""
    while True:
        handle = os.open(lock, os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            raise StoreError(f"{what} is being built by another process; wait for it or stop it") from error
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(lock)):
                break
        os.close(handle)  # the holder before removed the file between our opening and our locking it
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(handle)


def describe(artifact: Artifact) -> dict[str, str]:
    """Return the lineage line of an artifact; ``meta["parents"]`` of its children is a list of these."""
    return {name: getattr(artifact, name) for name in LINE}
