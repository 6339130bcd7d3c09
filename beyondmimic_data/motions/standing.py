"""Targets of motions with both feet fixed on the floor: weight shifts and squats."""

import numpy as np

from beyondmimic_data import rotations
from beyondmimic_data.motions.whole_body_ik import Targets
from beyondmimic_data.robots import g1

ANKLE_HEIGHT = 0.035
"""m; ankle roll link origin above the floor when its sole lies flat on it."""
STANCE_HALF_WIDTH = 0.14
"""m; ankles outside the hips (0.1185), so that a tilted start needs no step to the side."""
STANCE_COM_X = 0.04
"""m; centre of mass in front of the ankles, over the middle of the sole: a start that is tilted back
must not fall over its heels."""
STANCE_PELVIS_HEIGHT = 0.757
"""m; the default pose with its soles on the floor."""

REST_SECONDS = 0.3
"""Stillness at both ends of a clip."""
EASE_SECONDS = 1.0
"""Time in which sway grows from nothing and dies again."""

SWAY_PERIODS = (3.2, 5.2)
"""s; slow enough that the pressure under the feet stays within 1 cm of the centre of mass."""
SWAY_SIDEWAYS, SWAY_FORWARD, SWAY_DOWN = 0.04, 0.02, 0.025
SWAY_TORSO_YAW, SWAY_TORSO_ROLL, SWAY_ARM = 0.15, 0.04, 0.2
SWAY_ARM_OUT = 0.12
"""rad that both arms stay away from the hips while they sway."""

SQUAT_PERIOD = 4.5
"""s, down and up once."""
SQUAT_DEPTHS = (0.18, 0.215)
"""m the pelvis goes down."""
SQUAT_PEAK_ACCELERATION = 1.0
"""m/s^2; a squat that must fit into less time goes less deep."""
SQUAT_PELVIS_PITCH, SQUAT_TORSO_PITCH = 0.9, 1.6
"""rad for each metre of depth."""
SQUAT_SHOULDER_PITCH, SQUAT_ELBOW = -4.2, -1.0
"""rad for each metre of depth: the arms rise forward as a counterweight."""


def ramp(s: np.ndarray) -> np.ndarray:
    """Return the minimum-jerk step: 0 for s <= 0, 1 for s >= 1, twice differentiable between."""
    s = np.clip(s, 0.0, 1.0)
    return s**3 * (10 - 15 * s + 6 * s**2)


def frame_times(seconds: float, rate: float) -> np.ndarray:
    """Return the times of all frames of a clip of that length, (T,) s."""
    return np.arange(round(seconds * rate) + 1) / rate


def envelope(t: np.ndarray) -> np.ndarray:
    """Return a window that is 0 at rest at both ends of ``t`` and 1 between, (T,)."""
    room = t[-1] - 2 * REST_SECONDS
    ease = min(EASE_SECONDS, room / 2)
    return ramp((t - t[0] - REST_SECONDS) / ease) * ramp((t[-1] - REST_SECONDS - t) / ease)


def stance_targets(t: np.ndarray) -> dict[str, np.ndarray]:
    """Return the targets of standing still in the default pose, ready to be moved."""
    n = len(t)
    feet = np.array([[0, STANCE_HALF_WIDTH, ANKLE_HEIGHT], [0, -STANCE_HALF_WIDTH, ANKLE_HEIGHT]])
    upright = np.array([1.0, 0, 0, 0])
    return {
        "foot_pos": np.tile(feet, (n, 1, 1)),
        "foot_quat": np.tile(upright, (n, 2, 1)),
        "com_xy": np.tile([STANCE_COM_X, 0.0], (n, 1)),
        "pelvis_height": np.full(n, STANCE_PELVIS_HEIGHT),
        "pelvis_quat": np.tile(upright, (n, 1)),
        "torso_quat": np.tile(upright, (n, 1)),
        "posture": np.tile(g1.joint_table().default_pos, (n, 1)),
    }


def tilt(roll: np.ndarray, pitch: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """Return quaternions (T, 4) that yaw, then pitch, then roll, each about the axis moved by the last."""
    zero = np.zeros_like(roll)
    turns = [np.stack(v, -1) for v in ([zero, zero, yaw], [zero, pitch, zero], [roll, zero, zero])]
    z, y, x = (rotations.from_rotation_vector(v) for v in turns)
    return rotations.multiply(rotations.multiply(z, y), x)


def stand_targets(t: np.ndarray, rng: np.random.Generator) -> Targets:
    """Stand and shift weight from side to side, forward and down, with a gentle sway of torso and arms."""
    window = envelope(t)

    def sway(amplitude: float) -> np.ndarray:
        period, phase = rng.uniform(*SWAY_PERIODS), rng.uniform(0, 2 * np.pi)
        return amplitude * window * np.sin(2 * np.pi * t / period + phase)

    targets = stance_targets(t)
    targets["com_xy"][:, 1] += sway(SWAY_SIDEWAYS)
    targets["com_xy"][:, 0] += sway(SWAY_FORWARD)
    targets["pelvis_height"] += sway(SWAY_DOWN / 2) - window * SWAY_DOWN / 2
    zero = np.zeros_like(t)
    targets["torso_quat"] = tilt(sway(SWAY_TORSO_ROLL), zero, sway(SWAY_TORSO_YAW))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        for joint in ("shoulder_pitch", "elbow"):
            targets["posture"][:, g1.JOINT_NAMES.index(f"{side}_{joint}_joint")] += sway(SWAY_ARM)
        out = g1.JOINT_NAMES.index(f"{side}_shoulder_roll_joint")
        targets["posture"][:, out] += sign * SWAY_ARM_OUT * window
    return Targets(**targets)


def squat_targets(t: np.ndarray, rng: np.random.Generator) -> Targets:
    """Squat again and again with the centre of mass over the feet and the arms forward."""
    down = squat_depth(t, rng)
    targets = stance_targets(t)
    targets["pelvis_height"] -= down
    zero = np.zeros_like(t)
    targets["pelvis_quat"] = tilt(zero, SQUAT_PELVIS_PITCH * down, zero)
    targets["torso_quat"] = tilt(zero, SQUAT_TORSO_PITCH * down, zero)
    for side in ("left", "right"):
        for joint, rate in (("shoulder_pitch", SQUAT_SHOULDER_PITCH), ("elbow", SQUAT_ELBOW)):
            targets["posture"][:, g1.JOINT_NAMES.index(f"{side}_{joint}_joint")] += rate * down
    return Targets(**targets)


def squat_depth(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return how far the pelvis is down, (T,) m: equal periods, a depth of its own for each squat."""
    room = t[-1] - 2 * REST_SECONDS
    count = max(1, round(room / SQUAT_PERIOD))
    period = room / count
    # A ramp of height d over half a period p has the peak acceleration 10 / sqrt(3) * d / (p / 2)^2.
    deepest = SQUAT_PEAK_ACCELERATION * (period / 2) ** 2 * np.sqrt(3) / 10
    scale = min(1.0, deepest / SQUAT_DEPTHS[1])
    down = np.zeros_like(t)
    for i in range(count):
        s = (t - REST_SECONDS - i * period) / period
        down += scale * rng.uniform(*SQUAT_DEPTHS) * ramp(2 * s) * ramp(2 - 2 * s)
    return down
