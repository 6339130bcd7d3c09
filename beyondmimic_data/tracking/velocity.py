"""How well the robot keeps its reference's walking velocity: means over windows in the heading frame."""

import torch

from beyondmimic_data import rotations
from beyondmimic_data.sim.backend import RobotState
from beyondmimic_data.tracking.reference import ReferenceFrame

WINDOW_SECONDS = 1.0
SETTLING_SECONDS = 1.0
"""Windows that begin sooner than this after a push are left out: a step aside is no tracking error."""


def heading_velocity(quat: torch.Tensor, lin_vel: torch.Tensor) -> torch.Tensor:
    """Return (N, 2) horizontal velocities m/s, forward and left, of bases (N, 4) with velocities (N, 3)."""
    return rotations.rotate_inverse(rotations.yaw_only(quat), lin_vel)[:, :2]


class VelocityError:
    """Mean planar velocity error of N episodes that are stepped together.

    The error of a window is the norm of the difference between the means of the robot's and the reference's
    velocity, each in its own heading.
    """

    def __init__(self, num_envs: int, control_hz: float) -> None:
        """Begin with every episode at its start."""
        self._window = round(WINDOW_SECONDS * control_hz)
        self._settling = round(SETTLING_SECONDS * control_hz)
        self._difference = torch.zeros(num_envs, 2)
        self._step = 0
        self._pushes = torch.zeros(num_envs, dtype=torch.long)
        self._pushed_at = torch.full((num_envs,), -self._settling - self._window)
        self._total, self._count = torch.zeros(num_envs), torch.zeros(num_envs)

    def add(
        self, state: RobotState, reference: ReferenceFrame, pushes: torch.Tensor, running: torch.Tensor
    ) -> None:
        """Add one control step.

        Args:
            state: the robots after the step.
            reference: what they were to reach, base first.
            pushes: (N,) pushes of each episode so far.
            running: (N,) whether each episode goes on; a window that one ends in does not count.
        """
        robot = heading_velocity(state.root_quat_w, state.root_lin_vel_w)
        wanted = heading_velocity(reference.body_quat_w[:, 0], reference.body_lin_vel_w[:, 0])
        self._difference += robot - wanted
        self._pushed_at = torch.where(pushes > self._pushes, self._step, self._pushed_at)
        self._pushes = pushes.clone()
        self._step += 1
        if self._step % self._window:
            return
        calm = self._pushed_at < self._step - self._window - self._settling
        error = (self._difference / self._window).norm(dim=-1)
        counts = running & calm
        self._total += torch.where(counts, error, 0.0)
        self._count += counts
        self._difference.zero_()

    def mean(self) -> torch.Tensor:
        """Return each episode's mean error (N,), m/s; NaN where no window counts."""
        return self._total / self._count
