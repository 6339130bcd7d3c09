"""The trained diffusion policy that comes with the project: where a first training starts."""

import dataclasses
from pathlib import Path
from typing import Any

from beyondmimic_data.config import DiffusionConfig
from beyondmimic_data.diffusion.policy_files import (
    ARCHITECTURE_FIELDS,
    CONFIG,
    RECORDED,
    RUN,
    TRAINING,
    WEIGHTS,
)
from beyondmimic_data.errors import StoreError, one_line
from beyondmimic_data.files import read_json, write_json
from beyondmimic_data.shipping import CARD, ship_files

FOLDER = Path(__file__).parent / "shipped_policy"
FILES = (WEIGHTS, CONFIG, TRAINING, RECORDED)
"""What ships: weights, configuration with the contract, training record with its curve, recorded starts."""
SHIPPED_WINDOWS = 128
"""Recorded windows that ship: half of what a training keeps, for a small repository."""
EVALUATION = "evaluation.json"
"""Figures of the protocols that the shipped policy was examined by."""


@dataclasses.dataclass(frozen=True)
class ShippedDiffusion:
    """The diffusion policy under version control."""

    path: Path
    """Its folder."""
    version: str
    """SHA-256 of its weights."""


def shipped_diffusion(config: DiffusionConfig, folder: Path = FOLDER) -> ShippedDiffusion | None:
    """Return the policy that ships, or ``None`` if there is none of this architecture.

    Raises:
        StoreError: its folder lacks a file, or one is damaged.
    """
    if not folder.is_dir():
        return None
    try:
        theirs = read_json(folder / CONFIG)["diffusion"]
        fits = all(theirs[field] == getattr(config, field) for field in ARCHITECTURE_FIELDS)
        return ShippedDiffusion(folder, str(read_json(folder / CARD)["version"])) if fits else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{folder}: no complete shipped policy ({one_line(repr(error))}); restore it from the repository"
        ) from error


def ship(policy: Path, card: dict[str, Any], evaluation: dict[str, Any], folder: Path = FOLDER) -> None:
    """Put a trained policy where the shipped one is.

    Args:
        policy: folder of a trained policy.
        card: how it came about.
        evaluation: the figures of the protocols that it was examined by, by name.
        folder: where it ships.

    Raises:
        StoreError: the policy lacks a file.
    """
    from beyondmimic_data.diffusion.windows import RecordedWindows

    ship_files(policy, folder, FILES, card)
    (folder / RUN).unlink(missing_ok=True)  # that of the policy before
    RecordedWindows.load(policy).first(SHIPPED_WINDOWS).save(folder)
    write_json(folder / EVALUATION, evaluation)


def record_evaluation(protocol: str, entry: dict[str, Any], folder: Path = FOLDER) -> None:
    """Add the figures of a protocol to those that ship with the policy; earlier ones of it are replaced."""
    path = folder / EVALUATION
    known = read_json(path) if path.exists() else {}
    write_json(path, {**known, protocol: entry})
