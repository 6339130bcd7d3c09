"""The papers' joystick: forward, backward, left, right (METHOD 2.11, E6)."""

from typing import Any

import numpy as np

from beyondmimic_data.control.closed_loop import Recording
from beyondmimic_data.control.pilot import JoystickPilot
from beyondmimic_data.control.protocols import starts
from beyondmimic_data.control.protocols.commands import Command, one_after_another
from beyondmimic_data.control.protocols.judging import mean_of, mean_velocity
from beyondmimic_data.control.protocols.protocol import Judgement, Protocol, Setting, Task, register_protocol

COMMANDS = (
    Command("forward", (0.6, 0.0)),
    Command("backward", (-0.4, 0.0)),
    Command("left", (0.3, 0.0), 0.8),
    Command("right", (0.3, 0.0), -0.8),
)
"""Forward, backward, turn left, turn right (METHOD 2.11); speeds are this project's choice."""
COMMAND_SECONDS = 3.0
"""Length of each command (METHOD 2.11)."""
SETTLING_SECONDS = 1.0
"""s at the start of each command that do not count."""
VELOCITY_TOLERANCE = 0.25
"""m/s, error of the mean velocity that still counts as following; the paper names none."""
TOLERANCES = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4)
"""m/s, other tolerances that success is reported for."""
TURN_SHARE = 0.5
"""Share of the commanded turn that still counts as following."""


def judge(recording: Recording) -> Judgement:
    """Succeed without a fall, each command followed: mean velocity within tolerance, turned far enough."""
    up = ~recording.fell
    hz = recording.control_hz
    errors, turns = [], []
    figures: dict[str, Any] = {}
    for index, command in enumerate(COMMANDS):
        first = round((index * COMMAND_SECONDS + SETTLING_SECONDS) * hz)
        last = round((index + 1) * COMMAND_SECONDS * hz)
        if last >= len(recording.qpos):  # all fell before this command ended
            break
        mean = mean_velocity(recording, first, last)
        error = np.linalg.norm(mean[:, :2] - np.array(command.velocity), axis=-1)
        turned = recording.yaw[last] - recording.yaw[first]
        wanted = command.yaw_rate * (COMMAND_SECONDS - SETTLING_SECONDS)
        turns.append(turned * np.sign(wanted) >= TURN_SHARE * abs(wanted))
        errors.append(error)
        figures[command.name] = {
            "velocity": list(command.velocity),
            "yaw_rate": command.yaw_rate,
            "following": float(((error < VELOCITY_TOLERANCE) & turns[-1] & up).mean()),
            "velocity_error_m_s": mean_of(error, up),
            "mean_velocity_m_s": [mean_of(mean[:, i], up) for i in range(2)],
            "turned_rad": mean_of(turned, up),
        }

    def following(tolerance: float) -> np.ndarray:
        if len(errors) < len(COMMANDS):
            return np.zeros_like(up)
        return up & np.all(turns, axis=0) & (np.max(errors, axis=0) < tolerance)

    return following(VELOCITY_TOLERANCE), {
        "commands": figures,
        "success_by_tolerance": {f"{t:g}": float(following(t).mean()) for t in TOLERANCES},
    }


def make(setting: Setting) -> Task:
    """Return the task: the same commands for all."""
    track = one_after_another(COMMANDS, COMMAND_SECONDS, setting.n, setting.control_hz)
    return Task(judge=judge, steer=JoystickPilot(track, setting.guidance, setting.control_hz).steer)


register_protocol(
    Protocol(
        name="joystick",
        description="Forward 0.6, backward 0.4 m/s, left and right at 0.3 m/s and 0.8 rad/s, 3 s each, by "
        "guidance alone. Success: no fall, and in the last 2 s of each command the mean velocity is within "
        "0.25 m/s of it and at least half of the turn is made.",
        seconds=len(COMMANDS) * COMMAND_SECONDS,
        start=starts.upright,
        start_name="upright",
        make=make,
        criteria={"velocity_tolerance_m_s": VELOCITY_TOLERANCE, "turn_share": TURN_SHARE},
    )
)
