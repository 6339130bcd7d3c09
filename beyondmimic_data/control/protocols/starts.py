"""Which recorded states a run may begin from."""

import torch

from beyondmimic_data.diffusion.frames import Frames

UPRIGHT_HEIGHT = 0.6
"""m; a start whose base is lower is not upright."""
STANDING_SPEED = 0.2
"""m/s; a start whose base is slower stands."""
WALKING_SPEED = 0.3
"""m/s; a start whose base is faster walks."""


def _speed(starts: Frames) -> torch.Tensor:
    return starts.root_lin_vel_w[:, -1, :2].norm(dim=-1)


def upright(starts: Frames) -> torch.Tensor:
    """Tell which starts (N,) are upright."""
    return starts.root_pos_w[:, -1, 2] > UPRIGHT_HEIGHT


def standing(starts: Frames) -> torch.Tensor:
    """Tell which starts (N,) stand upright."""
    return upright(starts) & (_speed(starts) < STANDING_SPEED)


def walking(starts: Frames) -> torch.Tensor:
    """Tell which starts (N,) walk upright."""
    return upright(starts) & (_speed(starts) > WALKING_SPEED)
