"""Checking stored bytes against what their writers recorded, and making what is damaged be written again."""

import dataclasses
import logging
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from beyondmimic_data.errors import StoreError
from beyondmimic_data.hashing import hash_file
from storage import layout
from storage.artifacts import MANIFEST, SCRATCH, Artifact, ArtifactStore, read_manifest
from storage.episode_index import episode_table, read_episodes
from storage.step_array import read_array_info
from storage.units import UnitMarker

log = logging.getLogger(__name__)

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

    @property
    def remedy(self) -> str:
        """What ``heal`` does about it."""
        if self.stray:
            return "remove it"
        return "write it again" if self.unit is None else f"collect unit {self.unit} again"

    def __str__(self) -> str:
        return f"{self.file}: {self.what}; to heal: {self.remedy}"


def verify(folder: Path) -> list[Problem]:
    """Read every byte of an artifact's folder and compare it with the manifest and the units' markers.

    Args:
        folder: of a complete artifact, or rollouts without a manifest (a partial folder, a copied store).

    Returns:
        What is wrong, by file; nothing if the folder is whole.

    Raises:
        StoreError: the manifest itself cannot be read.
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


def heal(store: ArtifactStore, artifact: Artifact, problems: list[Problem]) -> None:
    """Remove what is damaged and make the artifact a partial one, so that its next build writes just that.

    Rollouts are pure functions of their recipe, so that build ends in the version that was damaged. Where
    only stray files are found they are removed and the artifact stays complete.

    Raises:
        StoreError: another process is building the artifact.
    """
    with store.lock(artifact.kind, artifact.key, artifact.recipe):
        for problem in problems:
            log.warning("%s: %s", artifact.path, problem)
            names = [problem.file]
            if problem.unit is not None:
                both = (
                    layout.chunk_path(artifact.path, problem.unit),
                    layout.marker_path(artifact.path, problem.unit),
                )
                names = [path.relative_to(artifact.path).as_posix() for path in both]
            if not problem.stray:
                (artifact.path / MANIFEST).unlink(missing_ok=True)
            for name in names:
                (artifact.path / name).unlink(missing_ok=True)
        if any(not problem.stray for problem in problems):
            partial = store.partial(artifact.kind, artifact.key, artifact.recipe)
            shutil.rmtree(partial, ignore_errors=True)
            artifact.path.rename(partial)


def _against_manifest(folder: Path, digests: dict[str, str]) -> Iterator[Problem]:
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
