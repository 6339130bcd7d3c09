"""What every synthesised motion starts from: the stance, smooth ramps, tilted frames."""

import numpy as np

from beyondmimic_data import rotations
from beyondmimic_data.robots import g1

ANKLE_HEIGHT = 0.035
"""m; ankle roll link origin above the floor when its sole lies flat on it."""
STANCE_HALF_WIDTH = 0.14
"""m; ankles outside the hips (0.1185), so that a tilted start needs no step to the side."""
STANCE_COM_X = 0.04
"""m; centre of mass in front of the ankles, about over the middle of the sole; a plan of steps moves it."""
STANCE_PELVIS_HEIGHT = 0.757
"""m; the default pose with its soles on the floor."""


def ramp(s: np.ndarray) -> np.ndarray:
    """Return the minimum-jerk step: 0 for s <= 0, 1 for s >= 1, twice differentiable between."""
    s = np.clip(s, 0.0, 1.0)
    return s**3 * (10 - 15 * s + 6 * s**2)


def frame_times(seconds: float, rate: float) -> np.ndarray:
    """Return the times of all frames of a clip of that length, (T,) s."""
    return np.arange(round(seconds * rate) + 1) / rate


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
