"""Dataset versions for other tools: as a LeRobot dataset, or as one motion NPZ an episode."""

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from assets.building import Progress
from beyondmimic_data.errors import StoreError
from beyondmimic_data.files import path_below, whole_folder, write_json
from storage.artifacts import Artifact, describe, require_free_space

if TYPE_CHECKING:
    import numpy as np

    from beyondmimic_data.motions.npz_export import Order, States
    from storage.episode_stream import EpisodeStream
    from storage.schema import StepSchema

Format = Literal["lerobot", "npz"]
ROBOT_TYPE = "unitree_g1"
"""What LeRobot datasets call the robot."""
STEP_BYTES = 2048
"""Enough for a step of 342 float32, or of the 448 of an NPZ."""


def export_dataset(
    dataset: Artifact,
    form: Format,
    folder: Path,
    *,
    skills: Collection[str] = (),
    order: "Order" = "breadth-first",
    progress: Progress,
) -> dict[str, Any]:
    """Write a dataset version for other tools; the folder appears whole or not at all.

    Args:
        dataset: what is exported.
        form: layout.
        folder: where to; it must not exist, or be empty.
        skills: only these, all by default.
        order: of joints and bodies in NPZ files.
        progress: receives lines about how far it is.

    Returns:
        What was written, as plain JSON.

    Raises:
        StoreError: the folder is in use, the disk has not enough room, there is no such skill, or steps are
            missing or damaged.
    """
    from storage.episode_stream import EpisodeStream
    from storage.lerobot_export import write_lerobot

    folder = folder.absolute()
    stream = EpisodeStream(dataset, skills or None)
    with whole_folder(folder) as temporary:
        require_free_space(folder, stream.num_steps * STEP_BYTES)
        if form == "lerobot":
            write_lerobot(temporary, stream, robot_type=ROBOT_TYPE, progress=progress)
        else:
            _write_npz(temporary, stream, order, progress)
        size = sum(path.stat().st_size for path in temporary.rglob("*") if path.is_file())
    return {
        "dataset": describe(dataset),
        "format": form,
        "folder": str(folder),
        "skills": list(stream.rollouts),
        "episodes": len(stream),
        "steps": stream.num_steps,
        "hours": stream.num_steps / stream.schema.control_hz / 3600,
        "bytes": size,
    }


def _write_npz(folder: Path, stream: "EpisodeStream", order: "Order", progress: Progress) -> None:
    """Write one NPZ an episode below its skill, the episode index, and where all of it comes from."""
    import pyarrow as pa

    from beyondmimic_data.motions.npz_export import order_names, write_episode
    from storage.episode_index import write_episodes
    from storage.layout import EPISODES

    rate = stream.schema.control_hz
    files = []
    for episode in stream.read(progress):
        path = path_below(folder, episode.entry["skill"], f"{episode.entry['episode_id']}.npz")
        write_episode(path, _states(stream.schema, episode.rows), rate, order, stream.precision)
        files.append(path.relative_to(folder).as_posix())
    index = stream.episodes.drop_columns(["unit", "start_row"]).append_column("file", pa.array(files))
    write_episodes(folder / EPISODES, index)
    bodies, joints = order_names(order)
    names = {"order": order, "body_names": bodies, "joint_names": joints, "quaternion_order": "wxyz"}
    source = {name: line for name, line in stream.source().items() if name != "steps"}
    write_json(folder / "source.json", {**source, "fps": rate, **names})


def _states(schema: "StepSchema", rows: "np.ndarray") -> "States":
    """Return what an episode's rows say of the robot, in the robot's orders whatever the store's are."""
    from beyondmimic_data.motions.npz_export import States
    from beyondmimic_data.robots import g1

    names = {"body": (schema.body_names, g1.BODY_NAMES), "joint": (schema.joint_names, g1.JOINT_NAMES)}
    for kind, (found, expected) in names.items():
        if set(found) != set(expected):
            raise StoreError(f"steps: {kind}_names: found {sorted(found)}, expected those of the G1")
    values = {}
    for field in dataclasses.fields(States):
        values[field.name] = schema.take(rows, field.name)
        kind = field.name.partition("_")[0]
        if kind in names:
            found, expected = names[kind]
            values[field.name] = values[field.name][:, [found.index(name) for name in expected]]
    return States(**values)
