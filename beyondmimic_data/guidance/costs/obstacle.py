"""Keeping clear of things."""

import dataclasses
import math

import torch

from beyondmimic_data.diffusion.sampler import Prediction
from beyondmimic_data.guidance.parameters import Positive
from beyondmimic_data.guidance.registry import register_cost
from beyondmimic_data.guidance.shapes import Shapes, signed_distance


def barrier(x: torch.Tensor, delta: float) -> torch.Tensor:
    """Return the relaxed logarithmic barrier: -ln x down to ``delta``, a parabola below (v3 eq. 10)."""
    safe = x.clamp_min(delta)
    below = 0.5 * (((x - 2 * delta) / delta).square() - 1) - math.log(delta)
    return torch.where(x >= delta, -torch.log(safe), below)


@register_cost("obstacle")
@dataclasses.dataclass(frozen=True)
class Obstacle:
    """Keeps every body clear of shapes: a barrier on signed distance, over steps and bodies (v3 eq. 9)."""

    shapes: Shapes
    """Obstacles in the world, shared by all robots or placed one a robot."""
    body_radius: Positive = 0.1
    """m, r_b: every body counts as a ball of this radius about its link origin."""
    delta: Positive = 0.1
    """m, where the barrier turns from logarithm to parabola."""
    reach: Positive = 1.0
    """m; a body farther from every shape than this costs nothing, so that open space does not push."""
    root_only: bool = False
    """One ball about the root stands for the robot: cheaper, for any states, for obstacles as tall as it."""
    root_radius: Positive = 0.4
    """m, radius of that ball; without ``root_only`` of no effect."""

    def __call__(self, prediction: Prediction) -> torch.Tensor:
        """Return the cost (B,).

        Raises:
            ConfigError: the states hold no body positions, and not the root alone is asked for.
        """
        points = prediction.root_pos_w()[:, :, None] if self.root_only else prediction.body_pos_w()
        radius = self.root_radius if self.root_only else self.body_radius
        near = (signed_distance(self.shapes, points) - radius).clamp_max(self.reach)
        return (barrier(near, self.delta) + math.log(self.reach)).sum((1, 2))
