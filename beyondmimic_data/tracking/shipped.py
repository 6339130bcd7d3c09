"""Trained tracking policies that come with the project; a skill's first training starts from one of them.

Each folder below ``FOLDER`` is named after its skill and holds the policy's files and ``card.json``: the
command, the seed and the versions of what made it.
"""

import dataclasses
from pathlib import Path
from typing import Any

from beyondmimic_data.errors import StoreError, one_line
from beyondmimic_data.files import path_below, read_json, write_json
from beyondmimic_data.shipping import CARD, ship_files
from beyondmimic_data.tracking.policy_files import EVALUATION, OPTIMIZER, TRAINING, WEIGHTS

FOLDER = Path(__file__).parent / "shipped_policies"
FOUNDATION = "balance"
"""Key of the policy that skills without one of their own start from: it stands, squats, steps and walks."""
FILES = (WEIGHTS, TRAINING, OPTIMIZER)
"""What is copied of a policy: weights, training record with its curve, the optimiser's state."""


@dataclasses.dataclass(frozen=True)
class ShippedPolicy:
    """One policy under version control."""

    skill: str
    """Key of the skill it was trained on."""
    path: Path
    """Its folder."""
    version: str
    """SHA-256 of its weights."""
    network: dict[str, Any]
    """What has to be equal for its weights to fit."""
    completion: float
    """Share of its gate's starts that it completed."""


def shipped_policies(folder: Path = FOLDER) -> list[ShippedPolicy]:
    """Return the policies that ship, by skill.

    Raises:
        StoreError: a folder lacks a file, or its card is damaged.
    """
    return [_read(path) for path in sorted(folder.iterdir())] if folder.is_dir() else []


def ship(
    policy: Path, skill: str, card: dict[str, Any], evaluation: dict[str, Any], folder: Path = FOLDER
) -> ShippedPolicy:
    """Put a policy among those that ship; an earlier one of its skill is replaced.

    Args:
        policy: folder of a trained policy.
        skill: key of its skill.
        card: how it came about: ``command``, ``seed``, ``network``, ``clips``, ``warm_start``.
        evaluation: what ``examine`` returned.
        folder: where shipped policies are.

    Raises:
        StoreError: the policy lacks a file, or the skill is no name of a folder.
    """
    target = path_below(folder, skill)
    ship_files(policy, target, FILES, {"skill": skill, **card})
    write_json(target / EVALUATION, evaluation)
    return _read(target)


def _read(path: Path) -> ShippedPolicy:
    try:
        card, evaluation = read_json(path / CARD), read_json(path / EVALUATION)
        return ShippedPolicy(
            path.name, path, str(card["version"]), dict(card["network"]), float(evaluation["completion"])
        )
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise StoreError(
            f"{path}: no complete shipped policy ({one_line(repr(error))}); restore it from the repository"
        ) from error
