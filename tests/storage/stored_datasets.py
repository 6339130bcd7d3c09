"""Small datasets of the rollouts that name their own episode and step, with actions, for tests of exports."""

import dataclasses

from stored_rollouts import SCHEMA

from storage.artifacts import Artifact, ArtifactStore, describe
from storage.datasets import write_dataset
from storage.schema import Column, StepSchema

ACTING = StepSchema(
    columns=(
        Column("episode", (), description="number of the episode"),
        Column("step", (), description="step in its episode"),
        Column("action_clean", (2,), "action", names=("left", "right")),
        Column("action_cmd", (2,), "action", names=("left", "right")),
        Column("phase", ()),
        Column("clip_id", ()),
    ),
    control_hz=SCHEMA.control_hz,
    joint_names=SCHEMA.joint_names,
    clip_names=SCHEMA.clip_names,
)
"""Columns for the rows of ``stored_rollouts``: as many, with actions among them."""
SLOW = dataclasses.replace(ACTING, control_hz=12.5)


def build_dataset(
    store: ArtifactStore,
    recipe: str,
    *rollouts: Artifact,
    fraction: float = 0.3,
    seed: int = 42,
    left_out: dict[str, str] | None = None,
) -> Artifact:
    """Build a dataset artifact of rollouts."""
    with store.build("datasets", "all", recipe) as build:
        pairs = [(artifact.key, artifact) for artifact in rollouts]
        write_dataset(build.path, pairs, left_out or {}, validation_fraction=fraction, split_seed=seed)
        build.meta["parents"] = [describe(artifact) for artifact in rollouts]
    dataset = store.find("datasets", "all", recipe)
    assert dataset is not None
    return dataset


def identity(entry: dict) -> int:
    """Return the number that an episode's rows name themselves by."""
    return int(str(entry["episode_id"]).rpartition("-")[2])
