"""Artifacts: immutable folders found by the recipe that made them and versioned by the bytes they hold.

``<root>/<kind>/<key>/<recipe>/`` holds an artifact; its ``manifest.json`` is written last, and a folder
without one does not exist for readers. While it is built it is ``<recipe>.partial``, kept over a crash so
that resumable work goes on, and locked by one builder.
"""

import builtins
import contextlib
import dataclasses
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from beyondmimic_data.errors import StoreError
from beyondmimic_data.files import sweep, sync, write_json
from beyondmimic_data.hashing import hash_file, hash_value

MANIFEST = "manifest.json"
SCHEMA_VERSION = 1
# Kept out of an artifact's version: logs and checkpoints may differ where the result does not.
SCRATCH = "scratch"
PARTIAL = ".partial"


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
        """Return where an artifact of this recipe is, or will be."""
        return self.root / kind / key / recipe

    def partial(self, kind: str, key: str, recipe: str) -> Path:
        """Return where an artifact of this recipe is while it is built."""
        return self.root / kind / key / (recipe + PARTIAL)

    def find(self, kind: str, key: str, recipe: str) -> Artifact | None:
        """Return the complete artifact of a recipe, or ``None``.

        Raises:
            StoreError: its manifest cannot be used.
        """
        return self._read(kind, key, self.folder(kind, key, recipe))

    def list(self, kind: str, key: str) -> builtins.list[Artifact]:
        """Return all complete artifacts of a kind and key, oldest first."""
        parent = self.root / kind / key
        if not parent.is_dir():
            return []
        found = (self._read(kind, key, p) for p in parent.iterdir() if p.is_dir() and p.suffix != PARTIAL)
        return sorted((a for a in found if a is not None), key=lambda a: (a.created, a.recipe))

    def latest(self, kind: str, key: str) -> Artifact | None:
        """Return the newest complete artifact of a kind and key, or ``None``."""
        artifacts = self.list(kind, key)
        return artifacts[-1] if artifacts else None

    def kinds(self) -> builtins.list[str]:
        """Return the kinds that have a folder, sorted."""
        return sorted(p.name for p in self.root.iterdir() if p.is_dir()) if self.root.is_dir() else []

    def keys(self, kind: str) -> builtins.list[str]:
        """Return the keys that have a complete artifact of a kind, sorted."""
        parent = self.root / kind
        if not parent.is_dir():
            return []
        return sorted(
            p.name for p in parent.iterdir() if p.is_dir() and self.latest(kind, p.name) is not None
        )

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
    def adopt(self, manifest: dict[str, Any]) -> Iterator[Path]:
        """Take over an artifact of another store, manifest and all: yields its partial folder to be filled.

        The block puts the manifest's ``content_files`` there and answers for their bytes; whatever else an
        interrupted build or adoption left there is removed at the end. The artifact keeps its time, so an
        old one does not become the latest. On an error the folder stays and stays invisible.

        Raises:
            StoreError: another process is building the same artifact, it is complete already, or the
                manifest contradicts itself.
        """
        files = content_files(manifest)
        with self._begun(*(manifest[name] for name in ("kind", "key", "recipe"))) as partial:
            yield partial
            for path in [p for p in partial.rglob("*") if p.is_file()]:
                if path.relative_to(partial).as_posix() not in files:
                    path.unlink()
            self._complete(manifest)

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

    def _complete(self, manifest: dict[str, Any]) -> None:
        """Write the manifest of a partial folder whose files are all there, and rename it."""
        line = [manifest[name] for name in ("kind", "key", "recipe")]
        final, partial = self.folder(*line), self.partial(*line)
        _sync_tree(partial)
        write_json(partial / MANIFEST, manifest)
        if final.exists():  # left by a crash between two file-system operations: no manifest, so no artifact
            shutil.rmtree(final)
        partial.rename(final)
        sync(final.parent)

    def _manifest(self, kind: str, key: str, recipe: str, build: Build) -> dict[str, Any]:
        sweep(build.path)
        files = {}
        for path in sorted(p for p in build.path.rglob("*") if p.is_file()):
            name = path.relative_to(build.path).as_posix()
            sha256 = build.digests.get(name) or hash_file(path)
            files[name] = {"bytes": path.stat().st_size, "sha256": sha256}
        # A clock that steps back must not make an older artifact the latest one.
        newest = max((a.created for a in self.list(kind, key)), default=0.0)
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": kind,
            "key": key,
            "recipe": recipe,
            "version": _version_of(files),
            "created": max(time.time(), newest + 1e-3),
            "meta": build.meta,
            "files": files,
        }

    @staticmethod
    def _read(kind: str, key: str, path: Path) -> Artifact | None:
        try:
            manifest = read_manifest(path)
        except FileNotFoundError:
            return None
        return Artifact(
            kind, key, manifest["recipe"], manifest["version"], path, manifest["meta"], manifest["created"]
        )


def read_manifest(path: Path) -> dict[str, Any]:
    """Read the manifest of an artifact's folder.

    Raises:
        FileNotFoundError: there is none: the folder holds no complete artifact.
        StoreError: it is damaged, or of another schema version.
    """
    return parse_manifest((path / MANIFEST).read_bytes(), path / MANIFEST, "remove that folder to rebuild it")


def parse_manifest(data: bytes, source: object, remedy: str) -> dict[str, Any]:
    """Parse a manifest.

    Args:
        data: what the file holds.
        source: file to name in an error.
        remedy: what to do about a manifest that cannot be used.

    Raises:
        StoreError: it is damaged, or of another schema version.
    """
    try:
        manifest = json.loads(data)
    except ValueError as error:
        raise StoreError(f"{source} is not valid JSON ({error}); {remedy}") from error
    if not isinstance(manifest, dict) or manifest.get("schema_version") != SCHEMA_VERSION:
        found = manifest.get("schema_version") if isinstance(manifest, dict) else type(manifest).__name__
        raise StoreError(f"{source}: schema_version: found {found!r}, expected {SCHEMA_VERSION}; {remedy}")
    missing = {"recipe", "version", "created", "meta", "files"} - manifest.keys()
    if missing:
        raise StoreError(f"{source}: {', '.join(sorted(missing))} missing; {remedy}")
    return manifest


def content_files(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the files that a version stands for, with their size and SHA-256: all but those in scratch.

    Raises:
        StoreError: the version is not that of the files, or a file would lie outside of the folder.
    """
    line = "/".join(str(manifest.get(name)) for name in ("kind", "key", "recipe"))
    files = {name: f for name, f in manifest["files"].items() if name.split("/")[0] != SCRATCH}
    remedy = "make that artifact again where it is from"
    for name in files:
        if name == MANIFEST or not all(map(_is_name, name.split("/"))):
            raise StoreError(f"the manifest of {line} is damaged: {name!r} is no file below it; {remedy}")
    if _version_of(files) != manifest["version"]:
        raise StoreError(f"the manifest of {line} is damaged: its version is not that of its files; {remedy}")
    return files


def parent_lines(meta: dict[str, Any], source: object) -> list[dict[str, str]]:
    """Return the lines of ``describe`` that name what an artifact was made from.

    Raises:
        StoreError: ``meta`` does not say; ``source`` is named.
    """
    lines: Any = meta.get("parents")
    try:
        if all(_is_name(line[name]) for line in lines for name in ("kind", "key", "recipe")):
            return list(lines)
    except (KeyError, TypeError):
        pass
    raise StoreError(f"{source}: meta.parents: found {lines!r}, expected a list of kind, key and recipe")


def _is_name(part: str) -> bool:
    """Say whether a part of a path stays in its folder; manifests of other stores could name any path."""
    return part not in ("", ".", "..") and "/" not in part


def _version_of(files: dict[str, dict[str, Any]]) -> str:
    return hash_value({name: f["sha256"] for name, f in files.items() if name.split("/")[0] != SCRATCH})


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
    return {name: getattr(artifact, name) for name in ("kind", "key", "recipe", "version")}
