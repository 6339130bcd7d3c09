"""Footstep plan of a walk: when each foot lifts and lands, and where, so that the walk follows its commands.

A foot lands where the path will be in the middle of its next single support, so mean velocity and turn rate
are those commanded whatever the timing of the steps.
"""

import dataclasses

import numpy as np

from beyondmimic_data.motions.walk_commands import path_of

HALF_WIDTH = 0.105
"""m between the path and each ankle."""
MIN_SEPARATION = 0.165
"""m between the ankles sideways when a foot lands beside the other."""
MAX_TOE_IN = 0.3
"""rad a foot may land turned inward against the other."""

SLOW_STEP = 0.58
"""s, a step at low speed; faster walking takes quicker steps."""
STEP_SHORTENING = np.array([0.12, 0.35, 0.08])
"""s each m/s forward, m/s sideways and rad/s of turn."""
SHORTEST_STEP = 0.42
DOUBLE_SUPPORT_SHARE = 0.22
"""Share of a step with both feet on the floor."""
START_SHIFT = 0.6
"""s to bring the weight over the first stance foot."""
SETTLE = 0.6
"""s to bring the weight back between the feet after the last step."""
ANTICIPATION = 0.5
"""s before the first command at which the weight shift begins."""
STANDING_TOLERANCE = np.array([0.015, 0.015, 0.03])
"""m, m, rad; a foot that would land this near to where it stands need not step."""


@dataclasses.dataclass(frozen=True)
class Step:
    """One step. Poses are (3,) ankle x, y in m and heading in rad."""

    foot: int
    """The foot that swings, 0 left, 1 right."""
    start: float
    """s, the weight begins to move to the other foot."""
    lift: float
    """s, the foot leaves the floor."""
    land: float
    """s, the foot is back on the floor."""
    before: np.ndarray
    """Where the foot stood."""
    after: np.ndarray
    """Where it lands."""
    stance: np.ndarray
    """Where the other foot stands."""
    stops: bool
    """Whether the walker stands still after this step."""


@dataclasses.dataclass(frozen=True)
class FootstepPlan:
    """All steps of a walk."""

    feet: np.ndarray
    """(2, 3) first poses of the left and right ankle."""
    steps: tuple[Step, ...]
    """In the order of time."""


def plan_footsteps(commands: np.ndarray, control_hz: float) -> FootstepPlan:
    """Plan the steps that follow (T, 3) commands; standing still while they are zero."""
    planner = _Planner(commands, control_hz)
    feet = np.array([planner.foothold(0.0, 0, None), planner.foothold(0.0, 1, None)])
    first = feet.copy()
    steps: list[Step] = []
    start, foot, standing = 0.0, 0, True
    while True:
        if standing:
            departure = planner.departure(start)
            if departure is None:
                break
            start, foot = max(start, departure - ANTICIPATION), planner.leading_foot(departure)
        shift, swing = planner.timing(start)
        lift = start + (START_SHIFT if standing else shift)
        land = lift + swing
        after = planner.foothold(land + shift + swing / 2, foot, feet[1 - foot])
        if not standing and (np.abs(after - feet[foot]) < STANDING_TOLERANCE).all():
            steps[-1] = dataclasses.replace(steps[-1], stops=True)
            standing, start = True, start + SETTLE
            continue
        steps.append(Step(foot, start, lift, land, feet[foot].copy(), after, feet[1 - foot].copy(), False))
        feet[foot] = after
        standing, start, foot = False, land, 1 - foot
    return FootstepPlan(first, tuple(steps))


class _Planner:
    """Looks up commands and the path they make."""

    def __init__(self, commands: np.ndarray, control_hz: float) -> None:
        self.commands, self.rate = commands, control_hz
        self.path = path_of(commands, control_hz)
        self.moving = np.flatnonzero(np.abs(commands).max(axis=1) > 1e-6)

    def departure(self, time: float) -> float | None:
        """Return when the next command comes, s, or None."""
        later = self.moving[self.moving >= time * self.rate]
        return None if len(later) == 0 else float(later[0]) / self.rate

    def leading_foot(self, departure: float) -> int:
        """Step first with the foot on the side that the walker moves or turns to."""
        first = round(departure * self.rate)
        ahead = self.commands[first : first + round(self.rate)].mean(axis=0)
        return 0 if ahead[1] + 0.2 * ahead[2] >= 0 else 1

    def timing(self, time: float) -> tuple[float, float]:
        """Return the lengths of double and single support, s, of a step that begins at a time."""
        first = min(round(time * self.rate), len(self.commands) - 1)
        ahead = self.commands[first : first + round(SLOW_STEP * self.rate)]
        step = max(SHORTEST_STEP, SLOW_STEP - float(STEP_SHORTENING @ np.abs(ahead).mean(axis=0)))
        return DOUBLE_SUPPORT_SHARE * step, (1 - DOUBLE_SUPPORT_SHARE) * step

    def foothold(self, time: float, foot: int, other: np.ndarray | None) -> np.ndarray:
        """Return where a foot belongs at a time, clear of the other foot."""
        frame = np.clip(time * self.rate, 0, len(self.path) - 1)
        x, y, heading = (np.interp(frame, np.arange(len(self.path)), column) for column in self.path.T)
        side = 1.0 if foot == 0 else -1.0
        if other is not None:
            toe_in = side * (other[2] - heading)
            heading += side * max(0.0, toe_in - MAX_TOE_IN)
        left = np.array([-np.sin(heading), np.cos(heading)])
        position = np.array([x, y]) + side * HALF_WIDTH * left
        if other is not None:
            separation = side * left @ (position - other[:2])
            position = position + side * max(0.0, MIN_SEPARATION - separation) * left
        return np.append(position, heading)
