"""Dataset versions between a local store and an object store, with all that they were made from."""

import dataclasses
import time
from collections.abc import Callable, Collection
from typing import Any

from beyondmimic_data.errors import StoreError, shown
from storage.artifact_names import meant
from storage.artifacts import Artifact, ArtifactStore, require_free_space
from storage.manifests import (
    LINE,
    LINEAGE,
    MANIFEST,
    Manifest,
    content_files,
    is_hash,
    parent_lines,
    place_of,
    read_manifest,
)
from storage.object_store import ObjectStore

PROGRESS_SECONDS = 5.0
"""Between two lines of progress."""
MAX_ANCESTORS = 10_000
"""Most that a dataset version is made of; a store that names ever more is none of this project."""
Find = Callable[[str, str, str], Manifest | None]
"""Returns the manifest of a kind, key and recipe, or ``None``."""


def push_dataset(
    dataset: Artifact, url: str, *, skills: Collection[str] = (), progress: Callable[[str], None]
) -> dict[str, Any]:
    """Copy a dataset version, its rollouts and their ancestors to a URL; goes on where it was interrupted.

    Args:
        dataset: what is copied.
        url: any that fsspec reads.
        skills: the rollouts of these only, all by default.
        progress: receives lines about how far it is.

    Returns:
        What was copied, as plain JSON.

    Raises:
        MissingToolError: the package that reads such URLs is not installed.
        StoreError: rollouts are gone or damaged, there is no such skill, the URL holds another version of a
            recipe, or it cannot be written.
    """
    store, remote = ArtifactStore(dataset.root), ObjectStore(url)
    lineage = _lineage(_finder(store), read_manifest(dataset.path), str(store.root), skills)
    waiting = [m for m in lineage.manifests if not _is_there(m, remote.find, remote.url)]
    meter = _Meter(waiting, progress)
    copied = []
    for manifest in waiting:
        if not _is_there(manifest, remote.find, remote.url):  # another push may have completed it meanwhile
            remote.send(store.folder(*place_of(manifest)), manifest, meter.add)
            copied.append(manifest)
    return _document(remote.url, lineage, copied, meter)


def pull_dataset(
    store: ArtifactStore,
    url: str,
    key: str,
    name: str,
    *,
    skills: Collection[str] = (),
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Copy a dataset version, its rollouts and their ancestors from a URL; goes on where it was interrupted.

    An artifact is complete when the SHA-256 of each of its files is that of the manifest.

    Args:
        store: where to.
        url: any that fsspec reads.
        key: of the dataset.
        name: ``latest``, ``previous``, or a recipe or version there, or the beginning of one.
        skills: the rollouts of these only, all by default.
        progress: receives lines about how far it is.

    Returns:
        What was copied, as plain JSON.

    Raises:
        MissingToolError: the package that reads such URLs is not installed.
        StoreError: nothing there has that name, there is no such skill, rollouts or files are missing or
            damaged there, a manifest there is not one that this project makes, the store holds another
            version of a recipe, or it has not enough room.
    """
    remote = ObjectStore(url)
    datasets = remote.list("datasets", key)
    if not datasets:
        raise StoreError(f"{remote.url}/datasets/{key}: holds nothing; push a dataset there first")
    dataset = datasets[meant(datasets, "datasets", name)]
    lineage = _lineage(remote.find, dataset, remote.url, skills)
    waiting = [m for m in lineage.manifests if not _is_there(m, _finder(store), str(store.root))]
    meter = _Meter(waiting, progress)
    require_free_space(store.root, meter.waiting)
    for manifest in waiting:
        with store.adopt(manifest) as folder:
            remote.fetch(manifest, folder, meter.add)
    return _document(remote.url, lineage, waiting, meter)


@dataclasses.dataclass(frozen=True)
class _Lineage:
    """A dataset and what it was made from."""

    manifests: tuple[Manifest, ...]
    """Parents before children, so that what is there never refers to what is not: the dataset is last."""
    absent: tuple[dict[str, str], ...]
    """Lines of ancestors of the rollouts that were removed; nothing reads them, so the rest is copied."""


def _lineage(find: Find, dataset: Manifest, where: str, skills: Collection[str]) -> _Lineage:
    """Look up a dataset's rollouts, those of some skills only, and all that they were made from."""
    rollouts = _parents(dataset, where)
    known = [line["key"] for line in rollouts]
    for skill in skills:
        if skill not in known:
            raise StoreError(f"{where}: skill: found {skill!r}, expected one of {', '.join(known)}")
    found: dict[tuple[str, ...], Manifest] = {}
    absent: dict[tuple[str, ...], dict[str, str]] = {}
    seen: set[tuple[str, ...]] = set()
    wanted = [line for line in rollouts if not skills or line["key"] in skills]
    waiting: list[tuple[dict[str, str], Manifest | None]] = [(line, None) for line in reversed(wanted)]
    while waiting:
        line, manifest = waiting.pop()
        place = place_of(line)
        if manifest is not None:  # its parents were looked up in the meantime
            found[place] = manifest
            continue
        if place in seen:
            continue
        seen.add(place)
        if len(seen) > MAX_ANCESTORS:
            raise StoreError(f"{where}: a dataset of more than {MAX_ANCESTORS} artifacts; it is damaged")
        manifest = find(*place)
        if manifest is None or manifest["version"] != line["version"]:
            absent[place] = line
            continue
        waiting.append((line, manifest))
        waiting += [(parent, None) for parent in reversed(_parents(manifest, where))]
    for line in wanted:
        if place_of(line) in absent:
            raise StoreError(
                f"{where}/{'/'.join(place_of(line))}: missing, or not of version {line['version']}; "
                "copy a dataset whose rollouts are all there, or the others with --skills"
            )
    return _Lineage((*found.values(), dataset), tuple(absent.values()))


def _parents(manifest: Manifest, where: str) -> list[dict[str, str]]:
    """Return the lines of what an artifact of a dataset's lineage was made from.

    Raises:
        StoreError: one is of a kind that it is not made from, or its recipe or version is none.
    """
    source = f"{where}/{'/'.join(place_of(manifest))}/{MANIFEST}"
    lines, kinds = parent_lines(manifest["meta"], source), LINEAGE[manifest["kind"]]
    for line in lines:
        if line["kind"] not in kinds:
            expected = f"one of {', '.join(kinds)}" if kinds else "none"
            raise StoreError(
                f"{source}: meta.parents: kind: found {shown(line['kind'])}, expected {expected}"
            )
        for name in ("recipe", "version"):
            if not is_hash(line.get(name)):
                raise StoreError(
                    f"{source}: meta.parents: {name}: found {shown(line.get(name))}, expected 16 hex digits"
                )
    return lines


def _finder(store: ArtifactStore) -> Find:
    def find(*place: str) -> Manifest | None:
        try:
            return read_manifest(store.folder(*place))
        except FileNotFoundError:
            return None

    return find


def _is_there(manifest: Manifest, find: Find, where: str) -> bool:
    """Say whether an artifact is complete at its destination.

    Raises:
        StoreError: its recipe is, with other bytes.
    """
    place = place_of(manifest)
    there = find(*place)
    if there is not None and there["version"] != manifest["version"]:
        raise StoreError(
            f"{where}/{'/'.join(place)}: version: found {there['version']}, expected {manifest['version']}; "
            "nothing is overwritten: remove that folder if nothing needs it, or copy to another place"
        )
    return there is not None


class _Meter:
    """A line every few seconds: bytes that are there, how fast, and how long the rest takes."""

    def __init__(self, manifests: Collection[Manifest], line: Callable[[str], None]) -> None:
        self.total = sum(_bytes(manifest) for manifest in manifests)
        self.waiting, self.moved = self.total, 0
        self._line = line
        self._began = self._last = time.monotonic()

    def add(self, size: int, moved: bool) -> None:
        """Count a file, which was there already if it did not have to be moved."""
        self.waiting -= size
        self.moved += size if moved else 0
        now = time.monotonic()
        if self.moved and now - self._last >= PROGRESS_SECONDS:
            self._last, rate = now, self.moved / (now - self._began)
            self._line(
                f"{(self.total - self.waiting) / 1e6:.1f} of {self.total / 1e6:.1f} MB, "
                f"{rate / 1e6:.1f} MB/s, {self.waiting / rate:.0f} s left"
            )


def _document(url: str, lineage: _Lineage, copied: list[Manifest], meter: _Meter) -> dict[str, Any]:
    artifacts = [
        {name: manifest[name] for name in LINE} | {"bytes": _bytes(manifest), "copied": manifest in copied}
        for manifest in lineage.manifests
    ]
    return {
        "url": url,
        "dataset": {name: lineage.manifests[-1][name] for name in LINE},
        "artifacts": artifacts,
        "copied": len(copied),
        "skipped": len(artifacts) - len(copied),
        "bytes": meter.moved,
        "absent": list(lineage.absent),
    }


def _bytes(manifest: Manifest) -> int:
    return sum(entry["bytes"] for entry in content_files(manifest).values())
