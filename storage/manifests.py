"""Manifests: what an artifact is and which bytes it holds. One is checked before anything it says is used.

It may come from a store that anyone can write to, and it may be damaged: its own hash covers every field,
its version is compared with its files, and its kind, key and recipe with the place where it stands.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from beyondmimic_data.errors import StoreError, shown
from beyondmimic_data.files import parse_json, path_below
from beyondmimic_data.hashing import DIGEST_CHARS, hash_value

MANIFEST = "manifest.json"
MAX_BYTES = 2**26
"""Largest manifest that is read: that of a hundred times a hundred hours of rollouts is smaller."""
SCHEMA_VERSION = 2
OWN_HASH = "manifest_sha256"
"""Field with the SHA-256 of all others."""
SCRATCH = "scratch"
"""Folder kept out of an artifact's version: logs and checkpoints may differ where the result does not."""
KINDS = ("motions", "policies", "rollouts", "datasets", "diffusion", "reports", "bundles")
"""What artifacts may be; their folders stand side by side below the root of a store."""
LINEAGE: Mapping[str, tuple[str, ...]] = {
    "datasets": ("rollouts",),
    "rollouts": ("motions", "policies"),
    "policies": ("motions", "policies"),
    "motions": (),
}
"""Kinds that a dataset version is made of, and what each of them is made of itself: what is copied."""
LINE = ("kind", "key", "recipe", "version")
"""What names an artifact and its content."""
LATEST_TIME = 1e11
"""Seconds since the epoch; a time behind it would leave no number for a later one."""

Manifest = dict[str, Any]
_HASH = re.compile(rf"[0-9a-f]{{{DIGEST_CHARS}}}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FIELDS: Mapping[str, type | tuple[type, ...]] = {
    "kind": str,
    "key": str,
    "recipe": str,
    "version": str,
    "created": (int, float),
    "meta": dict,
    "files": dict,
    OWN_HASH: str,
}


class _Damaged(Exception):
    """What is wrong with a manifest."""


def is_hash(text: object) -> bool:
    """Say whether a text is a recipe or a version as this project makes them."""
    return isinstance(text, str) and _HASH.fullmatch(text) is not None


def make_manifest(
    line: tuple[str, str, str], created: float, meta: dict[str, Any], files: dict[str, Any]
) -> Manifest:
    """Return the manifest of an artifact that holds these files.

    Args:
        line: kind, key and recipe.
        created: seconds since the epoch.
        meta: what its builder recorded.
        files: ``bytes`` and ``sha256`` of each file by its path below the folder.
    """
    kind, key, recipe = line
    manifest: Manifest = {
        "schema_version": SCHEMA_VERSION,
        "kind": kind,
        "key": key,
        "recipe": recipe,
        "version": _version_of(files),
        "created": created,
        "meta": meta,
        "files": files,
    }
    return seal(json.loads(json.dumps(manifest)))


def seal(manifest: Manifest) -> Manifest:
    """Return a manifest of plain JSON values with its own hash, which covers all its other fields."""
    return {**manifest, OWN_HASH: _own_hash(manifest)}


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of an artifact's folder, ``<kind>/<key>/<recipe>`` below a store's root.

    Raises:
        FileNotFoundError: there is none: the folder holds no complete artifact.
        StoreError: it is damaged, of another schema version, or another artifact's.
    """
    kind, key, recipe = folder.parts[-3:]
    remedy = "'beyondmimic data verify --heal' takes it out, or remove that folder to rebuild it"
    return parse_manifest(_bytes_of(folder / MANIFEST), folder / MANIFEST, (kind, key, recipe), remedy)


def parse_manifest(data: bytes, source: object, line: tuple[str, str, str], remedy: str) -> Manifest:
    """Parse a manifest.

    Args:
        data: what the file holds.
        source: file to name in an error.
        line: kind, key and recipe of the place where it stands.
        remedy: what to do about a manifest that cannot be used.

    Raises:
        StoreError: it is damaged, of another schema version, or another artifact's.
    """
    try:
        return _examine(data, line)
    except _Damaged as error:
        raise StoreError(f"{source}: {error}; {remedy}") from error


def damage_of(folder: Path) -> str | None:
    """Say what is wrong with the manifest of an artifact's folder, if anything; its files are not read.

    Raises:
        FileNotFoundError: there is none.
    """
    kind, key, recipe = folder.parts[-3:]
    try:
        _contents(_examine(_bytes_of(folder / MANIFEST), (kind, key, recipe)))
    except (_Damaged, StoreError) as error:
        return str(error)
    return None


def is_misplaced(folder: Path) -> bool:
    """Say whether a folder's manifest is whole, but that of another kind, key or recipe than its place."""
    try:
        data = _bytes_of(folder / MANIFEST)
        kind, key, recipe = (parse_json(data)[name] for name in LINE[:3])
        _examine(data, (kind, key, recipe))
    except (OSError, ValueError, TypeError, KeyError, StoreError, _Damaged):
        return False
    return (kind, key, recipe) != folder.parts[-3:]


def content_files(manifest: Manifest) -> dict[str, dict[str, Any]]:
    """Return the files that a version stands for, with their size and SHA-256: all but those in scratch.

    Raises:
        StoreError: the version is not that of the files, or a file would lie outside of the folder.
    """
    try:
        return _contents(manifest)
    except _Damaged as error:
        line = "/".join(str(manifest.get(name)) for name in LINE[:3])
        remedy = "make that artifact again where it is from"
        raise StoreError(f"the manifest of {line} is damaged: {error}; {remedy}") from error


def parent_lines(meta: dict[str, Any], source: object) -> list[dict[str, str]]:
    """Return the lines of ``describe`` that name what an artifact was made from.

    Raises:
        StoreError: ``meta`` does not say; ``source`` is named.
    """
    lines: Any = meta.get("parents")
    if isinstance(lines, list) and all(map(is_line, lines)):
        return list(lines)
    raise StoreError(
        f"{source}: meta.parents: found {shown(lines, 300)}, expected a list of kind, key and recipe"
    )


def place_of(line: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return the kind, key and recipe of a manifest, or of a line that names an artifact."""
    kind, key, recipe = (line[name] for name in LINE[:3])
    return kind, key, recipe


def is_line(line: object) -> bool:
    """Say whether a value names an artifact: its kind, key and recipe, and perhaps its version."""
    if not isinstance(line, dict) or not all(isinstance(line.get(n, ""), str) for n in LINE):
        return False
    try:
        path_below(PurePath(), *(line.get(name, "") for name in LINE[:3]))
    except StoreError:
        return False
    return line["kind"] in KINDS


def _bytes_of(path: Path) -> bytes:
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise StoreError(f"{path}: found {size} bytes, expected at most {MAX_BYTES}; it is no manifest")
    return path.read_bytes()


def _examine(data: bytes, line: tuple[str, str, str]) -> Manifest:
    """Return a manifest whose fields have their types and whose own hash and place are right.

    Raises:
        _Damaged: they are not.
    """
    try:
        manifest = parse_json(data)
    except ValueError as error:
        raise _Damaged(f"is not valid JSON ({error})") from error
    if not isinstance(manifest, dict) or manifest.get("schema_version") != SCHEMA_VERSION:
        found = manifest.get("schema_version") if isinstance(manifest, dict) else type(manifest).__name__
        raise _Damaged(f"schema_version: found {shown(found)}, expected {SCHEMA_VERSION}")
    missing = _FIELDS.keys() - manifest.keys()
    if missing:
        raise _Damaged(f"{', '.join(sorted(missing))} missing")
    for name, kind in _FIELDS.items():
        if not isinstance(manifest[name], kind) or isinstance(manifest[name], bool):
            raise _Damaged(f"{name}: found {type(manifest[name]).__name__}")
    for name, wanted in zip(LINE[:3], line, strict=True):
        if manifest[name] != wanted:
            raise _Damaged(f"{name}: found {shown(manifest[name])}, expected that of its place, {wanted!r}")
    if not (math.isfinite(manifest["created"]) and 0 <= manifest["created"] < LATEST_TIME):
        raise _Damaged(f"created: found {shown(manifest['created'])}, expected seconds since the epoch")
    for name, entry in manifest["files"].items():
        if not _is_entry(entry):
            raise _Damaged(f"files: {shown(name)}: expected its size in bytes and its SHA-256")
    if _own_hash(manifest) != manifest[OWN_HASH]:
        raise _Damaged(f"{OWN_HASH}: is not that of the other fields: one of them was changed")
    return manifest


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, dict) or entry.keys() != {"bytes", "sha256"}:
        return False
    size, sha256 = entry["bytes"], entry["sha256"]
    return type(size) is int and size >= 0 and isinstance(sha256, str) and bool(_SHA256.fullmatch(sha256))


def _contents(manifest: Manifest) -> dict[str, dict[str, Any]]:
    """Return a manifest's files but those in scratch, whose names stay below its folder.

    Raises:
        _Damaged: one would not, or the version is not that of the files.
    """
    files = {name: f for name, f in manifest["files"].items() if name.split("/")[0] != SCRATCH}
    folders = {name[:end] for name in files for end, sign in enumerate(name) if sign == "/"}
    for name in files:
        try:
            path_below(PurePath(), *name.split("/"))
        except StoreError as error:
            raise _Damaged(f"{shown(name)} is no file below it") from error
        if name == MANIFEST or name in folders:
            raise _Damaged(f"{shown(name)} is no file below it")
    if _version_of(files) != manifest["version"]:
        raise _Damaged("its version is not that of its files")
    return files


def _own_hash(manifest: Mapping[str, Any]) -> str:
    others = {name: value for name, value in manifest.items() if name != OWN_HASH}
    return hashlib.sha256(json.dumps(others, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _version_of(files: Mapping[str, Mapping[str, Any]]) -> str:
    return hash_value({name: f["sha256"] for name, f in files.items() if name.split("/")[0] != SCRATCH})
