"""How far velocities are from those commanded, in steady state (METHOD E7)."""

from typing import Any

import numpy as np

from beyondmimic_data.control.closed_loop import Recording
from beyondmimic_data.control.pilot import JoystickPilot
from beyondmimic_data.control.protocols import starts
from beyondmimic_data.control.protocols.commands import Command, one_each
from beyondmimic_data.control.protocols.judging import mean_of, mean_velocity
from beyondmimic_data.control.protocols.protocol import Judgement, Protocol, Setting, Task, register_protocol

GRID = (
    *(Command(f"forward {v:g}", (v, 0.0)) for v in (-0.4, -0.2, 0.2, 0.4, 0.6, 0.8)),
    *(Command(f"left {v:g}", (0.0, v)) for v in (-0.3, 0.3)),
    *(Command(f"turn {w:g}", (0.3, 0.0), w) for w in (-0.8, -0.4, 0.4, 0.8)),
)
"""Commands; robots are dealt out over them in turn."""
SETTLING_SECONDS = 3.0
"""s at the start that do not count."""
TOLERANCE = 0.25
"""Relative error that still counts as following."""


def judge(recording: Recording) -> Judgement:
    """Succeed without a fall and within a relative error: of velocity, or of yaw rate in a turn."""
    up = ~recording.fell
    command = np.array([GRID[i % len(GRID)].velocity for i in range(len(up))])
    yaw_rate = np.array([GRID[i % len(GRID)].yaw_rate for i in range(len(up))])
    size = np.linalg.norm(command, axis=-1)
    first = round(SETTLING_SECONDS * recording.control_hz)
    found = mean_velocity(recording, first)
    error = np.linalg.norm(found[:, :2] - command, axis=-1) / size
    each = np.linalg.norm(recording.root_lin_vel[first:, :, :2] - command, axis=-1) / size
    instant = each.mean(0) if len(each) else np.full(len(up), np.nan)
    turning = yaw_rate != 0
    yaw_error = np.abs(found[:, 2] - yaw_rate) / np.where(turning, np.abs(yaw_rate), np.nan)
    table: list[dict[str, Any]] = []
    for index, asked in enumerate(GRID):
        chosen = (np.arange(len(up)) % len(GRID) == index) & up
        table.append(
            {
                "command": asked.name,
                "velocity": list(asked.velocity),
                "yaw_rate": asked.yaw_rate,
                "n": len(up[index :: len(GRID)]),
                "falls": int((~up[index :: len(GRID)]).sum()),
                "mean_velocity_m_s": [mean_of(found[:, i], chosen) for i in range(2)],
                "mean_yaw_rate_rad_s": mean_of(found[:, 2], chosen),
                "velocity_error_percent": _percent(error, chosen),
                "instant_error_percent": _percent(instant, chosen),
                "yaw_rate_error_percent": _percent(yaw_error, chosen),
            }
        )
    planar = [line for line in table if line["yaw_rate"] == 0]
    return up & (np.where(turning, yaw_error, error) <= TOLERANCE), {
        "velocity_error_percent": _mean_over(planar, "velocity_error_percent"),
        "instant_error_percent": _mean_over(planar, "instant_error_percent"),
        "yaw_rate_error_percent": _mean_over(table, "yaw_rate_error_percent"),
        "grid": table,
    }


def _percent(values: np.ndarray, chosen: np.ndarray) -> float | None:
    mean = mean_of(values, chosen)
    return None if mean is None else 100 * mean


def _mean_over(lines: list[dict[str, Any]], name: str) -> float | None:
    return mean_of(np.array([line[name] for line in lines], float))


def make(setting: Setting) -> Task:
    """Return the task: one command a robot."""
    track = one_each(GRID, setting.n)
    return Task(judge=judge, steer=JoystickPilot(track, setting.guidance, setting.control_hz).steer)


register_protocol(
    Protocol(
        name="velocity_grid",
        description="One command a robot for 8 s, of forward -0.4 to 0.8 m/s, sideways 0.3 m/s either way, "
        "and turns of 0.4 and 0.8 rad/s either way at 0.3 m/s; the first 3 s do not count. The error of a "
        "command without a turn is the mean velocity's distance from it over its size (`instant`: the mean "
        "over steps of that distance), of a turn the same of the yaw rate; figures are means over commands "
        "of runs that stayed up. Success: no fall and an error of at most 25 %.",
        seconds=8.0,
        start=starts.upright,
        start_name="upright",
        make=make,
        criteria={"relative_error": TOLERANCE},
    )
)
