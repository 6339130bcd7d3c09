"""Motions on the spot: weight shifts and squats, and between them steps that place the feet anew.

The steps are there for balance: a policy that is never shown one does not lift a foot when a push or a tilted
start asks for it.
"""

import dataclasses
import itertools

import numpy as np

from beyondmimic_data.motions import balance, balanced_ik
from beyondmimic_data.motions.foot_motion import foot_motion, pressure_reference
from beyondmimic_data.motions.footsteps import (
    DOUBLE_SUPPORT_SHARE,
    SETTLE,
    SLOW_STEP,
    START_SHIFT,
    FootstepPlan,
    Step,
)
from beyondmimic_data.motions.posture import STANCE_HALF_WIDTH, ramp, stance_targets, tilt
from beyondmimic_data.motions.whole_body_ik import Targets
from beyondmimic_data.robots import g1

REST_SECONDS = 0.52
"""Stillness at both ends of a clip; the centre of mass moves before the pressure under the feet does."""
EASE_SECONDS = 0.7
"""Time in which sway grows from nothing and dies again."""

SHIFT, SWING = DOUBLE_SUPPORT_SHARE * SLOW_STEP, (1 - DOUBLE_SUPPORT_SHARE) * SLOW_STEP
"""s of double and single support of a step on the spot."""
PLACEMENT = np.array([0.06, 0.03, 0.1])
"""m, m and rad that a foot lands from its place at most; the last steps of a bout go back to it."""

STAND_STEPS = (3, 5)
"""Steps of a bout while standing, least and most."""
STAND_PAUSE = (1.6, 2.2)
"""s between bouts, in which the weight shifts."""
SWAY_PERIODS = (3.2, 5.2)
"""s; slow enough that the pressure under the feet stays within 1 cm of the centre of mass."""
SWAY_SIDEWAYS, SWAY_FORWARD, SWAY_DOWN = 0.04, 0.02, 0.025
SWAY_TORSO_YAW, SWAY_TORSO_ROLL, SWAY_ARM = 0.15, 0.04, 0.2
SWAY_ARM_OUT = 0.12
"""rad that both arms stay away from the hips while they sway."""

SQUAT_STEPS = 2
"""Steps before a squat."""
SQUAT_SECONDS = (2.15, 2.24)
"""s, down and up once."""
SQUAT_DEPTHS = (0.18, 0.215)
"""m the pelvis goes down."""
SQUAT_PEAK_ACCELERATION = 1.0
"""m/s^2; a squat that must fit into less time goes less deep."""
SQUAT_PELVIS_PITCH, SQUAT_TORSO_PITCH = 0.9, 1.6
"""rad for each metre of depth."""
SQUAT_SHOULDER_PITCH, SQUAT_ELBOW = -4.2, -1.0
"""rad for each metre of depth: the arms rise forward as a counterweight."""

Span = tuple[float, float]
"""s, start and end."""


@dataclasses.dataclass(frozen=True)
class Bout:
    """A few steps on the spot, from standing to standing."""

    start: float
    """s, the weight begins to move."""
    steps: int

    @property
    def end(self) -> float:
        """When the weight is between the feet again, s."""
        return self.start + bout_seconds(self.steps)


def bout_seconds(steps: int) -> float:
    """Return how long a bout takes."""
    return START_SHIFT + steps * SWING + (steps - 1) * SHIFT + SETTLE


def stand_qpos(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Stand, shift weight with a gentle sway of torso and arms, and place the feet anew now and then.

    Args:
        t: (T,) s, of all frames.
        rng: decides steps and sway.

    Returns:
        (T, 36) generalised positions.
    """
    bouts = stand_bouts(t[-1], rng)
    plan = plan_bouts(bouts, rng)
    still = quiet(t, [(bout.start, bout.end) for bout in bouts])
    moving = quiet(t, [])

    def sway(amplitude: float, window: np.ndarray) -> np.ndarray:
        period, phase = rng.uniform(*SWAY_PERIODS), rng.uniform(0, 2 * np.pi)
        return amplitude * window * np.sin(2 * np.pi * t / period + phase)

    shift = np.stack([sway(SWAY_FORWARD, still), sway(SWAY_SIDEWAYS, still)], -1)
    targets = stance_targets(t)
    targets["pelvis_height"] += sway(SWAY_DOWN / 2, still) - still * SWAY_DOWN / 2
    zero = np.zeros_like(t)
    targets["torso_quat"] = tilt(sway(SWAY_TORSO_ROLL, moving), zero, sway(SWAY_TORSO_YAW, moving))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        for joint in ("shoulder_pitch", "elbow"):
            targets["posture"][:, g1.JOINT_NAMES.index(f"{side}_{joint}_joint")] += sway(SWAY_ARM, moving)
        out = g1.JOINT_NAMES.index(f"{side}_shoulder_roll_joint")
        targets["posture"][:, out] += sign * SWAY_ARM_OUT * moving
    return step_qpos(targets, plan, t, shift)


def squat_qpos(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Squat again and again with the arms forward, and place the feet anew before each squat.

    Args:
        t: (T,) s, of all frames.
        rng: decides steps and depths.

    Returns:
        (T, 36) generalised positions.
    """
    bouts, squats = squat_spans(t[-1], rng)
    plan = plan_bouts(bouts, rng)
    down = squat_depth(t, squats, rng)
    targets = stance_targets(t)
    targets["pelvis_height"] -= down
    zero = np.zeros_like(t)
    targets["pelvis_quat"] = tilt(zero, SQUAT_PELVIS_PITCH * down, zero)
    targets["torso_quat"] = tilt(zero, SQUAT_TORSO_PITCH * down, zero)
    for side in ("left", "right"):
        for joint, rate in (("shoulder_pitch", SQUAT_SHOULDER_PITCH), ("elbow", SQUAT_ELBOW)):
            targets["posture"][:, g1.JOINT_NAMES.index(f"{side}_{joint}_joint")] += rate * down
    return step_qpos(targets, plan, t, np.zeros((len(t), 2)))


def step_qpos(
    targets: dict[str, np.ndarray], plan: FootstepPlan, t: np.ndarray, shift: np.ndarray
) -> np.ndarray:
    """Solve targets over the steps of a plan, the pressure point moved by ``shift`` (T, 2) m."""
    rate = 1 / (t[1] - t[0])
    pressure = pressure_reference(plan, t) + shift
    targets["foot_pos"], targets["foot_quat"] = foot_motion(plan, t)
    targets["com_xy"] = balance.pendulum_com(pressure, balanced_ik.COM_HEIGHT, 1 / rate)
    return balanced_ik.balanced_qpos(Targets(**targets), pressure, np.zeros_like(t), rate)


def stand_bouts(seconds: float, rng: np.random.Generator) -> list[Bout]:
    """Draw the bouts of a clip of that length, as many as fit."""
    bouts: list[Bout] = []
    start = REST_SECONDS
    while True:
        bout = Bout(start, int(rng.integers(STAND_STEPS[0], STAND_STEPS[1] + 1)))
        if bout.end > seconds - REST_SECONDS:
            return bouts
        bouts.append(bout)
        start = bout.end + rng.uniform(*STAND_PAUSE)


def squat_spans(seconds: float, rng: np.random.Generator) -> tuple[list[Bout], list[Span]]:
    """Draw bouts and squats in turn, as many as fit; a clip too short for both holds one squat."""
    bouts: list[Bout] = []
    squats: list[Span] = []
    start = REST_SECONDS
    while True:
        bout = Bout(start, SQUAT_STEPS)
        end = bout.end + rng.uniform(*SQUAT_SECONDS)
        if end > seconds - REST_SECONDS:
            break
        bouts.append(bout)
        squats.append((bout.end, end))
        start = end
    return bouts, squats or [(REST_SECONDS, seconds - REST_SECONDS)]


def plan_bouts(bouts: list[Bout], rng: np.random.Generator) -> FootstepPlan:
    """Place the feet of every bout: about where they belong, the last two steps exactly there."""
    home = np.array([[0.0, STANCE_HALF_WIDTH, 0.0], [0.0, -STANCE_HALF_WIDTH, 0.0]])
    feet, steps = home.copy(), []
    for bout in bouts:
        first, start = int(rng.integers(2)), bout.start
        for i in range(bout.steps):
            foot = (first + i) % 2
            lift = start + (START_SHIFT if i == 0 else SHIFT)
            last = i >= bout.steps - 2
            after = home[foot] + (0.0 if last else rng.uniform(-PLACEMENT, PLACEMENT))
            steps.append(
                Step(
                    foot=foot,
                    start=start,
                    lift=lift,
                    land=lift + SWING,
                    before=feet[foot].copy(),
                    after=after,
                    stance=feet[1 - foot].copy(),
                    stops=i == bout.steps - 1,
                )
            )
            feet[foot], start = after, lift + SWING
    return FootstepPlan(home, tuple(steps))


def quiet(t: np.ndarray, spans: list[Span]) -> np.ndarray:
    """Return a window (T,) that is 0 within the spans and rests, and 1 at some distance from them."""
    window = np.ones_like(t)
    edges = [(t[0] - 1.0, t[0] + REST_SECONDS), *spans, (t[-1] - REST_SECONDS, t[-1] + 1.0)]
    for (_, before), (after, _) in itertools.pairwise(edges):
        ease = min(EASE_SECONDS, max(after - before, 1e-9) / 2)
        inside = (t > before) & (t < after)
        window[inside] = (ramp((t - before) / ease) * ramp((after - t) / ease))[inside]
    for start, end in edges:
        window[(t >= start) & (t <= end)] = 0.0
    return window


def squat_depth(t: np.ndarray, squats: list[Span], rng: np.random.Generator) -> np.ndarray:
    """Return how far the pelvis is down, (T,) m, with a depth of its own for each squat."""
    down = np.zeros_like(t)
    for start, end in squats:
        period = end - start
        # A ramp of height d over half a period p has the peak acceleration 10 / sqrt(3) * d / (p / 2)^2.
        deepest = SQUAT_PEAK_ACCELERATION * (period / 2) ** 2 * np.sqrt(3) / 10
        scale = min(1.0, deepest / SQUAT_DEPTHS[1])
        s = (t - start) / period
        down += scale * rng.uniform(*SQUAT_DEPTHS) * ramp(2 * s) * ramp(2 - 2 * s)
    return down
