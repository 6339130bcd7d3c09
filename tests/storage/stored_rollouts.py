"""Small rollouts whose values name their own episode, step and column, for the tests of the store."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from beyondmimic_data.files import write_json
from beyondmimic_data.hashing import hash_file
from storage.artifacts import Artifact, ArtifactStore
from storage.manifests import MANIFEST, make_manifest
from storage.schema import Column, StepSchema
from storage.trajectory_writer import TrajectoryWriter

CHUNK_STEPS = 128
"""With 8 columns of float32 one page of memory, the least that can be mapped."""

SCHEMA = StepSchema(
    columns=(
        Column("episode", (), description="number of the episode"),
        Column("step", (), description="step in its episode"),
        Column("joint_pos", (2, 3), "rad", names=("left", "right")),
    ),
    control_hz=50.0,
    joint_names=("left", "right"),
    clip_names=("clip_a",),
)


def rows_of(episode: int, length: int) -> np.ndarray:
    """Return (length, 8) rows; float32 and float16 hold each value exactly for small numbers."""
    rows = np.zeros((length, 8), np.float32)
    rows[:, 0] = episode
    rows[:, 1] = np.arange(length)
    rows[:, 2:] = episode + np.arange(length)[:, None] / 64 + np.arange(6) * 2
    return rows


def unit_of(
    unit: int, lengths: tuple[int, ...], chunk_steps: int, skill: str = "walk"
) -> tuple[np.ndarray, list]:
    """Return a unit's rows and index rows: episodes of these lengths, numbered through the units."""
    start, parts, episodes = unit * chunk_steps, [np.zeros((0, 8), np.float32)], []
    for number, length in enumerate(lengths):
        identity = 10 * unit + number
        parts.append(rows_of(identity, length))
        episodes.append(
            {
                "episode_id": f"{skill}-{identity:04d}",
                "skill": skill,
                "clip": "clip_a",
                "unit": unit,
                "start_row": start,
                "length": length,
                "start_frame": 0,
                "seed": "7-0-1",
                "termination": "clip_end" if number % 2 else "fall:torso_height",
                "latency_ms": 5.0 * number,
                "mass_scale": np.full(3, 0.5 + number),
                "noise_std": (0.1, 0.2),
            }
        )
        start += length
    return np.concatenate(parts), episodes


def write_unit(writer: TrajectoryWriter, unit: int, lengths: tuple[int, ...], skill: str = "walk") -> None:
    """Write what ``unit_of`` returns."""
    rows, episodes = unit_of(unit, lengths, writer.chunk_steps, skill)
    writer.write_unit(unit, [rows], episodes)


UNITS: tuple[tuple[int, ...], ...] = ((60, 30, 21), (128,), (), (20, 40, 50))
"""Episode lengths of each unit: padded, full, empty, and one shorter than a window of 21."""


def write_rollouts(
    folder: Path,
    *,
    units: tuple[tuple[int, ...], ...] = UNITS,
    order: tuple[int, ...] | None = None,
    skill: str = "walk",
    chunk_steps: int = CHUNK_STEPS,
    dtype: str = "float32",
    schema: StepSchema = SCHEMA,
) -> dict[str, str]:
    """Write the units that are missing and finish; returns the chunks' digests."""
    writer = TrajectoryWriter.create(folder, schema, units=len(units), chunk_steps=chunk_steps, dtype=dtype)
    missing = writer.missing_units()
    for unit in order or range(len(units)):
        if unit in missing:
            write_unit(writer, unit, units[unit], skill)
    return writer.finish()


def build_rollouts(store: ArtifactStore, skill: str, recipe: str, **options: Any) -> Artifact:
    """Build a rollout artifact, or return the one of that recipe."""
    if store.find("rollouts", skill, recipe) is None:
        with store.build("rollouts", skill, recipe) as build:
            build.digests.update(write_rollouts(build.path, skill=skill, **options))
            build.meta["parents"] = []
    artifact = store.find("rollouts", skill, recipe)
    assert artifact is not None
    return artifact


def reseal(artifact: Artifact) -> Artifact:
    """Write the manifest anew for the files as they are now, as a build that wrote them so would have."""
    files = {
        path.relative_to(artifact.path).as_posix(): {"bytes": path.stat().st_size, "sha256": hash_file(path)}
        for path in sorted(artifact.path.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    line = (artifact.kind, artifact.key, artifact.recipe)
    manifest = make_manifest(line, artifact.created, artifact.meta, files)
    write_json(artifact.path / MANIFEST, manifest)
    return dataclasses.replace(artifact, version=manifest["version"])


def tree_bytes(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder by its relative path."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }
