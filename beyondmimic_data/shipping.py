"""Trained weights under version control: each folder holds them with a card that says what made them."""

import shutil
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from beyondmimic_data.errors import StoreError, one_line
from beyondmimic_data.files import read_json, write_json
from beyondmimic_data.hashing import hash_file

CARD = "card.json"
PACKAGES = ("mujoco", "numpy", "rsl-rl-lib", "torch")
"""Packages whose versions a card names."""


def ship_files(source: Path, target: Path, names: Sequence[str], card: dict[str, Any]) -> None:
    """Copy trained files with their card; earlier ones are replaced.

    Args:
        source: folder of what was trained.
        target: folder under version control.
        names: files to copy; the first holds the weights, whose hash becomes the card's ``version``.
        card: how it came about, such as ``command`` and ``seed``; versions of packages are added.

    Raises:
        StoreError: a file is missing; nothing is copied.
    """
    for name in names:
        if not (source / name).is_file():
            raise StoreError(f"{source / name}: missing; train and evaluate it first")
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copyfile(source / name, target / name)
    versions = {"python": sys.version.split()[0], **{name: metadata.version(name) for name in PACKAGES}}
    write_json(target / CARD, {**card, "versions": versions, "version": hash_file(target / names[0])})


def require_carded(folder: Path, weights: str) -> None:
    """Compare the weights in a folder with the hash on the card beside them.

    Args:
        folder: of a policy that ships.
        weights: name of the file.

    Raises:
        StoreError: they are others, or the card or the file cannot be read.
    """
    remedy = "restore both from the repository"
    try:
        wanted, found = read_json(folder / CARD)["version"], hash_file(folder / weights)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{folder}: {CARD} and {weights} cannot be compared ({error!r}); {remedy}"
        ) from error
    if found != wanted:
        raise StoreError(
            f"{folder / weights}: its bytes are not those that ship: found SHA-256 {found[:12]}, expected "
            f"{one_line(wanted, 12)} as on {CARD}; {remedy}"
        )
