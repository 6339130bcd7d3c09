"""A store with small rollouts of the real robot and two dataset versions, for the verbs about datasets."""

from pathlib import Path

import mujoco
import numpy as np

from beyondmimic_data.motions import kinematics
from beyondmimic_data.robots import g1, g1_facts
from storage.artifacts import Artifact, ArtifactStore, describe
from storage.datasets import write_dataset
from storage.schema import StepSchema, trajectory_schema
from storage.trajectory_writer import TrajectoryWriter

HZ = 50.0
CHUNK_STEPS = 256
STAND, WALK, WALK_AGAIN, HOP, OLD, NEW = (
    name.ljust(16, "0") for name in ("51", "a1", "a2", "41", "aaa1", "bbb2")
)
"""Recipes of the rollouts and of both datasets."""
LENGTHS = (80, 60, 100)
"""Steps of each episode."""


def schema_of(skill: str) -> StepSchema:
    """Return the columns of a skill's rollouts."""
    return trajectory_schema(
        joint_names=g1.JOINT_NAMES,
        body_names=g1.BODY_NAMES,
        foot_names=g1_facts.FOOT_BODIES,
        clip_names=(skill,),
        control_hz=HZ,
    )


def rows_of(schema: StepSchema, length: int, seed: int) -> np.ndarray:
    """Return (length, 342) steps: the robot sways, and MuJoCo says where its links are and how fast."""
    generator = np.random.default_rng(seed)
    model = kinematics.model()
    data = mujoco.MjData(model)
    bodies = [mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, name) for name in g1.BODY_NAMES]
    rows = np.zeros((length, schema.num_columns), np.float32)
    phase = generator.uniform(0, 2 * np.pi, 29)
    for step in range(length):
        angle = 2 * np.pi * step / HZ + phase
        data.qpos[:] = g1.default_qpos()
        data.qpos[7:] += 0.1 * np.sin(angle)
        data.qvel[:6] = 0.1 * generator.normal(size=6)
        data.qvel[6:] = 0.2 * np.pi * np.cos(angle)
        mujoco.mj_forward(model, data)
        spatial = np.zeros((len(bodies), 6))
        for row, body in zip(spatial, bodies):
            mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_XBODY, body, row, 0)
        values = {
            "root_pos_w": data.qpos[:3],
            "root_quat_w": data.qpos[3:7],
            "root_lin_vel_w": spatial[0, 3:],
            "root_ang_vel_w": spatial[0, :3],
            "body_pos_w": data.xpos[bodies],
            "body_lin_vel_w": spatial[:, 3:],
            "joint_pos": data.qpos[7:],
            "joint_vel": data.qvel[6:],
            "action_clean": generator.normal(size=29),
            "action_cmd": generator.normal(size=29),
            "action_noise_free": generator.normal(size=29),
            "phase": np.array(step / length),
        }
        for name, value in values.items():
            rows[step, schema.slice(name)] = value.reshape(-1)
    return rows


def build_rollouts(
    store: ArtifactStore, skill: str, recipe: str, seed: int, episode: str = "{skill}-00000-{number:06d}"
) -> Artifact:
    """Build a skill's rollouts of one unit, whose episodes are named by a pattern."""
    schema = schema_of(skill)
    with store.build("rollouts", skill, recipe) as build:
        writer = TrajectoryWriter.create(build.path, schema, units=1, chunk_steps=CHUNK_STEPS)
        episodes, start = [], 0
        for number, length in enumerate(LENGTHS):
            name = episode.format(skill=skill, number=number)
            entry = {"episode_id": name, "skill": skill, "clip": skill, "unit": 0}
            episodes.append(entry | {"start_row": start, "length": length, "termination": "clip_end"})
            start += length
        rows = np.concatenate([rows_of(schema, n, seed + i) for i, n in enumerate(LENGTHS)])
        writer.write_unit(0, [rows], episodes)
        build.digests.update(writer.finish())
        build.meta["parents"] = []
    found = store.find("rollouts", skill, recipe)
    assert found is not None
    return found


def build_dataset(store: ArtifactStore, recipe: str, *rollouts: Artifact) -> None:
    """Build a dataset version of rollouts."""
    with store.build("datasets", "all", recipe) as build:
        pairs = [(artifact.key, artifact) for artifact in rollouts]
        write_dataset(build.path, pairs, {}, validation_fraction=0.3, split_seed=1)
        build.meta["parents"] = [describe(artifact) for artifact in rollouts]


def build_store(root: Path) -> ArtifactStore:
    """Build two dataset versions: ``OLD`` of stand and walk, ``NEW`` of stand, another walk, and hop."""
    store = ArtifactStore(root)
    stand, walk = build_rollouts(store, "stand", STAND, 0), build_rollouts(store, "walk", WALK, 10)
    build_dataset(store, OLD, stand, walk)
    walk, hop = build_rollouts(store, "walk", WALK_AGAIN, 20), build_rollouts(store, "hop", HOP, 30)
    build_dataset(store, NEW, stand, walk, hop)
    return store
