"""What a robot is asked to do."""

import dataclasses

from beyondmimic_data.config import GuidanceConfig

DEFAULT_GUIDANCE = GuidanceConfig()


@dataclasses.dataclass(frozen=True)
class Pillar:
    """An upright cylinder on the floor that the robot keeps clear of; it stands in no one's physics."""

    x: float
    """m, world."""
    y: float
    """m, world."""
    radius: float = 0.2
    """m."""


@dataclasses.dataclass(frozen=True)
class Command:
    """What one asks of the robot, and how."""

    forward: float = 0.0
    """m/s along the heading."""
    left: float = 0.0
    """m/s to the left of the heading."""
    turn: float = 0.0
    """rad/s, to the left."""
    waypoint: tuple[float, float] | None = None
    """m, world: a point to walk to and to stop at, instead of the velocities above."""
    pillars: tuple[Pillar, ...] = ()
    """What to keep clear of."""
    guidance: GuidanceConfig = DEFAULT_GUIDANCE
    """How plans are made to do it."""
