"""What every imported motion must be, whatever file it came from: finite, in SI units, the right way up."""

from pathlib import Path

import numpy as np

from beyondmimic_data import rotations
from beyondmimic_data.errors import MotionError
from beyondmimic_data.motions import kinematics
from beyondmimic_data.motions.formats import MAX_FRAMES
from beyondmimic_data.motions.robot_body import robot_body
from beyondmimic_data.robots import g1, g1_facts

MIN_FRAMES = 2
MAX_HEIGHT = 3.0
"""m; a base higher or lower than this is not on Earth, or not in metres."""
MAX_RANGE = 1000.0
"""m a base may be from the origin."""
MAX_BASE_SPEED = 15.0
"""m/s."""
NORM_TOLERANCE = 0.02
"""Deviation of a root quaternion's length from 1 that is rounding; beyond it the column is no quaternion."""
COLUMNS = ("x", "y", "z", "quat 0", "quat 1", "quat 2", "quat 3", *g1.JOINT_NAMES)
FEET = tuple(g1.BODY_NAMES.index(name) for name in g1_facts.FOOT_BODIES)
SAMPLE = 200


def check_frames(file: Path, frames: int) -> None:
    """Refuse motions of no or too many frames.

    Raises:
        MotionError: as said.
    """
    if frames < MIN_FRAMES:
        raise MotionError(file, "frames", frames, f"at least {MIN_FRAMES}")
    if frames > MAX_FRAMES:
        raise MotionError(file, "frames", frames, f"at most {MAX_FRAMES}")


def check_values(file: Path, table: np.ndarray) -> None:
    """Refuse a table (T, 36) whose values are not finite, or not metres, unit quaternions and radians.

    The order of the quaternion does not matter here.

    Raises:
        MotionError: names the frame and the column.
    """
    check_frames(file, len(table))
    if not np.isfinite(table).all():
        frame, column = np.argwhere(~np.isfinite(table))[0]
        value = table[frame, column]
        raise MotionError(file, f"frame {frame}, column {COLUMNS[column]}", value, "a finite number")
    norms = np.linalg.norm(table[:, 3:7], axis=1)
    worst = int(np.argmax(np.abs(norms - 1)))
    if abs(norms[worst] - 1) > NORM_TOLERANCE:
        raise MotionError(file, f"frame {worst}, root quaternion", f"length {norms[worst]:.4g}", "length 1")
    _check_base(file, table[:, :3])
    turns = float(np.abs(table[:, 7:]).max())
    if turns > 2 * np.pi:
        frame, joint = np.unravel_index(np.abs(table[:, 7:]).argmax(), table[:, 7:].shape)
        hint = "radians; these look like degrees" if turns > 10 else "radians"
        raise MotionError(file, f"frame {frame}, {g1.JOINT_NAMES[joint]}", f"{turns:.4g}", hint)


def _check_base(file: Path, base: np.ndarray) -> None:
    """Refuse base positions (T, 3) that cannot be metres of a robot on a floor."""
    height = float(np.abs(base[:, 2]).max())
    if height > MAX_HEIGHT:
        unit = "; these look like millimetres" if 200 < np.median(np.abs(base[:, 2])) < 3000 else ""
        raise MotionError(file, "root height", f"{height:.4g}", f"metres, at most {MAX_HEIGHT:g}{unit}")
    reach = float(np.abs(base[:, :2]).max())
    if reach > MAX_RANGE:
        raise MotionError(
            file, "root position", f"{reach:.4g}", f"metres, at most {MAX_RANGE:g} from the origin"
        )


def check_motion(file: Path, qpos: np.ndarray, fps: float) -> None:
    """Refuse generalised positions (T, 36), wxyz, that fly or stand on their head.

    Raises:
        MotionError: names what.
    """
    speeds = np.linalg.norm(np.diff(qpos[:, :3], axis=0), axis=1) * fps
    # Jumps of a few frames are left to the repairs; whole motions at the wrong rate or unit are not.
    if np.median(speeds) > MAX_BASE_SPEED:
        raise MotionError(
            file,
            "root speed",
            f"{np.median(speeds):.3g} m/s",
            f"under {MAX_BASE_SPEED:g} m/s; are fps and unit right?",
        )
    up = upright(qpos[:, 3:7])
    if up < -0.3:
        raise MotionError(
            file,
            "posture",
            f"the pelvis upside down (its up axis has mean z {up:.2f})",
            "a robot the right way up, z up; is the quaternion order right?",
        )


def upright(quats: np.ndarray) -> float:
    """Return the mean world z of the pelvis' up axis for (T, 4) wxyz."""
    return float(rotations.rotate(rotations.normalize(quats), np.array([0.0, 0.0, 1.0]))[:, 2].mean())


def sole_points(qpos: np.ndarray) -> np.ndarray:
    """Return the world positions (T, 2, 4, 3) of the corners of both soles for (T, 36)."""
    positions, quaternions = kinematics.forward(qpos)
    return sole_points_of(positions[:, FEET], quaternions[:, FEET])


def sole_points_of(ankles: np.ndarray, quats: np.ndarray) -> np.ndarray:
    """Return the corners (T, 2, 4, 3) of both soles from ankle roll links (T, 2, 3) and (T, 2, 4)."""
    return ankles[:, :, None] + rotations.rotate(quats[:, :, None], robot_body().sole[None, None])


def sample(qpos: np.ndarray) -> np.ndarray:
    """Return at most ``SAMPLE`` frames spread over the motion."""
    return qpos[np.linspace(0, len(qpos) - 1, min(len(qpos), SAMPLE)).astype(int)]
