"""A height of the root."""

import dataclasses

import torch

from beyondmimic_data.diffusion.sampler import Prediction
from beyondmimic_data.guidance.parameters import PerRobot, per_robot
from beyondmimic_data.guidance.registry import register_cost


@register_cost("height")
@dataclasses.dataclass(frozen=True)
class Height:
    """A height of the root to hold, as for a crouch: half the squared error, summed over steps."""

    height: PerRobot
    """m, z of the root in the world, scalar or (B,)."""

    def __call__(self, prediction: Prediction) -> torch.Tensor:
        """Return the cost (B,)."""
        found = prediction.field("root_pos")[..., 2]
        return 0.5 * (found - per_robot(self.height, found)).square().sum(1)
