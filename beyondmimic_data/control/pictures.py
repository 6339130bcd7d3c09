"""One picture a protocol: where the robots went, and how fast."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from scipy.ndimage import uniform_filter1d

from beyondmimic_data.control.closed_loop import FALLEN_HEAD_HEIGHT, Recording
from beyondmimic_data.control.protocols.protocol import Task
from beyondmimic_data.plots import save_figure

SHOWN_PATHS = 100
"""Paths drawn at most."""
UP_COLOUR, FELL_COLOUR, GOAL_COLOUR, PILLAR_COLOUR = "#3b6ea5", "#c0392b", "#2e8b57", "#8a8a8a"
SERIES = (
    ("forward", "m/s", "#3b6ea5"),
    ("left", "m/s", "#c98a1b"),
    ("turn", "rad/s", "#7d4f9e"),
)
"""Name, unit and colour of each velocity that can be commanded."""
SMOOTHED_SECONDS = 0.5
"""s that velocities are averaged over before they are drawn: about a step."""


def plot_run(name: str, figures: dict[str, Any], recording: Recording, task: Task, path: Path) -> None:
    """Draw all paths from above, each in its start's frame, and velocities over time.

    Args:
        name: of the protocol.
        figures: its success.
        recording: what the robots did.
        task: its goals and pillars.
        path: PNG to write.
    """
    figure = Figure(figsize=(10, 4.6), dpi=75, layout="constrained")
    above, speed = figure.subplots(1, 2)
    figure.suptitle(
        f"{name}: {figures['success_rate']:.0%} of {figures['n']} succeed, {figures['falls']} fall"
    )
    _draw_paths(above, recording, task, np.array(figures["success"]))
    if recording.command is None:
        _draw_speed(speed, recording)
    else:
        _draw_commands(speed, recording, recording.command)
    save_figure(figure, path)


def _in_start_frame(points: np.ndarray, recording: Recording) -> np.ndarray:
    """Return points (..., N, 2) of the world seen from each robot's start (N,), m."""
    offset = points - recording.qpos[0, :, :2]
    c, s = np.cos(recording.yaw[0]), np.sin(recording.yaw[0])
    x, y = offset[..., 0], offset[..., 1]
    return np.stack([c * x + s * y, -s * x + c * y], -1)


def _draw_paths(axes: Axes, recording: Recording, task: Task, success: np.ndarray) -> None:
    paths = _in_start_frame(recording.qpos[:, :, :2], recording)
    up = recording.head_height > FALLEN_HEAD_HEIGHT
    # Rows until the fall; a robot on the floor goes nowhere.
    lengths = np.where(up.all(0), len(up), up.argmin(0) + 1)
    if task.pillars is not None:
        for x, y in _in_start_frame(task.pillars.centre.double().numpy().swapaxes(0, 1), recording)[:, 0]:
            axes.add_patch(Circle((x, y), task.pillars.radius, color=PILLAR_COLOUR, lw=0))
        axes.plot([], [], "o", color=PILLAR_COLOUR, label="pillars of run 0 (thick)")
    for i in range(min(paths.shape[1], SHOWN_PATHS)):
        track, first = paths[: lengths[i], i], task.pillars is not None and i == 0
        colour = UP_COLOUR if success[i] else FELL_COLOUR
        axes.plot(*track.T, color=colour, lw=2.0 if first else 0.7, alpha=1.0 if first else 0.5)
        if recording.fell[i]:
            axes.plot(*track[-1], "x", color=FELL_COLOUR, ms=7, mew=2)
    if task.goal is not None:
        goal = _in_start_frame(task.goal.double().numpy(), recording)[:SHOWN_PATHS]
        axes.plot(*goal.T, "o", color=GOAL_COLOUR, ms=4, mfc="none")
    legend = (
        (UP_COLOUR, "-", "success", success.any()),
        (FELL_COLOUR, "-", "no success", not success.all()),
        (FELL_COLOUR, "x", "fall", recording.fell.any()),
        (GOAL_COLOUR, "o", "goal", task.goal is not None),
    )
    for colour, style, label, present in legend:
        if present:
            axes.plot([], [], style, color=colour, label=label, mfc="none")
    axes.set(xlabel="ahead of the start, m", ylabel="left of the start, m", aspect="equal")
    axes.set_adjustable("datalim")
    axes.legend(fontsize="small", loc="best")


def _draw_speed(axes: Axes, recording: Recording) -> None:
    speed = np.linalg.norm(recording.root_lin_vel[..., :2], axis=-1)
    _draw_band(axes, speed, recording, SERIES[0][2], "planar speed, mean and 10 to 90 %")
    axes.set(xlabel="time, s", ylabel="m/s")
    axes.legend(fontsize="small", loc="best")


def _draw_commands(axes: Axes, recording: Recording, command: np.ndarray) -> None:
    found = np.concatenate([recording.root_lin_vel[..., :2], recording.yaw_rate[..., None]], -1)
    t = np.arange(len(command)) / recording.control_hz
    alike = bool((command[1:] == command[1:, :1]).all())
    for i, (label, unit, colour) in enumerate(SERIES):
        if not np.nan_to_num(command[..., i]).any():
            continue
        if alike:
            axes.plot(t, command[:, 0, i], color=colour, ls="--", lw=1.2, label=f"{label}, {unit}: commanded")
            _draw_band(axes, found[..., i], recording, colour, "found, mean and 10 to 90 %")
        else:
            _draw_band(
                axes,
                found[..., i] - command[..., i],
                recording,
                colour,
                f"{label}, {unit}: found - commanded",
            )
    axes.set(xlabel="time, s", ylabel="m/s, rad/s")
    axes.legend(fontsize="small", loc="best")


def _draw_band(axes: Axes, values: np.ndarray, recording: Recording, colour: str, label: str) -> None:
    """Draw the mean over the robots that are up and the band of four fifths of them; ``values`` is (S, N)."""
    up = np.logical_and.accumulate(recording.head_height > FALLEN_HEAD_HEIGHT, axis=0)
    rows = np.flatnonzero(up.any(1))
    width = round(SMOOTHED_SECONDS * recording.control_hz)
    smooth = uniform_filter1d(np.nan_to_num(values), width, axis=0, mode="nearest")
    shown = np.where(up, smooth, np.nan)[rows]
    t = rows / recording.control_hz
    axes.plot(t, np.nanmean(shown, axis=1), color=colour, lw=1.5, label=label)
    axes.fill_between(t, *np.nanpercentile(shown, (10, 90), axis=1), color=colour, alpha=0.2, lw=0)
