"""Recordings of robots that do what a test says."""

import numpy as np
import torch

from beyondmimic_data.control.closed_loop import Recording
from beyondmimic_data.control.pilot import CommandTrack
from beyondmimic_data.robots import g1

HZ = 50.0


def record(seconds: float, n: int) -> Recording:
    """Return robots that stand still."""
    steps = round(seconds * HZ)
    return Recording(
        qpos=np.tile(g1.default_qpos(), (steps + 1, n, 1)),
        root_lin_vel=np.zeros((steps + 1, n, 3)),
        yaw=np.zeros((steps + 1, n)),
        head_height=np.full((steps + 1, n), 1.2),
        pushes=np.zeros((steps + 1, n, 3)),
        actions=np.zeros((steps + 1, n, 29)),
        latency_ms=np.zeros(n),
        network_calls=5,
        plan_ms=np.full(steps, 5.0),
        control_hz=HZ,
    )


def obey(track: CommandTrack, seconds: float) -> Recording:
    """Return robots that do exactly what a track says, from its first step on."""
    n = track.velocity.shape[1]
    recording = record(seconds, n)
    steps = len(recording.qpos) - 1
    command = np.full((steps + 1, n, 3), np.nan)
    for step in range(steps):
        velocity, yaw_rate = track.at(step)
        command[step + 1] = torch.cat([velocity, yaw_rate[:, None]], -1).numpy()
    recording.root_lin_vel[1:, :, :2] = command[1:, :, :2]
    recording.root_lin_vel[0] = recording.root_lin_vel[1]
    recording.yaw[1:] = np.cumsum(command[1:, :, 2] / HZ, axis=0)
    return Recording(**{**vars(recording), "command": command})


def walk_to(points: np.ndarray, recording: Recording) -> None:
    """Set the planar path (S + 1, N, 2) of a recording, with its velocity at no turn."""
    recording.qpos[:, :, :2] = points
    recording.root_lin_vel[:, :, :2] = np.gradient(points, 1 / HZ, axis=0)
