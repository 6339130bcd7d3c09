"""Checking stored bytes against what their writers recorded, and making what is damaged be written again."""

import dataclasses
import functools
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from beyondmimic_data.errors import StoreError
from beyondmimic_data.hashing import hash_file
from storage import layout
from storage.artifacts import Artifact, ArtifactStore
from storage.episode_index import episode_table, read_episodes
from storage.manifests import MANIFEST, SCRATCH, content_files, damage_of, is_misplaced, read_manifest
from storage.step_array import read_array_info
from storage.units import UnitMarker

log = logging.getLogger(__name__)

CHANGED_BYTES = 2**30
"""Most that opening an artifact reads of chunks that were written after its manifest."""
_CHUNK = re.compile(rf"{re.escape(layout.GROUP)}/{layout.ARRAY}/c/(\d+)/0")


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing that is not as it was written."""

    file: str
    """Path below the folder."""
    what: str
    """What is wrong with it."""
    unit: int | None = None
    """Unit that has to be collected again, if it is one."""
    stray: bool = False
    """The file belongs to nothing and can go; all else is whole without it."""
    foreign: bool = False
    """The whole folder is not what belongs in its place."""

    @property
    def remedy(self) -> str:
        """What ``heal`` does about it."""
        if self.foreign:
            return "set the whole folder aside"
        if self.stray:
            return "set it aside"
        return "write it again" if self.unit is None else f"collect unit {self.unit} again"

    def __str__(self) -> str:
        return f"{self.file}: {self.what}; to heal: {self.remedy}"


def opened(artifact: Artifact) -> Path:
    """Return an artifact's folder, once its files are found to be those that were recorded.

    For policies and clips, which are small: they are compared each time.

    Raises:
        StoreError: a file is missing or changed, or another artifact has taken the folder.
    """
    check_opened(artifact.path, again=True)
    try:
        version = read_manifest(artifact.path)["version"]
    except FileNotFoundError as error:
        raise _changed(artifact.path / MANIFEST, "missing") from error
    if version != artifact.version:
        raise StoreError(
            f"{artifact.path / MANIFEST}: version: found {version}, expected {artifact.version}; the "
            "artifact was replaced while it was in use, run the command again"
        )
    return artifact.path


def check_opened(folder: Path, *, again: bool = False) -> None:
    """Compare an artifact with its manifest before its content is used; once a process, unless ``again``.

    Every file that counts must have its size, and every one but the chunks of steps its SHA-256. Of chunks
    the SHA-256 is computed where the file is newer than the manifest, which was written last, up to 1 GiB of
    them. A folder without a manifest is no artifact, and nothing is compared.

    Raises:
        StoreError: a file is missing or changed, or the manifest cannot be used.
    """
    try:
        status = (folder / MANIFEST).stat()
    except FileNotFoundError:
        return
    check = _check_once.__wrapped__ if again else _check_once
    check(folder, status.st_ino, status.st_mtime_ns)


@functools.lru_cache(maxsize=4096)  # what raises is not remembered
def _check_once(folder: Path, _inode: int, written_ns: int) -> None:
    unread = 0
    left = CHANGED_BYTES
    for name, entry in content_files(read_manifest(folder)).items():
        path = folder / name
        try:
            status = path.stat()
        except OSError as error:
            raise _changed(path, f"{error.strerror}") from error
        if status.st_size != entry["bytes"]:
            raise _changed(path, f"found {status.st_size} bytes, expected {entry['bytes']}")
        if _CHUNK.fullmatch(name):
            if status.st_mtime_ns <= written_ns:
                continue
            if left < entry["bytes"]:
                unread += 1
                continue
            left -= entry["bytes"]
        if hash_file(path) != entry["sha256"]:
            raise _changed(path, "its bytes are not those that were stored")
    if unread:
        log.warning(
            "%s: %d chunks are newer than the manifest and were not compared with it; "
            "'beyondmimic data verify' reads them all",
            folder,
            unread,
        )


def _changed(path: Path, what: str) -> StoreError:
    return StoreError(
        f"{path}: {what}; 'beyondmimic data verify --heal' takes out what is damaged, "
        "and the next run makes just that again"
    )


def verify(folder: Path) -> list[Problem]:
    """Read every byte of an artifact's folder and compare it with the manifest and the units' markers.

    The manifest is compared with itself, with its files and with its place first: one that is damaged says
    nothing about the files, so that none of them is called wrong for its sake.

    Args:
        folder: of a complete artifact, or rollouts without a manifest (a partial folder, a copied store).

    Returns:
        What is wrong, by file; nothing if the folder is whole.

    Raises:
        StoreError: the folder is neither.
    """
    digests = {
        path.relative_to(folder).as_posix(): hash_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / MANIFEST
    }
    problems: dict[str, Problem] = {}
    if (folder / MANIFEST).exists():
        for problem in _against_manifest(folder, digests):
            problems[problem.file] = problem
    if layout.group_path(folder).exists():
        for problem in _against_markers(folder, digests):
            problems.setdefault(problem.file, problem)
    elif not (folder / MANIFEST).exists():
        raise StoreError(f"{folder}: neither a complete artifact nor rollouts")
    return [problems[name] for name in sorted(problems)]


def heal(store: ArtifactStore, folder: Path, problems: list[Problem]) -> Path | None:
    """Set aside what is damaged and make the artifact a partial one, so that its next build writes just that.

    Nothing is deleted. Rollouts are pure functions of their recipe, so that build ends in the version that
    was damaged. Where only stray files are found they are set aside and the artifact stays complete. A folder
    whose manifest is that of another artifact is set aside as a whole: nothing may go on with it.

    Args:
        store: where the artifact is.
        folder: the artifact's.
        problems: what ``verify`` found, at least one.

    Returns:
        Where what was set aside is now; ``None`` if it was only missing.

    Raises:
        StoreError: another process is building the artifact.
    """
    kind, key, recipe = folder.relative_to(store.root).parts
    with store.lock(kind, key, recipe):
        for problem in problems:
            log.warning("%s: %s", folder, problem)
        if any(problem.foreign for problem in problems):
            return store.set_aside(folder)
        again = any(not problem.stray for problem in problems)
        names = [MANIFEST] if again else []  # first, so that no reader finds half of the rest
        for problem in problems:
            names.append(problem.file)
            if problem.unit is not None:
                paths = (layout.chunk_path(folder, problem.unit), layout.marker_path(folder, problem.unit))
                names += [path.relative_to(folder).as_posix() for path in paths]
        files = [folder / name for name in dict.fromkeys(names) if (folder / name).exists()]
        target = store.set_aside(folder, files) if files else None
        if again:
            partial = store.partial(kind, key, recipe)
            if partial.exists():
                store.set_aside(partial)
            folder.rename(partial)
        return target


def _against_manifest(folder: Path, digests: dict[str, str]) -> Iterator[Problem]:
    damage = damage_of(folder)
    if damage is not None:
        yield Problem(MANIFEST, damage, foreign=is_misplaced(folder))
        return
    listed = {name: entry["sha256"] for name, entry in read_manifest(folder)["files"].items()}
    for name in sorted(listed.keys() | digests.keys()):
        if name not in listed:
            yield Problem(name, "not in the manifest", stray=True)
        elif name.split("/")[0] == SCRATCH:
            continue
        elif name not in digests:
            yield Problem(name, "missing", _unit_of(name))
        elif digests[name] != listed[name]:
            yield Problem(name, "its bytes are not those in the manifest", _unit_of(name))


def _against_markers(folder: Path, digests: dict[str, str]) -> Iterator[Problem]:
    try:
        info = read_array_info(folder)
    except StoreError as error:
        yield Problem(f"{layout.GROUP}/zarr.json", str(error))
        return
    episodes: list[dict[str, Any]] = []
    whole = True
    for unit in range(info.num_chunks):
        chunk, path = (
            p.relative_to(folder).as_posix()
            for p in (layout.chunk_path(folder, unit), layout.marker_path(folder, unit))
        )
        try:
            marker = UnitMarker.read(folder / path)
        except FileNotFoundError:
            yield Problem(path, "missing: the unit is not finished", unit)
        except StoreError as error:
            yield Problem(path, str(error), unit)
        else:
            episodes += marker.episodes
            if digests.get(chunk) == marker.sha256 and marker.unit == unit:
                continue
            found = "its bytes are not those that its marker names" if chunk in digests else "missing"
            yield Problem(chunk, found, unit)
        whole = False
    for name in digests:
        top = name.split("/")[0]
        known = {p.relative_to(folder).as_posix() for p in layout.metadata_paths(folder)}
        unit_found = _unit_of(name)
        if top in (layout.GROUP, layout.UNITS) and name not in known:
            if unit_found is None:
                yield Problem(name, "no part of the store", stray=True)
            elif unit_found >= info.num_chunks:
                yield Problem(name, f"the store has units 0 to {info.num_chunks - 1}", stray=True)
    if whole and layout.EPISODES in digests:
        yield from _against_index(folder, episodes)


def _against_index(folder: Path, episodes: list[dict[str, Any]]) -> Iterator[Problem]:
    try:
        same = read_episodes(folder / layout.EPISODES).equals(episode_table(episodes))
    except StoreError as error:
        yield Problem(layout.EPISODES, str(error))
        return
    if not same:
        yield Problem(layout.EPISODES, "its rows are not those of the units' markers")


def _unit_of(name: str) -> int | None:
    """Return the unit whose chunk or marker a path below the folder is."""
    match = _CHUNK.fullmatch(name)
    if match:
        return int(match.group(1))
    return layout.marked_unit(Path(name)) if name.startswith(f"{layout.UNITS}/") else None
