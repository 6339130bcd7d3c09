"""What changed from one dataset version to another, from their indexes alone: no step is read."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from beyondmimic_data.errors import StoreError
from storage import layout
from storage.artifacts import Artifact, ArtifactStore
from storage.datasets import TRAIN, VALIDATION, read_dataset
from storage.episode_index import read_episodes
from storage.integrity import check_opened
from storage.manifests import read_manifest

SUMS = ("episodes", "validation_episodes", "steps", "hours")
"""What is counted of a skill and of a whole dataset."""


def diff_datasets(old: Artifact, new: Artifact) -> dict[str, Any]:
    """Compare two dataset versions of one store.

    A skill is unchanged when both versions name the same rollouts artifact, whose bytes they share. Only its
    episodes can move between training and validation: others are collected anew and have no counterpart.

    Returns:
        ``old`` and ``new`` (each dataset with its totals); ``added``, ``removed``, ``changed`` and
        ``unchanged`` skills; ``left_out``, the reasons that differ; ``validation``, the rule of the split
        and how many episodes moved; ``totals``; and ``shared_bytes`` of unchanged rollouts. All plain JSON.

    Raises:
        StoreError: one of them cannot be read.
    """
    for dataset in (old, new):
        check_opened(dataset.path)
    before, after = read_dataset(old.path), read_dataset(new.path)
    skills = [{entry["skill"]: entry for entry in value["skills"]} for value in (before, after)]
    both = [name for name in skills[0] if name in skills[1]]
    same = [name for name in both if skills[0][name]["rollouts"] == skills[1][name]["rollouts"]]
    store = ArtifactStore(new.root)
    unchanged = [_line(skills[1][name]) | {"bytes": _bytes(store, skills[1][name])} for name in same]
    return {
        "old": _dataset(old, before),
        "new": _dataset(new, after),
        "added": [_line(entry) for name, entry in skills[1].items() if name not in skills[0]],
        "removed": [_line(entry) for name, entry in skills[0].items() if name not in skills[1]],
        "changed": [
            {"skill": name, "old": _figures(skills[0][name]), "new": _figures(skills[1][name])}
            for name in both
            if name not in same
        ],
        "unchanged": unchanged,
        "left_out": _reasons(before["left_out"], after["left_out"]),
        "validation": {
            "fraction": {"old": before["validation_fraction"], "new": after["validation_fraction"]},
            "seed": {"old": before["split_seed"], "new": after["split_seed"]},
            "moved": _moved(old, new, same),
        },
        "totals": {
            name: {
                "old": before["statistics"][name],
                "new": after["statistics"][name],
                "change": after["statistics"][name] - before["statistics"][name],
            }
            for name in SUMS
        },
        "shared_bytes": sum(line["bytes"] or 0 for line in unchanged),
    }


def _dataset(artifact: Artifact, value: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "recipe": artifact.recipe,
        "version": artifact.version,
        "created": artifact.created,
        "skills": len(value["skills"]),
    }


def _figures(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return which rollouts a skill teaches with, and what they sum up to."""
    rollouts = {name: entry["rollouts"][name] for name in ("recipe", "version")}
    return rollouts | {name: entry[name] for name in SUMS}


def _line(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {"skill": entry["skill"]} | _figures(entry)


def _bytes(store: ArtifactStore, entry: Mapping[str, Any]) -> int | None:
    """Return the size of a skill's rollouts, or ``None`` where they are gone."""
    line = entry["rollouts"]
    try:
        files = read_manifest(store.folder(line["kind"], line["key"], line["recipe"]))["files"]
    except FileNotFoundError:
        return None
    return sum(file["bytes"] for file in files.values())


def _reasons(before: Mapping[str, str], after: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the skills that are left out of one version only, or for another reason."""
    names = sorted(before.keys() | after.keys())
    return [
        {"skill": name, "old": before.get(name), "new": after.get(name)}
        for name in names
        if before.get(name) != after.get(name)
    ]


def _moved(old: Artifact, new: Artifact, skills: list[str]) -> list[dict[str, Any]]:
    """Return how many episodes of each of these skills changed sides, where any did."""
    sides = [_sides(artifact) for artifact in (old, new)]
    moved = []
    for skill in skills:
        before, after = (side.get(skill, {}) for side in sides)
        if before.keys() != after.keys():
            raise StoreError(
                f"{new.path}: its index of {skill!r} has other episodes than that of {old.path}, "
                "which names the same rollouts; make the dataset again"
            )
        changes = [after[episode] for episode, side in before.items() if after[episode] != side]
        if changes:
            counts = {"to_validation": changes.count(VALIDATION), "to_train": changes.count(TRAIN)}
            moved.append({"skill": skill, **counts})
    return moved


def _sides(dataset: Artifact) -> dict[str, dict[str, str]]:
    """Return training or validation of each episode id, by skill."""
    columns = ("skill", "episode_id", "split")
    table = read_episodes(dataset.path / layout.EPISODES, columns=columns)
    names, ids, split = (np.array(table[column].to_pylist(), dtype=str) for column in columns)
    return {
        str(skill): dict(zip(ids[names == skill].tolist(), split[names == skill].tolist(), strict=True))
        for skill in np.unique(names)
    }
