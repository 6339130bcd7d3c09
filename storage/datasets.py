"""Dataset versions: which skills' rollouts belong together, how episodes are split, and what they sum up to.

A dataset holds no steps. It names the rollouts of each skill by recipe and version, so that two versions
share the skills they have in common, and making one reads indexes and statistics only.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from beyondmimic_data.errors import GateError, StoreError, shown
from beyondmimic_data.files import read_json, write_json
from storage import layout
from storage.artifacts import Artifact, describe
from storage.episode_index import check_places, join_tables, read_episodes, write_episodes
from storage.integrity import check_opened
from storage.manifests import is_line
from storage.moments import Moments
from storage.step_array import ArrayInfo, check_alike, read_array_info
from storage.trajectory_reader import read_moments

DATASET = "dataset.json"
TRAIN, VALIDATION = "train", "validation"
SCHEMA_VERSION = 1
_NUMBER = (int, float)
_SUMS: Mapping[str, tuple[type, ...]] = {
    "episodes": (int,),
    "validation_episodes": (int,),
    "steps": (int,),
    "hours": _NUMBER,
}
_SKILL_FIELDS: Mapping[str, tuple[type, ...]] = {"skill": (str,), "rollouts": (dict,), **_SUMS}
_FIELDS: Mapping[str, tuple[type, ...]] = {
    "control_hz": _NUMBER,
    "validation_fraction": _NUMBER,
    "split_seed": (int,),
    "skills": (list,),
    "left_out": (dict,),
    "statistics": (dict,),
}


@dataclasses.dataclass(frozen=True)
class _Skill:
    name: str
    rollouts: Artifact
    info: ArrayInfo
    episodes: pa.Table
    moments: Moments

    @property
    def summary(self) -> dict[str, Any]:
        steps = int(np.sum(self.episodes["length"].to_numpy()))
        return {
            "skill": self.name,
            "rollouts": describe(self.rollouts),
            "episodes": self.episodes.num_rows,
            "validation_episodes": _strings(self.episodes["split"]).count(VALIDATION),
            "steps": steps,
            "hours": steps / self.info.schema.control_hz / 3600,
            "terminations": _counts(self.episodes["termination"]),
            "clips": _counts(self.episodes["clip"]),
        }


def write_dataset(
    folder: Path,
    included: Sequence[tuple[str, Artifact]],
    left_out: Mapping[str, str],
    *,
    validation_fraction: float,
    split_seed: int,
) -> dict[str, Any]:
    """Write ``dataset.json`` and ``episodes.parquet`` of a dataset version.

    Args:
        folder: the dataset artifact's folder while it is built.
        included: skill and rollouts; a skill whose rollouts kept no episode is left out.
        left_out: skills that are not in it, and why.
        validation_fraction: share of episodes for validation, at least one of a skill that has two.
        split_seed: seed of the split.

    Returns:
        What ``dataset.json`` holds.

    Raises:
        GateError: no skill is left.
        StoreError: rollouts cannot be read, or do not fit together.
    """
    reasons = dict(left_out)
    skills: list[_Skill] = []
    for name, rollouts in sorted(included, key=lambda pair: pair[0]):
        check_opened(rollouts.path)
        episodes = read_episodes(rollouts.path / layout.EPISODES)
        if episodes.num_rows == 0:
            reasons[name] = "its rollouts kept no episode"
            continue
        _check_skill(name, rollouts, episodes)
        split = split_episodes(_strings(episodes["episode_id"]), validation_fraction, split_seed)
        info = read_array_info(rollouts.path)
        check_places(rollouts.path / layout.EPISODES, episodes, info.num_rows)
        table = episodes.append_column("split", pa.array(split))
        skills.append(_Skill(name, rollouts, info, table, read_moments(rollouts.path)))
    if not skills:
        listed = "; ".join(f"{name}: {reason}" for name, reason in sorted(reasons.items()))
        raise GateError(f"the dataset would be empty: {listed or 'there are no rollouts'}")
    check_alike([skill.info for skill in skills])
    episodes = join_tables([skill.episodes for skill in skills])
    value = {
        "schema_version": SCHEMA_VERSION,
        "control_hz": skills[0].info.schema.control_hz,
        "validation_fraction": validation_fraction,
        "split_seed": split_seed,
        "skills": [skill.summary for skill in skills],
        "left_out": dict(sorted(reasons.items())),
        "statistics": _statistics(skills, episodes),
    }
    write_episodes(folder / layout.EPISODES, episodes)
    write_json(folder / DATASET, value)
    return value


def read_dataset(folder: Path) -> dict[str, Any]:
    """Read the ``dataset.json`` of a dataset artifact.

    Raises:
        StoreError: there is none, one of another schema version, or fields are missing or of other types.
    """
    path = folder / DATASET
    try:
        value = read_json(path)
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: not a readable dataset ({error})") from error
    found = value.get("schema_version") if isinstance(value, dict) else None
    if found != SCHEMA_VERSION:
        raise StoreError(f"{path}: schema_version: found {shown(found)}, expected {SCHEMA_VERSION}")
    wrong = _wrong_fields(value)
    if wrong:
        raise StoreError(f"{path}: {wrong}: missing or of another type; make the dataset again")
    return value


def _wrong_fields(value: dict[str, Any]) -> str:
    """Name the first field of a ``dataset.json`` that is missing or of another type, if one is."""
    for name, kinds in _FIELDS.items():
        if not _is(value.get(name), kinds):
            return name
    for number, skill in enumerate(value["skills"]):
        for name, kinds in _SKILL_FIELDS.items():
            if not isinstance(skill, dict) or not _is(skill.get(name), kinds):
                return f"skills[{number}].{name}"
        if not is_line(skill["rollouts"]) or skill["rollouts"]["kind"] != "rollouts":
            return f"skills[{number}].rollouts"
        if not isinstance(skill["rollouts"].get("version"), str):
            return f"skills[{number}].rollouts.version"
    for name, kinds in _SUMS.items():
        if not _is(value["statistics"].get(name), kinds):
            return f"statistics.{name}"
    if not all(isinstance(reason, str) for reason in value["left_out"].values()):
        return "left_out"
    return "" if value["skills"] else "skills"


def _is(value: object, kinds: tuple[type, ...]) -> bool:
    """Say whether a value has one of the types; truth values are no numbers."""
    return isinstance(value, kinds) and not isinstance(value, bool)


def split_episodes(episode_ids: Sequence[str], validation_fraction: float, seed: int) -> list[str]:
    """Return ``train`` or ``validation`` for each episode of one skill, from a seeded hash of its id.

    An episode's side depends on its own skill alone, so adding a skill moves no episode. Where the hash
    gives a skill of two or more episodes none of a side, the nearest one changes over.
    """
    drawn = np.array([_uniform(f"{seed}:{episode_id}") for episode_id in episode_ids])
    validation = drawn < validation_fraction
    if len(drawn) > 1 and 0 < validation_fraction < 1:
        if not validation.any():
            validation[drawn.argmin()] = True
        elif validation.all():
            validation[drawn.argmax()] = False
    return [VALIDATION if v else TRAIN for v in validation]


def _uniform(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def _check_skill(name: str, rollouts: Artifact, episodes: pa.Table) -> None:
    found = set(_strings(episodes["skill"]))
    if found != {name}:
        raise StoreError(
            f"{rollouts.path}: skill: found {sorted(found)} in the episode index, expected {name!r}"
        )


def _statistics(skills: Sequence[_Skill], episodes: pa.Table) -> dict[str, Any]:
    schema = skills[0].info.schema
    moments = Moments.merged((skill.moments for skill in skills), schema.num_columns)
    steps = int(np.sum(episodes["length"].to_numpy()))
    return {
        "episodes": episodes.num_rows,
        "validation_episodes": _strings(episodes["split"]).count(VALIDATION),
        "steps": steps,
        "hours": steps / schema.control_hz / 3600,
        "episodes_by_skill": _counts(episodes["skill"]),
        "terminations": _counts(episodes["termination"]),
        "columns": {
            name: {key: getattr(moments, key)[part].tolist() for key in ("mean", "std", "min", "max")}
            for name, part in schema.slices.items()
        },
    }


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    names, counts = np.unique(np.array(_strings(column)), return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def _strings(column: pa.ChunkedArray) -> list[str]:
    return [str(value) for value in column.to_pylist()]
