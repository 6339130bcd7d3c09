"""Reading NPZ: this project's own clips, and the layout of whole_body_tracking and mjlab.

The latter carries no names. Depth-first (MuJoCo) or breadth-first (Isaac) order, and the order of the
quaternions, are proven by forward kinematics: under the right one every link is where the file says to 1 mm.
Velocities in such files are of centres of mass or of link origins; they are left aside and recomputed.
"""

import math
from pathlib import Path

import numpy as np

from beyondmimic_data import rotations
from beyondmimic_data.errors import MotionError
from beyondmimic_data.motions import kinematics
from beyondmimic_data.motions.clip import Clip
from beyondmimic_data.motions.csv_motion import reorder
from beyondmimic_data.motions.motion_config import FPS_RANGE, QUATERNION_ORDERS
from beyondmimic_data.motions.npz_file import Header, NpzFile, open_npz
from beyondmimic_data.motions.plausible import (
    check_frames,
    check_motion,
    check_values,
    sample,
)
from beyondmimic_data.robots import g1, g1_facts

TRACKING_LAYOUT = ("fps", "joint_pos", "body_pos_w", "body_quat_w")
"""Arrays that are read; joint_vel, body_lin_vel_w and body_ang_vel_w are recomputed."""
TOLERANCE = 1e-3
"""m; a link further from where the file says disproves an order."""


def read_npz(path: Path) -> tuple[np.ndarray, float, tuple[str, ...]]:
    """Read a motion NPZ.

    Returns:
        Generalised positions (T, 36), the rate in Hz, and notes on what was found.

    Raises:
        MotionError: the file is broken, of another layout, or of another robot.
    """
    with open_npz(path) as file:
        if "header" in file.headers:
            return _own_clip(path)
        missing = [name for name in TRACKING_LAYOUT if name not in file.headers]
        if missing:
            raise MotionError(
                path,
                "NPZ layout",
                "arrays " + ", ".join(sorted(file.headers)[:10]),
                f"{', '.join(TRACKING_LAYOUT)} (whole_body_tracking, mjlab) or a clip of this project; "
                f"missing {', '.join(missing)}",
            )
        fps = _rate(path, file)
        _check_shapes(path, file.headers)
        joints, positions, quats = (
            file.read_numbers(name).astype(np.float64, copy=False) for name in TRACKING_LAYOUT[1:]
        )
    bodies, joint_order, quat = _prove_order(path, joints, positions, quats)
    pelvis = bodies.index(g1.BODY_NAMES[0])
    columns = [joint_order.index(name) for name in g1.JOINT_NAMES]
    table = np.concatenate([positions[:, pelvis], quats[:, pelvis], joints[:, columns]], axis=1)
    check_values(path, table)
    qpos = reorder(table, quat)
    check_motion(path, qpos, fps)
    kind = "depth-first" if joint_order == g1.JOINT_NAMES else "breadth-first"
    return qpos, fps, (f"{kind} order and {quat} quaternions proven by kinematics", "velocities recomputed")


def breadth_first() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of bodies and of joints in breadth-first order, as Isaac's simulators have them."""
    bodies = [g1.BODY_NAMES[0]]
    for name in bodies:  # grows while it is read: parents are visited in the order in which they were added
        bodies.extend(link.name for link in g1_facts.LINKS if link.parent == name)
    joint_of = dict(zip(g1.BODY_NAMES[1:], g1.JOINT_NAMES))
    return tuple(bodies), tuple(joint_of[name] for name in bodies[1:])


def _own_clip(path: Path) -> tuple[np.ndarray, float, tuple[str, ...]]:
    """Return what a clip written by ``Clip.save`` holds."""
    clip = Clip.load(path)
    if clip.joint_names != g1.JOINT_NAMES:
        wrong = next((n for n in clip.joint_names if n not in g1.JOINT_NAMES), "another order")
        raise MotionError(path, "joint_names", wrong, "the G1's 29 joints in depth-first order")
    if clip.body_names != g1.BODY_NAMES:
        wrong = next((n for n in clip.body_names if n not in g1.BODY_NAMES), "another order")
        raise MotionError(path, "body_names", wrong, "the G1's 30 links in depth-first order")
    fps = float(clip.fps)
    check_frames(path, clip.num_frames)
    qpos = clip.qpos.astype(np.float64)
    check_values(path, qpos)
    check_motion(path, qpos, fps)
    distance = _distance(qpos, clip.body_pos_w, g1.BODY_NAMES)
    if distance > TOLERANCE:
        raise MotionError(
            path, "body_pos_w", f"links {distance * 1e3:.1f} mm from where the joints put them", "1 mm"
        )
    return qpos, fps, ()


def _rate(path: Path, file: NpzFile) -> float:
    header = file.headers["fps"]
    if math.prod(header.shape) != 1 or header.dtype.kind not in "iuf":
        raise MotionError(path, "fps", f"{header.dtype} of shape {header.shape}", "one number")
    fps = float(file.read("fps").reshape(-1)[0])
    if not FPS_RANGE[0] <= fps <= FPS_RANGE[1]:
        raise MotionError(path, "fps", fps, f"between {FPS_RANGE[0]:g} and {FPS_RANGE[1]:g}")
    return fps


def _check_shapes(path: Path, headers: dict[str, Header]) -> None:
    """Refuse arrays that will not be (T, 29), (T, 30, 3) and (T, 30, 4)."""
    frames = (headers["joint_pos"].shape or (0,))[0]
    expected = {
        "joint_pos": (frames, g1.NUM_JOINTS),
        "body_pos_w": (frames, g1.NUM_BODIES, 3),
        "body_quat_w": (frames, g1.NUM_BODIES, 4),
    }
    for name, shape in expected.items():
        if headers[name].shape != shape:
            found = f"shape {headers[name].shape}"
            raise MotionError(path, name, found, f"{shape}, the G1 with 29 joints and 30 links")
    check_frames(path, frames)


def _prove_order(
    path: Path, joints: np.ndarray, positions: np.ndarray, quats: np.ndarray
) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """Return the body names, joint names and quaternion order under which kinematics and file agree.

    Raises:
        MotionError: no order does.
    """
    orders = {"depth-first": (g1.BODY_NAMES, g1.JOINT_NAMES), "breadth-first": breadth_first()}
    misses = []
    rows = sample(np.arange(len(joints)))
    for kind, (bodies, joint_names) in orders.items():
        columns = [joint_names.index(name) for name in g1.JOINT_NAMES]
        for quat in QUATERNION_ORDERS:
            table = np.concatenate([positions[rows, 0], quats[rows, 0], joints[rows][:, columns]], axis=1)
            distance = _distance(reorder(table, quat), positions[rows], bodies)
            if distance <= TOLERANCE:
                return bodies, joint_names, quat
            misses.append(f"{kind} {quat} {distance * 1e3:.0f} mm")
    raise MotionError(
        path,
        "order of joints and bodies",
        "links off by " + ", ".join(misses),
        "the G1 in depth- or breadth-first order, links within 1 mm of its kinematics",
    )


def _distance(qpos: np.ndarray, positions: np.ndarray, bodies: tuple[str, ...]) -> float:
    """Return how far in m links (T, 30, 3) named ``bodies`` are at most from the kinematics of (T, 36)."""
    qpos = qpos.copy()
    norms = np.linalg.norm(qpos[:, 3:7], axis=1)
    if (norms < 0.5).any():
        return float("inf")
    qpos[:, 3:7] = rotations.normalize(qpos[:, 3:7])
    expected, _ = kinematics.forward(qpos)
    columns = [bodies.index(name) for name in g1.BODY_NAMES]
    return float(np.linalg.norm(expected - positions[:, columns], axis=-1).max())
