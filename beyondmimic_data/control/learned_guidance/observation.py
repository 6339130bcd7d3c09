"""What a learned guidance sees of each robot."""

import torch

from beyondmimic_data import rotations
from beyondmimic_data.control.closed_loop import ClosedLoop
from beyondmimic_data.control.settings import SETTINGS
from beyondmimic_data.diffusion.frames import Frames

SMOOTHING_SECONDS = 0.4
"""Time constant of the smoothed error; about a step, so that sway is not in it."""
AXES = ("forward", "left", "turn")
FEATURES = (
    *(f"command_{axis}" for axis in AXES),
    *(f"found_{axis}" for axis in AXES),
    *(f"smoothed_error_{axis}" for axis in AXES),
    "base_height",
    *(f"gravity_{axis}" for axis in "xyz"),
    *(f"planned_{axis}" for axis in AXES),
    *(f"last_{name}" for name in SETTINGS),
)
"""Entries of an observation, in order: m/s, rad/s and m; settings as shares of their bounds, -1 to 1."""


def found_velocity(history: Frames) -> torch.Tensor:
    """Return the present velocity (N, 3): m/s forward and left of the heading, rad/s about the vertical."""
    heading = rotations.from_yaw(rotations.yaw(history.root_quat_w[:, -1]))
    planar = rotations.rotate_inverse(heading, history.root_lin_vel_w[:, -1])[:, :2]
    return torch.cat([planar, history.root_ang_vel_w[:, -1, 2:]], -1)


def planned_velocity(loop: ClosedLoop) -> torch.Tensor:
    """Return the mean velocity (N, 3) that the last plan has ahead; the present one without a plan."""
    found = found_velocity(loop.history)
    if loop.plan is None:
        return found
    slices, ahead = loop.policy.representation.slices, loop.plan.features[:, loop.policy.current + 1 :]
    linear, angular = (ahead[..., slices[name]].mean(1) for name in ("root_lin_vel", "root_ang_vel"))
    planned = torch.cat([linear[:, :2], angular[:, 2:]], -1).to(found)
    return torch.where(loop.planned[:, None], planned, found)


class GuidanceObserver:
    """Watches N robots at every control step, and tells what a decision is made from."""

    def __init__(self, n: int, control_hz: float) -> None:
        """Begin without memory."""
        self.last = torch.zeros(n, len(SETTINGS))
        """(N, 4) shares of their bounds, -1 to 1, that the last settings had; 0 are the fixed ones."""
        self._share = min(1.0, 1.0 / (control_hz * SMOOTHING_SECONDS))
        self._error = torch.zeros(n, len(AXES))
        self._command = torch.zeros(n, len(AXES))

    def look(self, command: torch.Tensor, history: Frames) -> None:
        """Take in a control step: what is commanded (N, 3), and the states until now."""
        self._command = command
        self._error = self._error + self._share * (command - found_velocity(history) - self._error)

    def observe(self, loop: ClosedLoop) -> torch.Tensor:
        """Return observations (N, 20), laid out as ``FEATURES``."""
        history = loop.history
        quat = history.root_quat_w[:, -1]
        down = quat.new_tensor([0.0, 0.0, -1.0]).expand(len(quat), 3)
        parts = (
            self._command,
            found_velocity(history),
            self._error,
            history.root_pos_w[:, -1, 2:],
            rotations.rotate_inverse(quat, down),
            planned_velocity(loop),
            self.last,
        )
        return torch.cat(parts, -1)

    def forget(self, ids: torch.Tensor) -> None:
        """Begin anew with some robots."""
        self._error = self._error.index_fill(0, ids, 0.0)
        self.last = self.last.index_fill(0, ids, 0.0)
