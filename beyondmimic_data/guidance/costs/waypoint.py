"""A place to go to."""

import dataclasses

import torch

from beyondmimic_data.diffusion.sampler import Prediction
from beyondmimic_data.guidance.parameters import PlanarVector
from beyondmimic_data.guidance.registry import register_cost


@register_cost("waypoint")
@dataclasses.dataclass(frozen=True)
class Waypoint:
    """A point to reach and to stop at (v3 eq. 8): far away the distance counts, close to it the velocity."""

    goal: PlanarVector
    """(2,) or (B, 2) m, world."""

    def __call__(self, prediction: Prediction) -> torch.Tensor:
        """Return the cost (B,); the weight between the two terms is held fixed in the gradient."""
        offset = prediction.root_pos_w()[..., :2]
        offset = offset - self.goal.to(offset).reshape(-1, 1, 2)
        far = 1 - torch.exp(-2 * offset.detach().norm(dim=-1))
        velocity = prediction.field("root_lin_vel")[..., :2]
        return (far * offset.square().sum(-1) + (1 - far) * velocity.square().sum(-1)).sum(1)
