"""A minute of commands that change at random."""

import numpy as np
import torch

from beyondmimic_data.control.closed_loop import Recording
from beyondmimic_data.control.pilot import CommandTrack, JoystickPilot
from beyondmimic_data.control.protocols import starts
from beyondmimic_data.control.protocols.judging import command_errors, mean_of
from beyondmimic_data.control.protocols.protocol import Judgement, Protocol, Setting, Task, register_protocol

SEGMENT_SECONDS = (1.0, 3.0)
"""s, range of how long a command lasts."""
FORWARD, BACKWARD, SIDEWAYS, TURN, ARC_SPEED = (0.2, 0.8), (-0.4, -0.2), (0.15, 0.3), (0.3, 0.8), (0.2, 0.6)
"""Ranges of commands, m/s and rad/s; the last one goes with a turn."""


def draw_command(rng: np.random.Generator) -> tuple[float, float, float]:
    """Return forward and left velocity in m/s and yaw rate in rad/s of one of six kinds of command."""
    side = rng.choice((-1.0, 1.0))
    kind = rng.choice(("stop", "forward", "backward", "sideways", "arc", "turn"))
    if kind == "forward":
        return rng.uniform(*FORWARD), 0.0, 0.0
    if kind == "backward":
        return rng.uniform(*BACKWARD), 0.0, 0.0
    if kind == "sideways":
        return 0.0, side * rng.uniform(*SIDEWAYS), 0.0
    if kind == "arc":
        return rng.uniform(*ARC_SPEED), 0.0, side * rng.uniform(*TURN)
    if kind == "turn":
        return 0.0, 0.0, side * rng.uniform(*TURN)
    return 0.0, 0.0, 0.0


def draw_track(n: int, steps: int, control_hz: float, rng: np.random.Generator) -> CommandTrack:
    """Return commands of n robots, each with changes of its own."""
    commands = np.zeros((steps, n, 3), np.float32)
    for robot in range(n):
        step = 0
        while step < steps:
            length = round(rng.uniform(*SEGMENT_SECONDS) * control_hz)
            commands[step : step + length, robot] = draw_command(rng)
            step += length
    tracked = torch.from_numpy(commands)
    return CommandTrack(tracked[..., :2], tracked[..., 2])


def judge(recording: Recording) -> Judgement:
    """Succeed without a fall; errors of the velocities averaged over half a second."""
    up = ~recording.fell
    velocity, yaw_rate = command_errors(recording)
    return up, {
        "velocity_error_m_s": mean_of(velocity, up),
        "yaw_rate_error_rad_s": mean_of(yaw_rate, up),
    }


def make(setting: Setting) -> Task:
    """Return the task: commands of its own for each robot."""
    track = draw_track(setting.n, setting.steps, setting.control_hz, setting.rng())
    return Task(judge=judge, steer=JoystickPilot(track, setting.guidance, setting.control_hz).steer)


register_protocol(
    Protocol(
        name="random_joystick",
        description="60 s; the command changes every U(1, 3) s among stop, forward 0.2 to 0.8, backward 0.2 "
        "to 0.4, sideways 0.15 to 0.3 m/s, arcs of 0.2 to 0.6 m/s with 0.3 to 0.8 rad/s, and turns in place. "
        "Success: no fall. Errors are of velocities averaged over half a second, changes of command "
        "included, in runs that stayed up.",
        seconds=60.0,
        start=starts.upright,
        start_name="upright",
        make=make,
    )
)
