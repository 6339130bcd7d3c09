"""Small artifacts as they are opened: their bytes are compared with what the store recorded of them.

Weights are a few megabytes, so that reading them twice costs nothing beside what is done with them. What is
large, as rollouts are, has ``integrity.verify``.
"""

from pathlib import Path

from beyondmimic_data.errors import StoreError
from beyondmimic_data.hashing import hash_file
from storage.artifacts import MANIFEST, Artifact, content_files, read_manifest


def opened(artifact: Artifact) -> Path:
    """Return an artifact's folder, once its files are found to be those that were recorded.

    Raises:
        StoreError: a file is missing or holds other bytes, or another artifact has taken the folder.
    """
    version = require_recorded(artifact.path)
    if version != artifact.version:
        raise StoreError(
            f"{artifact.path / MANIFEST}: version: found {version}, expected {artifact.version}; the "
            "artifact was replaced while it was in use, run the command again"
        )
    return artifact.path


def require_recorded(folder: Path) -> str:
    """Compare every file of a complete artifact, but those in scratch, with its manifest.

    Args:
        folder: of the artifact.

    Returns:
        The version that the manifest records.

    Raises:
        StoreError: a file is missing or holds other bytes, or the manifest cannot be used.
    """
    remedy = f"restore it from a copy, or remove {folder} to have it made again"
    try:
        manifest = read_manifest(folder)
    except FileNotFoundError as error:
        raise StoreError(f"{folder / MANIFEST}: missing; {remedy}") from error
    for name, recorded in content_files(manifest).items():
        path = folder / name
        if not path.is_file():
            raise StoreError(f"{path}: missing, though the manifest lists it; {remedy}")
        found = hash_file(path)
        if found != recorded["sha256"]:
            raise StoreError(
                f"{path}: its bytes are not those that were stored: found SHA-256 {found[:12]}, expected "
                f"{recorded['sha256'][:12]}; {remedy}"
            )
    return str(manifest["version"])


def require_recorded_if_stored(folder: Path) -> None:
    """Compare a folder that a person named with its manifest; one that is no artifact has none.

    Raises:
        StoreError: it is an artifact, and not as it was recorded.
    """
    if (folder / MANIFEST).exists():
        require_recorded(folder)
