"""Naming an artifact as people do: ``latest``, ``previous``, or the beginning of a recipe or a version."""

from collections.abc import Mapping, Sequence
from typing import Any

from beyondmimic_data.errors import StoreError
from storage.artifacts import Artifact, ArtifactStore, describe

LATEST, PREVIOUS = "latest", "previous"


def find_named(store: ArtifactStore, kind: str, key: str, name: str) -> Artifact:
    """Return the complete artifact of a kind and key that a name means.

    Args:
        store: artifacts.
        kind: such as ``datasets``.
        key: skill, or ``all``.
        name: see ``meant``.

    Raises:
        StoreError: nothing has that name, or several artifacts of different content do.
    """
    artifacts = store.list(kind, key)
    if not artifacts:
        raise StoreError(f"{store.root / kind / key}: holds nothing yet: run the graph first")
    return artifacts[meant([describe(artifact) for artifact in artifacts], kind, name)]


def meant(lines: Sequence[Mapping[str, Any]], kind: str, name: str) -> int:
    """Return which of several artifacts a name means.

    Args:
        lines: recipe and version of each, at least one, oldest first.
        kind: theirs.
        name: ``latest``, ``previous``, or a recipe or version or the beginning of one. A version that two
            recipes gave is the same bytes twice: the newest of them is meant.

    Raises:
        StoreError: nothing has that name, or several artifacts of different content do.
    """
    if name == LATEST:
        return len(lines) - 1
    if name == PREVIOUS:
        if len(lines) < 2:
            raise StoreError(f"{kind} {name!r}: there is only one, {lines[0]['recipe']}")
        return len(lines) - 2
    names = [(line["recipe"], line["version"]) for line in lines]
    found = [i for i, both in enumerate(names) if name and any(n.startswith(name) for n in both)]
    exact = [i for i in found if name in names[i]]
    found = exact or found
    if not found:
        known = ", ".join(recipe for recipe, _ in names)
        raise StoreError(
            f"{kind} {name!r}: no such recipe or version; expected {LATEST}, {PREVIOUS} or one of {known}"
        )
    if len({names[i][1] for i in found}) > 1:
        several = ", ".join(f"recipe {names[i][0]} (version {names[i][1]})" for i in found)
        raise StoreError(f"{kind} {name!r}: several begin so: {several}; write more of it")
    return found[-1]
