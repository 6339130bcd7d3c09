"""Trained weights under version control: each folder holds them with a card that says what made them."""

import shutil
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from beyondmimic_data.errors import StoreError
from beyondmimic_data.files import write_json
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
