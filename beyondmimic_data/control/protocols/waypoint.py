"""Going to a point and stopping there (METHOD E9)."""

import math

import numpy as np
import torch

from beyondmimic_data.control.closed_loop import Recording
from beyondmimic_data.control.pilot import WaypointPilot
from beyondmimic_data.control.protocols import starts
from beyondmimic_data.control.protocols.judging import mean_of
from beyondmimic_data.control.protocols.protocol import Judgement, Protocol, Setting, Task, register_protocol

DIRECTIONS = 8
"""Directions of goals, evenly round the start's heading; robots are dealt out over them in turn."""
DISTANCE = (3.0, 6.0)
"""m, range of how far goals are."""
REACHED = 0.3
"""m from the goal that counts as there."""
STOPPED = 0.2
"""m/s that counts as standing."""
HELD_SECONDS = 0.5
"""s for which it has to be there and stand."""


def distance_to(goal: torch.Tensor, recording: Recording) -> np.ndarray:
    """Return distances (S + 1, N) of roots from goals (N, 2) on the floor, m."""
    return np.linalg.norm(recording.qpos[:, :, :2] - goal.double().numpy(), axis=-1)


def first_time(held: np.ndarray, rows: int, control_hz: float) -> np.ndarray:
    """Return when (N,) s a condition (S + 1, N) has first held for some rows on end; infinite if never."""
    count = np.cumsum(np.concatenate([np.zeros_like(held[:1], int), held.astype(int)]), axis=0)
    if len(held) < rows:
        return np.full(held.shape[1], np.inf)
    whole = count[rows:] - count[:-rows] == rows
    return np.where(whole.any(0), (whole.argmax(0) + rows - 1) / control_hz, np.inf)


def arrival(goal: torch.Tensor, recording: Recording) -> np.ndarray:
    """Return when (N,) s robots have stood at their goals for long enough; infinite if never."""
    speed = np.linalg.norm(recording.root_lin_vel[:, :, :2], axis=-1)
    there = (distance_to(goal, recording) < REACHED) & (speed < STOPPED)
    return first_time(there, round(HELD_SECONDS * recording.control_hz), recording.control_hz)


def goals(setting: Setting) -> torch.Tensor:
    """Return goals (N, 2) in the world, m."""
    angle = 2 * math.pi / DIRECTIONS * np.arange(setting.n)
    distance = setting.rng().uniform(*DISTANCE, setting.n)
    local = np.stack([distance * np.cos(angle), distance * np.sin(angle)], -1).astype(np.float32)
    return setting.frame.to_world(torch.from_numpy(local)[:, None])[:, 0]


def make(setting: Setting) -> Task:
    """Return the task: a goal of its own for each robot."""
    goal = goals(setting)

    def judge(recording: Recording) -> Judgement:
        success = np.isfinite(arrival(goal, recording)) & ~recording.fell
        return success, {
            "mean_seconds_to_goal": mean_of(arrival(goal, recording), success),
            "mean_closest_m": mean_of(np.nanmin(distance_to(goal, recording), axis=0)),
            "success_by_direction": {
                f"{360 * i / DIRECTIONS:g}": mean_of(success[i::DIRECTIONS].astype(float))
                for i in range(min(DIRECTIONS, setting.n))
            },
        }

    return Task(judge=judge, steer=WaypointPilot(goal, setting.guidance, setting.control_hz).steer, goal=goal)


register_protocol(
    Protocol(
        name="waypoint",
        description="A goal U(3, 6) m away in one of eight directions. Success: within 20 s the root stays "
        "within 0.3 m of the goal at under 0.2 m/s for half a second, and there is no fall.",
        seconds=20.0,
        start=starts.upright,
        start_name="upright",
        make=make,
        criteria={"reached_m": REACHED, "stopped_m_s": STOPPED, "held_s": HELD_SECONDS},
    )
)
