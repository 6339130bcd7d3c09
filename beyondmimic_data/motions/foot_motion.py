"""From a footstep plan to what the feet and the pressure under them do at every time."""

import numpy as np

from beyondmimic_data import rotations
from beyondmimic_data.motions import balance
from beyondmimic_data.motions.footsteps import SETTLE, FootstepPlan, Step
from beyondmimic_data.motions.posture import ANKLE_HEIGHT, ramp, tilt

SWING_HEIGHT = 0.055
"""m the sole rises in a step on the spot."""
SWING_HEIGHT_GAIN = 0.02
"""m more for each metre that the foot travels."""
SWING_HEIGHT_MAX = 0.07
RISE_END, FALL_START = 0.35, 0.6
"""Shares of the swing at which the foot is up, and at which it begins to come down."""
TRAVEL = (0.04, 0.975)
"""Shares of the swing at which the foot begins and ends to travel: not while it is near the floor."""

FLAT_STEP = 0.1
"""m a foot may be ahead of or behind the other and still lift and land flat."""
HEEL_UP_GAIN, HEEL_UP_MAX = 1.4, 0.5
"""rad for each metre more that a lifting or landing foot is behind the other; most rad."""
TOE_UP_GAIN, TOE_UP_MAX = 0.55, 0.18
"""rad for each metre more that a lifting or landing foot is ahead of the other; most rad."""
EDGE_FREE_SPREAD, EDGE_GAIN, EDGE_MAX = 0.27, 0.9, 0.22
"""m between the feet sideways up to which soles stay flat; rad for each metre more; most rad.

An ankle rolls 0.24 rad at most, so in a wide step the outer edge lifts first and lands last."""
EDGE_START = 0.3
"""Share of the double support at which the lifting foot begins to turn over its edge."""
EDGE_PEAK = 0.2
"""Share of the swing at which the lifting foot is turned most."""
ROLL_DOWN = 0.07
"""s from landing on an edge to a flat foot."""

PRESSURE_AHEAD = 0.036
"""m in front of the ankle, in the middle of the sole."""
PRESSURE_INWARD = 0.004
"""m that the pressure point lies inside the ankle's middle line."""
PRESSURE_TRAVEL_GAIN, PRESSURE_TRAVEL_MAX = 0.1, 0.055
"""m of travel to each side of the middle of the sole, for each metre of step; most m."""

TOE_X = float(balance.SOLE_CENTRES[..., 0].max())
HEEL_X = float(balance.SOLE_CENTRES[..., 0].min())
EDGE_Y = float(balance.SOLE_CENTRES[..., 1].max())
PIVOT_Z = float(balance.SOLE_CENTRES[0, 0, 2])


def foot_motion(plan: FootstepPlan, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ankle roll links' positions (T, 2, 3) and orientations (T, 2, 4) at times ``t`` (T,).

    A stance foot is locked to the floor; it rolls over an edge before it lifts and after it lands,
    without slip. Between, it follows minimum-jerk profiles.
    """
    pose = np.repeat(plan.feet[None], len(t), axis=0)
    height, pitch, roll, pivot = (np.zeros((len(t), 2)) for _ in range(4))
    for step in plan.steps:
        foot, s = step.foot, (t - step.lift) / (step.land - step.lift)
        swing = (s > 0) & (s < 1)
        travel = ramp((s - TRAVEL[0]) / (TRAVEL[1] - TRAVEL[0]))
        pose[s > 0, foot] = step.before + travel[s > 0, None] * (step.after - step.before)
        length = np.linalg.norm(step.after[:2] - step.before[:2])
        rise = min(SWING_HEIGHT + SWING_HEIGHT_GAIN * length, SWING_HEIGHT_MAX)
        height[swing, foot] = rise * (ramp(s / RISE_END) * ramp((1 - s) / (1 - FALL_START)))[swing]
        near = (t >= step.start) & (t < step.land + ROLL_DOWN)
        pitches = _pitches(step)
        pitch[near, foot] = _lift_and_land(step, t[near], *pitches)
        roll[near, foot] = _lift_and_land(step, t[near], *_rolls(step))
        first, last = (TOE_X if angle > 0 else HEEL_X for angle in pitches)
        pivot[near, foot] = first + (last - first) * ramp(s[near])
    zero = np.zeros_like(pitch)
    edge = np.stack(
        [pivot, np.broadcast_to([-EDGE_Y, EDGE_Y], pivot.shape), np.full_like(pivot, PIVOT_Z)], -1
    )
    # The edge is a sphere's centre: it rolls on by radius times angle while the foot turns about it.
    edge_moved = edge + balance.SOLE_RADIUS * np.stack([pitch, -roll, zero], -1)
    offset = edge_moved - rotations.rotate(tilt(roll, pitch, zero), edge)
    position = np.concatenate([pose[..., :2], (ANKLE_HEIGHT + height)[..., None]], -1)
    position += rotations.rotate(tilt(zero, zero, pose[..., 2]), offset)
    return position, tilt(roll, pitch, pose[..., 2])


def _pitches(step: Step) -> tuple[float, float]:
    """Return the pitch of a foot as it lifts and as it lands, rad, toe down positive.

    The foot that is behind stands on its toes, the one ahead on its heel, walking forward or backward.
    """
    ahead = _along(step.after[2])
    behind = ahead @ (step.stance - step.before)[:2], ahead @ (step.stance - step.after)[:2]
    off, on = (
        float(
            np.clip(HEEL_UP_GAIN * (x - FLAT_STEP), 0, HEEL_UP_MAX)
            - np.clip(TOE_UP_GAIN * (-x - FLAT_STEP), 0, TOE_UP_MAX)
        )
        for x in behind
    )
    return off, on


def _rolls(step: Step) -> tuple[float, float]:
    """Return how far a foot rolls, outer edge up, as it lifts and as it lands, rad about its x axis."""
    ahead = _along(step.after[2])
    left = np.array([-ahead[1], ahead[0]])
    side = 1.0 if step.foot == 0 else -1.0
    spreads = [side * left @ (pose - step.stance)[:2] for pose in (step.before, step.after)]
    off, on = (side * float(np.clip(EDGE_GAIN * (x - EDGE_FREE_SPREAD), 0, EDGE_MAX)) for x in spreads)
    return off, on


def _lift_and_land(step: Step, t: np.ndarray, off: float, on: float) -> np.ndarray:
    """Return an angle that goes from 0 to ``off`` around the lift, to ``on`` at the landing, back to 0."""
    start = step.start + EDGE_START * (step.lift - step.start)
    peak = step.lift + EDGE_PEAK * (step.land - step.lift)
    return (
        off * ramp((t - start) / (peak - start))
        + (on - off) * ramp((t - peak) / (step.land - peak))
        - on * ramp((t - step.land) / ROLL_DOWN)
    )


def pressure_reference(plan: FootstepPlan, t: np.ndarray) -> np.ndarray:
    """Return the planned zero-moment point (T, 2): under the stance foot, or moving from foot to foot."""
    middle = _between(plan.feet[0], plan.feet[1])
    times, points = [float(t[0])], [middle]
    for step in plan.steps:
        length = _along(step.stance[2]) @ (step.after[:2] - step.before[:2])
        travel = np.clip(PRESSURE_TRAVEL_GAIN * length, -PRESSURE_TRAVEL_MAX, PRESSURE_TRAVEL_MAX)
        stance_foot = 1 - step.foot
        if step.start > times[-1]:
            times.append(step.start)
            points.append(points[-1])
        times += [step.lift, step.land]
        points += [_under(step.stance, stance_foot, -travel), _under(step.stance, stance_foot, travel)]
        if step.stops:
            times.append(step.land + SETTLE)
            feet = (step.after, step.stance) if step.foot == 0 else (step.stance, step.after)
            points.append(_between(*feet))
    knots, values = np.array(times), np.array(points)
    i = np.clip(np.searchsorted(knots, t, side="right") - 1, 0, max(len(knots) - 2, 0))
    if len(knots) == 1:
        return np.repeat(values, len(t), axis=0)
    s = (t - knots[i]) / np.maximum(knots[i + 1] - knots[i], 1e-9)
    return values[i] + ramp(s)[:, None] * (values[i + 1] - values[i])


def _along(heading: float) -> np.ndarray:
    """Return the unit vector (2,) of a heading."""
    return np.array([np.cos(heading), np.sin(heading)])


def _under(pose: np.ndarray, foot: int, travel: float) -> np.ndarray:
    """Return the pressure point (2,) under a flat foot."""
    ahead = _along(pose[2])
    left = np.array([-ahead[1], ahead[0]])
    inward = -PRESSURE_INWARD if foot == 0 else PRESSURE_INWARD
    return pose[:2] + (PRESSURE_AHEAD + travel) * ahead + inward * left


def _between(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the pressure point (2,) of standing on two feet."""
    return (_under(left, 0, 0.0) + _under(right, 1, 0.0)) / 2
