"""Finding and removing artifacts that nothing kept refers to."""

import dataclasses
import logging
import shutil
from collections.abc import Iterable
from pathlib import Path

from beyondmimic_data.errors import StoreError
from storage.artifacts import PARTIAL, Artifact, ArtifactStore
from storage.manifests import MANIFEST, parent_lines

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Garbage:
    """What can go."""

    artifacts: tuple[Artifact, ...]
    """Complete artifacts that no kept one refers to."""
    partials: tuple[Path, ...]
    """Folders of builds that were interrupted; a build of the same recipe would go on with them."""
    bytes: int
    """Size of all of it."""


def newest(store: ArtifactStore) -> list[Artifact]:
    """Return the newest artifact of every kind and key: what is kept where nothing else is said."""
    found = (store.latest(kind, key) for kind in store.kinds() for key in store.keys(kind))
    return [artifact for artifact in found if artifact is not None]


def find_garbage(store: ArtifactStore, keep: Iterable[Artifact], *, partials: bool = False) -> Garbage:
    """List what no kept artifact refers to, neither itself nor through others.

    Args:
        store: artifacts.
        keep: what is kept, with its parents (``meta["parents"]``, lines of ``describe``) and theirs.
        partials: count interrupted builds too.

    Raises:
        StoreError: a kept artifact does not say what its parents are, or a manifest cannot be used.
    """
    needed: set[Path] = set()
    waiting = list(keep)
    while waiting:
        artifact = waiting.pop()
        if artifact.path in needed:
            continue
        needed.add(artifact.path)
        waiting += _parents(store, artifact)
    lost = [
        artifact
        for kind in store.kinds()
        for key in store.keys(kind)
        for artifact in store.list(kind, key)
        if artifact.path not in needed
    ]
    unfinished = [
        path
        for kind in (store.kinds() if partials else [])
        for path in sorted((store.root / kind).glob(f"*/*{PARTIAL}"))
        if path.is_dir()
    ]
    size = sum(_size(path) for path in [*(artifact.path for artifact in lost), *unfinished])
    return Garbage(tuple(lost), tuple(unfinished), size)


def remove_garbage(store: ArtifactStore, garbage: Garbage) -> list[Path]:
    """Remove what ``find_garbage`` listed; what a process is building is left alone.

    Returns:
        Folders removed.
    """
    removed = []
    folders = [*(artifact.path for artifact in garbage.artifacts), *garbage.partials]
    for folder in folders:
        kind, key, name = folder.relative_to(store.root).parts
        try:
            with store.lock(kind, key, name.removesuffix(PARTIAL)):
                (folder / MANIFEST).unlink(missing_ok=True)  # no reader finds half of it
                shutil.rmtree(folder)
        except StoreError as error:
            log.warning("%s is left: %s", folder, error)
            continue
        log.info("removed %s", folder)
        removed.append(folder)
    return removed


def _parents(store: ArtifactStore, artifact: Artifact) -> list[Artifact]:
    try:
        lines = parent_lines(artifact.meta, artifact.path / MANIFEST)
    except StoreError as error:
        raise StoreError(f"{error}; while its needs are unknown nothing can be removed") from error
    found = (store.find(line["kind"], line["key"], line["recipe"]) for line in lines)
    return [parent for parent in found if parent is not None]


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
