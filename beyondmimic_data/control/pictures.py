"""Pictures of closed-loop runs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from beyondmimic_data.control.closed_loop import FALLEN_HEAD_HEIGHT, Recording
from beyondmimic_data.control.protocols import Command
from beyondmimic_data.plots import save_figure


def plot_recording(recording: Recording, commands: Sequence[Command], path: Path) -> None:
    """Draw head height, forward velocity and turn rate of every robot over time, and their paths."""
    figure = Figure(figsize=(9, 5), dpi=80, layout="constrained")
    height, speed, turn, path_axes = figure.subplots(2, 2).flat
    t = np.arange(len(recording.qpos)) / recording.control_hz
    style = {"lw": 0.7, "alpha": 0.6}
    height.plot(t, recording.head_height, **style)
    height.axhline(FALLEN_HEAD_HEIGHT, color="k", ls=":")
    height.set(ylabel="head height, m", xlabel="s", ylim=(0, 1.6))
    speed.plot(t, recording.root_lin_vel[:, :, 0], **style)
    speed.set(ylabel="forward velocity, m/s", xlabel="s", ylim=(-1.5, 1.5))
    rate = np.gradient(recording.yaw, 1 / recording.control_hz, axis=0)
    turn.plot(t, rate, **style)
    turn.set(ylabel="turn rate, rad/s", xlabel="s", ylim=(-3, 3))
    start = 0.0
    for command in commands:
        span = [start, start + command.seconds]
        speed.plot(span, [command.velocity[0]] * 2, "k", lw=2)
        if command.yaw_rate is not None:
            turn.plot(span, [command.yaw_rate] * 2, "k", lw=2)
        start += command.seconds
    moved = recording.qpos[:, :, :2] - recording.qpos[:1, :, :2]
    path_axes.plot(moved[..., 0], moved[..., 1], **style)
    path_axes.set(xlabel="x, m", ylabel="y, m", aspect="equal")
    save_figure(figure, path)
