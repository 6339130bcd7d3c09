"""Walking forward on command under pushes: what a policy that stops cannot pass."""

import numpy as np
import torch

from beyondmimic_data.control.closed_loop import Recording
from beyondmimic_data.control.pilot import CommandTrack, JoystickPilot
from beyondmimic_data.control.protocols import starts
from beyondmimic_data.control.protocols.judging import mean_of, mean_velocity
from beyondmimic_data.control.protocols.perturb import PUSH_INTERVAL, PUSH_SPEED, pusher
from beyondmimic_data.control.protocols.protocol import (
    Judgement,
    Protocol,
    Setting,
    Task,
    rate,
    register_protocol,
)

SPEED = 0.5
"""m/s, commanded forward."""
TOLERANCE = 0.15
"""m/s, error of the mean forward velocity that still counts."""
SETTLING_SECONDS = 2.0
"""s at the start that do not count."""


def judge(recording: Recording) -> Judgement:
    """Succeed without a fall, at the commanded speed on average."""
    up = ~recording.fell
    found = mean_velocity(recording, round(SETTLING_SECONDS * recording.control_hz))
    success = up & (np.abs(found[:, 0] - SPEED) <= TOLERANCE)
    upright = rate(up)
    return success, {
        "up_rate": upright["success_rate"],
        "up_wilson_low": upright["wilson_low"],
        "up_wilson_high": upright["wilson_high"],
        "mean_speed_m_s": mean_of(found[:, 0], up),
        "mean_velocity_m_s": [mean_of(found[:, i], up) for i in range(2)],
        "mean_yaw_rate_rad_s": mean_of(found[:, 2], up),
    }


def make(setting: Setting) -> Task:
    """Return the task: one command for all."""
    track = CommandTrack(torch.tensor([SPEED, 0.0]).expand(1, setting.n, 2), torch.zeros(1, setting.n))
    return Task(
        judge=judge,
        steer=JoystickPilot(track, setting.guidance, setting.control_hz).steer,
        push=pusher(setting.n, setting.control_hz, setting.seed),
    )


register_protocol(
    Protocol(
        name="commanded_walk",
        description="15 s from an upright start, commanded 0.5 m/s forward and pushed like walk_perturb. "
        "Success: no fall, and after the first 2 s the mean forward velocity is within 0.15 m/s of the "
        "command. `up_rate` counts falls alone.",
        seconds=15.0,
        start=starts.upright,
        start_name="upright",
        make=make,
        criteria={
            "speed_m_s": SPEED,
            "velocity_tolerance_m_s": TOLERANCE,
            "push_speed_m_s": PUSH_SPEED[1],
            "push_interval_s": PUSH_INTERVAL,
        },
    )
)
