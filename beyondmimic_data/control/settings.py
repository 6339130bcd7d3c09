"""The settings of guidance that may be another for every robot and every moment."""

import dataclasses

import torch

from beyondmimic_data.config import GuidanceConfig


@dataclasses.dataclass(frozen=True)
class GuidanceSettings:
    """How hard plans are pulled, and how much more than the command is asked of them.

    Each is one number for all, or (N,) one a robot.
    """

    scale: float | torch.Tensor
    """Step along the negative gradient of the command's cost."""
    velocity_gain: float | torch.Tensor
    """m/s asked for each m/s commanded."""
    yaw_rate_gain: float | torch.Tensor
    """rad/s asked for each rad/s commanded."""
    max_norm: float | torch.Tensor
    """Bound on the gradient of one predicted step, physical units."""

    @classmethod
    def of(cls, config: GuidanceConfig) -> "GuidanceSettings":
        """Return the fixed settings of a configuration."""
        return cls(config.scale, config.command_gain, config.command_gain, config.max_norm)


SETTINGS = tuple(field.name for field in dataclasses.fields(GuidanceSettings))
"""Names, in the order of a learned policy's outputs."""
