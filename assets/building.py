"""Reuse or build: the step that all builders share."""

from collections.abc import Callable

from beyondmimic_data.errors import StoreError
from beyondmimic_data.files import read_json, write_json
from storage.artifacts import Artifact, ArtifactStore, Build
from storage.integrity import check_opened

ALL = "all"
"""Key of artifacts that all skills share."""
Progress = Callable[[str], None]
"""Receives lines about how far the work is."""


def reuse_or_build(
    store: ArtifactStore, kind: str, key: str, recipe: str, make: Callable[[Build], None]
) -> Artifact:
    """Return the complete artifact of a recipe, building it with ``make`` if there is none.

    What ``make`` raises is noted beside the artifact's place, so that nothing tries the same again by itself.

    Raises:
        StoreError: another process is building it, or it is complete and files of it are missing or changed.
    """
    found = store.find(kind, key, recipe)
    if found is not None:
        check_opened(found.path)
        return found
    note = store.note(kind, key, recipe)
    with store.build(kind, key, recipe) as build:
        try:
            make(build)
        except Exception as error:
            write_json(note, {"error": message(error)})
            raise
    note.unlink(missing_ok=True)
    found = store.find(kind, key, recipe)
    assert found is not None, "build() completes the artifact"
    return found


def failure(store: ArtifactStore, kind: str, key: str, recipe: str) -> str | None:
    """Return why an artifact could not be built when that was last tried, or ``None``.

    Raises:
        StoreError: it is noted, and the note cannot be read.
    """
    path = store.note(kind, key, recipe)
    if not path.is_file():
        return None
    try:
        return str(read_json(path)["error"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{path}: no readable note ({error!r}); remove it to have that tried again"
        ) from error


def message(error: BaseException) -> str:
    """Return an error's own text: Ray wraps what an actor raised, and adds the actor's stack."""
    cause = getattr(error, "cause", None) or error
    return str(cause) or type(cause).__name__
