"""Small motions for the tests: a person who squats, as BVH; the robot that sways, as CSV and NPZ."""

from pathlib import Path

import numpy as np

from beyondmimic_data import rotations
from beyondmimic_data.motions import kinematics
from beyondmimic_data.motions.plausible import sole_points
from beyondmimic_data.motions.skeletons import DAZ, Skeleton
from beyondmimic_data.robots import g1

THIGH = SHIN = 40.0
"""cm, the person's bones."""
LIFT = 8.0
"""cm of the ankle over the floor."""
BVH_FPS = 100.0


def person_offsets(skeleton: Skeleton) -> list[tuple[str, str | None, tuple[float, float, float]]]:
    """Return (joint, parent, offset) in cm, y up, facing z; a T-pose. End sites have a name with '/end'."""
    rows: list[tuple[str, str | None, tuple[float, float, float]]] = [
        ("root", None, (0.0, 0.0, 0.0)),
        (skeleton.spine, "root", (0.0, 15.0, 0.0)),
        (skeleton.neck, skeleton.spine, (0.0, 35.0, 0.0)),
        (skeleton.neck + "/end", skeleton.neck, (0.0, 10.0, 0.0)),
    ]
    for side, sign in ((0, 1.0), (1, -1.0)):
        rows += [
            (skeleton.shoulders[side], skeleton.spine, (15.0 * sign, 30.0, 0.0)),
            (skeleton.elbows[side], skeleton.shoulders[side], (25.0 * sign, 0.0, 0.0)),
            (skeleton.wrists[side], skeleton.elbows[side], (25.0 * sign, 0.0, 0.0)),
            (skeleton.wrists[side] + "/end", skeleton.wrists[side], (10.0 * sign, 0.0, 0.0)),
            (skeleton.hips[side], "root", (9.0 * sign, 0.0, 0.0)),
            (skeleton.knees[side], skeleton.hips[side], (0.0, -THIGH, 0.0)),
            (skeleton.ankles[side], skeleton.knees[side], (0.0, -SHIN, 0.0)),
        ]
        toe = skeleton.toes[side]
        if toe.endswith("/end"):
            rows.append((toe, skeleton.ankles[side], (0.0, -LIFT + 3.0, 15.0)))
        else:
            rows += [
                (toe, skeleton.ankles[side], (0.0, -LIFT + 3.0, 15.0)),
                (toe + "/end", toe, (0.0, 0.0, 3.0)),
            ]
    return rows


def squat_bvh(
    seconds: float = 2.0, depth: float = 0.7, skeleton: Skeleton = DAZ, *, rest: str = "upright"
) -> str:
    """Return a BVH of a person who squats once with still, flat feet.

    Args:
        seconds: length.
        depth: greatest thigh angle, rad.
        skeleton: names of the joints.
        rest: "upright" stores the T-pose as offsets; "lying" lays them down and turns the root up again.
    """
    turn = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]) if rest == "lying" else np.eye(3)
    rows = person_offsets(skeleton)
    children: dict[str | None, list[tuple[str, tuple[float, float, float]]]] = {}
    for name, parent, offset in rows:
        children.setdefault(parent, []).append((name, offset))
    order: list[str] = []

    def block(name: str, offset: tuple[float, float, float], indent: str) -> str:
        x, y, z = turn @ np.array(offset)
        if name.endswith("/end"):
            return f"{indent}End Site\n{indent}{{\n{indent}  OFFSET {x:.4f} {y:.4f} {z:.4f}\n{indent}}}\n"
        order.append(name)
        kind = "ROOT" if name == "root" else "JOINT"
        channels = "3 Zrotation Xrotation Yrotation"
        if name == "root":
            channels = "6 Xposition Yposition Zposition Zrotation Xrotation Yrotation"
        inner = "".join(block(n, o, indent + "  ") for n, o in children.get(name, []))
        head = f"{indent}{kind} {name}\n{indent}{{\n{indent}  OFFSET {x:.4f} {y:.4f} {z:.4f}\n"
        return f"{head}{indent}  CHANNELS {channels}\n{inner}{indent}}}\n"

    hierarchy = "HIERARCHY\n" + block("root", (0.0, 0.0, 0.0), "")
    frames = round(seconds * BVH_FPS) + 1
    bend = depth * np.sin(np.linspace(0, np.pi, frames)) ** 2
    lines = []
    for angle in bend:
        degrees = float(np.degrees(angle))
        height = LIFT + (THIGH + SHIN) * np.cos(angle)
        values = [0.0, height, 0.0]
        for name in order:
            x = 0.0
            if name in skeleton.hips:
                x = -degrees
            elif name in skeleton.knees:
                x = 2 * degrees
            elif name in skeleton.ankles:
                x = -degrees
            rotation = [0.0, x, 0.0]
            if rest == "lying":
                # Offsets o' = turn o: the root turns back, and a joint's turn about x stays a turn about x.
                rotation = [0.0, x + (90.0 if name == "root" else 0.0), 0.0]
            values += rotation
        lines.append(" ".join(f"{v:.5f}" for v in values))
    return f"{hierarchy}MOTION\nFrames: {frames}\nFrame Time: {1 / BVH_FPS:.6f}\n" + "\n".join(lines) + "\n"


def sway_qpos(frames: int = 90, fps: float = 60.0) -> np.ndarray:
    """Return (T, 36) of the robot in its default pose, feet on the floor, waving, turned by 40 degrees."""
    qpos = np.tile(g1.default_qpos(), (frames, 1))
    qpos[:, 3:7] = rotations.from_yaw(np.full(frames, 0.7))
    qpos[:, 2] -= sole_points(qpos[:1])[..., 2].min()
    time = np.arange(frames) / fps
    for name, phase in (("left_shoulder_pitch_joint", 0.0), ("right_elbow_joint", 1.0)):
        qpos[:, 7 + g1.JOINT_NAMES.index(name)] += 0.4 * np.sin(2 * np.pi * time + phase)
    return qpos


def write_csv(path: Path, qpos: np.ndarray, quat: str = "xyzw") -> Path:
    """Write a G1 CSV."""
    table = qpos.copy()
    if quat == "xyzw":
        table[:, 3:7] = qpos[:, [4, 5, 6, 3]]
    np.savetxt(path, table, delimiter=",", fmt="%.6f")
    return path


def tracking_arrays(
    qpos: np.ndarray, bodies: tuple[str, ...], joints: tuple[str, ...], fps: float = 60.0
) -> dict[str, np.ndarray]:
    """Return the arrays of whole_body_tracking's layout in a given order, velocities left at nonsense."""
    positions, quats = kinematics.forward(qpos)
    body = [g1.BODY_NAMES.index(n) for n in bodies]
    joint = [7 + g1.JOINT_NAMES.index(n) for n in joints]
    shape = (len(qpos), len(bodies), 3)
    return {
        "fps": np.array([fps]),
        "joint_pos": qpos[:, joint].astype(np.float32),
        "joint_vel": np.full((len(qpos), len(joints)), 7.0, np.float32),
        "body_pos_w": positions[:, body].astype(np.float32),
        "body_quat_w": quats[:, body].astype(np.float32),
        "body_lin_vel_w": np.full(shape, 7.0, np.float32),
        "body_ang_vel_w": np.full(shape, 7.0, np.float32),
    }
