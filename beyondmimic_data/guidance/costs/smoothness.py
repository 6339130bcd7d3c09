"""Smoothness of the plan."""

import dataclasses

import torch

from beyondmimic_data.diffusion.sampler import Prediction
from beyondmimic_data.guidance.registry import register_cost

MAX_CURVATURE = 16.0
"""Largest eigenvalue of the square of the second difference [1, -2, 1], at a zigzag."""


@register_cost("smoothness")
@dataclasses.dataclass(frozen=True)
class Smoothness:
    """A plan without jerks: half the squared second differences, scaled down and summed over steps.

    Of the root's linear velocity, and of the bodies relative to the root, or of the joints where the states
    hold them instead. The scale makes a zigzag cost half its squared amplitude a step, so that the curvature
    is at most one, as that of the other costs.
    """

    velocity_weight: float = 1.0
    """Of the root's velocity, m/s."""
    limb_weight: float = 1.0
    """Of the body positions, m, or the joint angles, rad."""

    def __call__(self, prediction: Prediction) -> torch.Tensor:
        """Return the cost (B,)."""
        limbs = "body_pos" if "body_pos" in prediction.policy.representation.slices else "joint_pos"
        velocity = _roughness(prediction.field("root_lin_vel"))
        return self.velocity_weight * velocity + self.limb_weight * _roughness(prediction.field(limbs))


def _roughness(values: torch.Tensor) -> torch.Tensor:
    """Return half the squared second differences of values (B, F, N), scaled to curvature one, (B,)."""
    return 0.5 / MAX_CURVATURE * values.diff(n=2, dim=1).square().sum((1, 2))
