"""Velocity by joystick."""

import dataclasses

import torch

from beyondmimic_data.diffusion.sampler import Prediction
from beyondmimic_data.guidance.costs.heading import heading_error
from beyondmimic_data.guidance.parameters import PerRobot, PlanarVector, per_robot
from beyondmimic_data.guidance.registry import register_cost


@register_cost("joystick")
@dataclasses.dataclass(frozen=True)
class Joystick:
    """Planar velocity, and optionally yaw rate or heading: half the squared error over steps (v3 eq. 7).

    A walking robot sways: its velocity goes up and down with every footstep. Asked for one velocity at every
    step of the plan, it can do so by not stepping at all. With a ``sway_weight`` of 0 only the plan's mean
    counts, and the sway about it is left to the policy.

    With a yaw rate the commanded velocity turns with the heading that the rate leads to, so that walking a
    curve is asked for consistently.
    """

    velocity: PlanarVector
    """(2,) or (B, 2) m/s, forward and left of the heading at the current step."""
    yaw_rate: PerRobot | None = None
    """rad/s, scalar or (B,); ``None`` leaves turning free."""
    heading_w: PerRobot | None = None
    """rad, world, scalar or (B,): the heading to hold; ``None`` asks for none."""
    heading_weight: float = 1.0
    """(m/s)^2 / rad^2, how much the heading counts beside the velocity."""
    sway_weight: float = 1.0
    """How much a step's velocity and yaw rate count where they differ from the plan's mean error; 1 is the
    published cost."""

    def __call__(self, prediction: Prediction) -> torch.Tensor:
        """Return the cost (B,)."""
        cost = self._velocity_cost(prediction)
        if self.heading_w is None:
            return cost
        return cost + self.heading_weight * 0.5 * heading_error(prediction, self.heading_w).square().sum(1)

    def _velocity_cost(self, prediction: Prediction) -> torch.Tensor:
        """Return the part (B,) of the velocity and the yaw rate."""
        found = prediction.field("root_lin_vel")[..., :2]
        target = self.velocity.to(found).reshape(-1, 1, 2)
        if self.yaw_rate is None:
            return self._over_steps(found - target)
        rate = per_robot(self.yaw_rate, found)
        steps = torch.arange(1, found.shape[1] + 1, dtype=found.dtype, device=found.device)
        ahead = steps * prediction.dt
        c, s = torch.cos(rate * ahead), torch.sin(rate * ahead)
        x, y = target[..., 0], target[..., 1]
        turned = torch.stack([c * x - s * y, s * x + c * y], -1)
        turning = prediction.field("root_ang_vel")[..., 2] - rate
        return self._over_steps(torch.cat([found - turned, turning[..., None]], -1))

    def _over_steps(self, error: torch.Tensor) -> torch.Tensor:
        """Return half the square of errors (B, F, N) of the mean, and of what differs from it, (B,)."""
        mean = error.mean(1, keepdim=True)
        return 0.5 * (mean.square() + self.sway_weight * (error - mean).square()).sum((1, 2))
