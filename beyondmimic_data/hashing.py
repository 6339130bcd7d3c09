"""Content hashes: the one place that decides what 'the same' means."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

DIGEST_CHARS = 16


def _canonical(value: Any) -> Any:
    """Turn dataclasses, tuples, NumPy scalars and paths into plain JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _canonical(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): _canonical(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(v) for v in value]
    if isinstance(value, (set, frozenset)):
        return sorted(_canonical(v) for v in value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise TypeError(f"cannot hash a {type(value).__name__}")


def canonical_json(value: Any) -> str:
    """Return a value as JSON with sorted keys; equal values give equal text."""
    return json.dumps(_canonical(value), sort_keys=True, separators=(",", ":"), allow_nan=True)


def hash_value(value: Any) -> str:
    """Hash a configuration: dataclasses, mappings, sequences and scalars. Returns 16 hex characters."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:DIGEST_CHARS]


def hash_arrays(arrays: Mapping[str, np.ndarray]) -> str:
    """Hash named arrays by name, dtype, shape and bytes. Returns 16 hex characters."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:DIGEST_CHARS]


def hash_file(path: Path) -> str:
    """Hash a file's bytes. Returns the full SHA-256 in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
