"""A heading in the world."""

import dataclasses

import torch

from beyondmimic_data.diffusion.sampler import Prediction
from beyondmimic_data.guidance.parameters import PerRobot, per_robot
from beyondmimic_data.guidance.registry import register_cost


def heading_error(prediction: Prediction, heading_w: torch.Tensor | float) -> torch.Tensor:
    """Return by how much the heading of every step is off, (B, F) rad in [-pi, pi].

    The heading is the z entry of the root's rotation vector, added to the character frame's yaw. For a root
    that leans this is the yaw to second order in the lean.

    Args:
        prediction: states.
        heading_w: rad, world, scalar or (B,).
    """
    ahead = prediction.field("root_rot")[..., 2]
    difference = ahead + per_robot(prediction.frame.yaw, ahead) - per_robot(heading_w, ahead)
    return torch.atan2(torch.sin(difference), torch.cos(difference))


@register_cost("heading")
@dataclasses.dataclass(frozen=True)
class Heading:
    """A heading to face: half the squared error, the shorter way round, summed over steps."""

    heading_w: PerRobot
    """rad, world, scalar or (B,); 0 looks along x, pi / 2 along y."""

    def __call__(self, prediction: Prediction) -> torch.Tensor:
        """Return the cost (B,)."""
        return 0.5 * heading_error(prediction, self.heading_w).square().sum(1)
