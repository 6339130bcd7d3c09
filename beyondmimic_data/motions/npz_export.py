"""Writing rolled-out episodes as motion NPZ in the layout of whole_body_tracking and mjlab.

Such files carry no names, so the order is the reader's: breadth-first in whole_body_tracking (Isaac's
simulators), depth-first in mjlab (MuJoCo). Here the names stand in the file beside the arrays.
"""

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np

from beyondmimic_data import rotations
from beyondmimic_data.errors import MotionError
from beyondmimic_data.motions import kinematics
from beyondmimic_data.motions.npz_motion import TOLERANCE, breadth_first
from beyondmimic_data.robots import g1

Order = Literal["breadth-first", "depth-first"]


@dataclasses.dataclass(frozen=True)
class States:
    """States of one episode, T of them, world frame, SI units, ``g1``'s orders of joints and bodies."""

    root_pos_w: np.ndarray
    """(T, 3) m."""
    root_quat_w: np.ndarray
    """(T, 4) wxyz."""
    root_ang_vel_w: np.ndarray
    """(T, 3) rad/s."""
    body_pos_w: np.ndarray
    """(T, 30, 3) m, link origins."""
    body_lin_vel_w: np.ndarray
    """(T, 30, 3) m/s, of link origins."""
    joint_pos: np.ndarray
    """(T, 29) rad."""
    joint_vel: np.ndarray
    """(T, 29) rad/s."""


def order_names(order: Order) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of bodies and of joints in an order."""
    return breadth_first() if order == "breadth-first" else (g1.BODY_NAMES, g1.JOINT_NAMES)


def write_episode(path: Path, states: States, fps: float, order: Order, precision: float) -> None:
    """Write one episode.

    Orientations and angular velocities of the links, which states lack, follow from the base and the joints;
    so do the positions, which are compared with the stored ones.

    Args:
        path: NPZ file.
        states: what is written.
        fps: states a second.
        order: of joints and bodies in the file.
        precision: relative distance of neighbouring numbers in the type that ``states`` were stored in.

    Raises:
        MotionError: links are not where the joints put them: the states are of another robot or order.
    """
    quat = rotations.normalize(states.root_quat_w.astype(np.float64))
    qpos = np.concatenate([states.root_pos_w, quat, states.joint_pos], axis=1, dtype=np.float64)
    positions, orientations = kinematics.forward(qpos)
    _check(path, positions, states.body_pos_w, precision)
    body_names, joint_names = order_names(order)
    bodies = [g1.BODY_NAMES.index(name) for name in body_names]
    joints = [g1.JOINT_NAMES.index(name) for name in joint_names]
    turning = kinematics.angular_velocities(orientations, states.root_ang_vel_w, states.joint_vel)
    arrays = {
        "joint_pos": states.joint_pos[:, joints],
        "joint_vel": states.joint_vel[:, joints],
        "body_pos_w": positions[:, bodies],
        "body_quat_w": orientations[:, bodies],
        "body_lin_vel_w": states.body_lin_vel_w[:, bodies],
        "body_ang_vel_w": turning[:, bodies],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path,
        fps=np.array([fps]),
        joint_names=np.array(joint_names),
        body_names=np.array(body_names),
        **{name: values.astype(np.float32) for name, values in arrays.items()},  # type: ignore[arg-type]
    )


def _check(path: Path, positions: np.ndarray, stored: np.ndarray, precision: float) -> None:
    """Refuse states whose links (T, 30, 3) are further from the kinematics than their rounding explains."""
    limit = TOLERANCE + 8 * precision * (1 + float(np.abs(stored).max()))
    distance = float(np.linalg.norm(positions - stored, axis=-1).max())
    if distance > limit:
        raise MotionError(
            path.stem,
            "body_pos_w",
            f"links {distance * 1e3:.1f} mm from where the joints put them",
            f"at most {limit * 1e3:.1f} mm",
        )
