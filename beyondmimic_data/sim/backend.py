"""What the tracking task needs of a simulator: read and write states, step to targets, randomise, push.

The task selects its bodies by name, so that depth-first (MuJoCo) and breadth-first (Isaac Lab) orders give
the same observations and rewards.
"""

import dataclasses
from typing import Protocol

import numpy as np
import torch

from beyondmimic_data.sim.randomisation import Randomisation


@dataclasses.dataclass
class RobotState:
    """The robot in N environments; float32 tensors, SI units, quaternions wxyz.

    Positions are relative to each environment's origin; velocities are of link origins, in the world frame.
    """

    body_names: tuple[str, ...]
    """Names of the body axis; the first is the floating base."""
    joint_names: tuple[str, ...]
    """Names of the joint axis."""
    contact_bodies: tuple[str, ...]
    """Names of the columns of ``contact_force``."""
    body_pos_w: torch.Tensor
    """(N, B, 3) m."""
    body_quat_w: torch.Tensor
    """(N, B, 4)."""
    body_lin_vel_w: torch.Tensor
    """(N, B, 3) m/s."""
    body_ang_vel_w: torch.Tensor
    """(N, B, 3) rad/s."""
    joint_pos: torch.Tensor
    """(N, J) rad."""
    joint_vel: torch.Tensor
    """(N, J) rad/s."""
    contact_force: torch.Tensor
    """(N, C) N, norm of the net contact force on each listed body over the last physics step."""

    @property
    def root_pos_w(self) -> torch.Tensor:
        """(N, 3) position of the floating base, m."""
        return self.body_pos_w[:, 0]

    @property
    def root_quat_w(self) -> torch.Tensor:
        """(N, 4) orientation of the floating base."""
        return self.body_quat_w[:, 0]

    @property
    def root_lin_vel_w(self) -> torch.Tensor:
        """(N, 3) linear velocity of the floating base, m/s."""
        return self.body_lin_vel_w[:, 0]

    @property
    def root_ang_vel_w(self) -> torch.Tensor:
        """(N, 3) angular velocity of the floating base, rad/s."""
        return self.body_ang_vel_w[:, 0]


class Backend(Protocol):
    """A batch of simulated robots."""

    num_envs: int
    body_names: tuple[str, ...]
    joint_names: tuple[str, ...]

    def read(self) -> RobotState:
        """Return the state of every environment."""
        ...

    def write(
        self,
        ids: np.ndarray,
        root_pos: np.ndarray,
        root_quat: np.ndarray,
        root_lin_vel_w: np.ndarray,
        root_ang_vel_w: np.ndarray,
        joint_pos: np.ndarray,
        joint_vel: np.ndarray,
    ) -> None:
        """Set the state of some environments, sorted ids; ``read`` shows it at once."""
        ...

    def step(self, targets: np.ndarray, ids: np.ndarray | None = None) -> None:
        """Advance one control step with joint targets (N, J) in rad, each delayed by its latency.

        ``ids`` names the environments that somebody still looks at, sorted, all by default; a simulator that
        steps each by itself leaves the others as they are.
        """
        ...

    def push(self, ids: np.ndarray, lin_vel: np.ndarray, ang_vel: np.ndarray) -> None:
        """Add (n, 3) linear m/s and angular rad/s to base velocities, world frame, before the next step."""
        ...

    def randomise(self, ids: np.ndarray, draw: Randomisation) -> None:
        """Apply physical parameters and latency to some environments, sorted ids."""
        ...

    def set_latency(self, ids: np.ndarray, steps: np.ndarray) -> None:
        """Delay the commands of some environments by (n,) physics steps each.

        Raises:
            ConfigError: a latency is longer than the kept history of commands.
        """
        ...
