"""Naming an artifact as people do: ``latest``, ``previous``, or the beginning of a recipe or a version."""

from beyondmimic_data.errors import StoreError
from storage.artifacts import Artifact, ArtifactStore

LATEST, PREVIOUS = "latest", "previous"


def find_named(store: ArtifactStore, kind: str, key: str, name: str) -> Artifact:
    """Return the complete artifact of a kind and key that a name means.

    Args:
        store: artifacts.
        kind: such as ``datasets``.
        key: skill, or ``all``.
        name: ``latest``, ``previous``, or a recipe or version or the beginning of one. A version that two
            recipes gave is the same bytes twice: the newest of them is meant.

    Raises:
        StoreError: nothing has that name, or several artifacts of different content do.
    """
    artifacts = store.list(kind, key)
    if not artifacts:
        raise StoreError(f"{store.root / kind / key}: holds nothing yet: run the graph first")
    if name == LATEST:
        return artifacts[-1]
    if name == PREVIOUS:
        if len(artifacts) < 2:
            raise StoreError(f"{kind} {name!r}: there is only one, {artifacts[0].recipe}")
        return artifacts[-2]
    found = [a for a in artifacts if name and (a.recipe.startswith(name) or a.version.startswith(name))]
    exact = [a for a in found if name in (a.recipe, a.version)]
    found = exact or found
    if not found:
        known = ", ".join(a.recipe for a in artifacts)
        raise StoreError(
            f"{kind} {name!r}: no such recipe or version; expected {LATEST}, {PREVIOUS} or one of {known}"
        )
    if len({a.version for a in found}) > 1:
        meant = ", ".join(f"recipe {a.recipe} (version {a.version})" for a in found)
        raise StoreError(f"{kind} {name!r}: several begin so: {meant}; write more of it")
    return found[-1]
