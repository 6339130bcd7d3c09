"""Uprightness."""

import dataclasses

import torch

from beyondmimic_data.diffusion.sampler import Prediction
from beyondmimic_data.guidance.parameters import PerRobot, per_robot
from beyondmimic_data.guidance.registry import register_cost


@register_cost("posture")
@dataclasses.dataclass(frozen=True)
class Posture:
    """A lean of the root to hold, upright by default: half the squared error, summed over steps.

    Compares the x and y entries of the root's rotation vector in the character frame. Both are zero upright;
    elsewhere they are roll and pitch as far as the window turns little.
    """

    roll: PerRobot = 0.0
    """rad, scalar or (B,); above zero leans to the right."""
    pitch: PerRobot = 0.0
    """rad, scalar or (B,); above zero leans forward."""

    def __call__(self, prediction: Prediction) -> torch.Tensor:
        """Return the cost (B,)."""
        roll, pitch = prediction.field("root_rot")[..., :2].unbind(-1)
        roll_error, pitch_error = roll - per_robot(self.roll, roll), pitch - per_robot(self.pitch, pitch)
        return 0.5 * (roll_error.square() + pitch_error.square()).sum(1)
