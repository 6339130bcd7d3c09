"""What a tracking policy does, to be looked at: the robot beside its reference."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from beyondmimic_data.config import Preset
from beyondmimic_data.motions.clip import Clip
from beyondmimic_data.sim.mujoco_backend import MujocoBackend
from beyondmimic_data.tracking.evaluate import begin, gate_ranges
from beyondmimic_data.tracking.policy import TrackingPolicy
from beyondmimic_data.tracking.world import TrackingWorld
from beyondmimic_data.video import Scene, write_video

SEED = 4_000_000
"""Decides the pushes and parameters that a video shows; no training or gate uses it."""


def record(policy: TrackingPolicy, clip: Clip, preset: Preset, seconds: float) -> Scene:
    """Play one start of a clip under its gate's conditions, until it ends or the robot falls.

    The reference stands where the clip has it: what separates the two is drift.
    """
    backend = MujocoBackend(1, preset.control, num_threads=1)
    world = begin(backend, [clip], preset, [SEED], gate_ranges(preset))
    steps = min(round(seconds * preset.control.control_hz), clip.num_frames - 1)
    robot, frames, pushes = [], [], []
    with torch.inference_mode():
        for _ in range(steps):
            frame, felt = int(world.frame[0]), len(world.pushes[0])
            ends = world.advance(policy.act(world.observe_actor()))
            robot.append(np.concatenate([_root(world), world.state.joint_pos[0].numpy()]))
            frames.append(frame)
            new = world.pushes[0][felt:]
            pushes.append(new[0].lin_vel if new else np.zeros(3))
            if ends.fell[0]:
                break
            world.advance_reference()
    return Scene(np.array(robot), preset.control.control_hz, np.array(pushes), ghost=clip.qpos[frames])


def write_recording(
    policy: TrackingPolicy, clips: Sequence[Clip], preset: Preset, seconds: float, path: Path
) -> None:
    """Write one video of a policy on each of its clips, one after the other.

    Raises:
        MissingToolError: off-screen rendering does not work on this machine.
    """
    write_video([record(policy, clip, preset, seconds) for clip in clips], path)


def _root(world: TrackingWorld) -> np.ndarray:
    state = world.state
    return np.concatenate([state.root_pos_w[0].numpy(), state.root_quat_w[0].numpy()])
