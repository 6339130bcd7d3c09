"""Joystick commands by name, and tracks made of them."""

import dataclasses
from collections.abc import Sequence

import torch

from beyondmimic_data.control.pilot import CommandTrack


@dataclasses.dataclass(frozen=True)
class Command:
    """One joystick command."""

    name: str
    velocity: tuple[float, float]
    """m/s, forward and left of the heading."""
    yaw_rate: float = 0.0
    """rad/s; 0 holds the heading."""


def one_after_another(commands: Sequence[Command], seconds: float, n: int, control_hz: float) -> CommandTrack:
    """Return the track of n robots that are all given one command after the other, each for some seconds."""
    steps = round(seconds * control_hz)
    velocity = torch.tensor([c.velocity for c in commands]).repeat_interleave(steps, 0)
    yaw_rate = torch.tensor([c.yaw_rate for c in commands]).repeat_interleave(steps, 0)
    return CommandTrack(velocity[:, None].expand(-1, n, -1), yaw_rate[:, None].expand(-1, n))


def one_each(commands: Sequence[Command], n: int) -> CommandTrack:
    """Return the track of n robots of which each is given one command throughout, in turn."""
    dealt = [commands[i % len(commands)] for i in range(n)]
    return CommandTrack(
        torch.tensor([[c.velocity for c in dealt]]), torch.tensor([[c.yaw_rate for c in dealt]])
    )
