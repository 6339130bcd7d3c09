"""Reuse or build: the step that all builders share."""

from collections.abc import Callable

from storage.artifacts import Artifact, ArtifactStore, Build

ALL = "all"
"""Key of artifacts that all skills share."""
Progress = Callable[[str], None]
"""Receives lines about how far the work is."""


def reuse_or_build(
    store: ArtifactStore, kind: str, key: str, recipe: str, make: Callable[[Build], None]
) -> Artifact:
    """Return the complete artifact of a recipe, building it with ``make`` if there is none.

    Raises:
        StoreError: another process is building it.
    """
    found = store.find(kind, key, recipe)
    if found is None:
        with store.build(kind, key, recipe) as build:
            make(build)
        found = store.find(kind, key, recipe)
        assert found is not None, "build() completes the artifact"
    return found
