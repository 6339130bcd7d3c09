"""Small motions for the tests: a person who squats, as BVH; the robot that sways, as CSV and NPZ."""

from pathlib import Path

import numpy as np

from beyondmimic_data import rotations
from beyondmimic_data.motions import kinematics
from beyondmimic_data.motions.keypoints import Keypoints
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


def jog_keypoints(seconds: float = 3.0, fps: float = 50.0, slide: float = 0.3) -> Keypoints:
    """Return keypoints in m, z up, of a person who jogs along x at 2.4 m/s.

    Each foot stands for 36 % of a stride, and slides forward meanwhile, as feet in motion capture do.

    Args:
        seconds: length.
        fps: rate, Hz.
        slide: speed of standing feet, m/s.
    """
    speed, stride, share, bone, lift = 2.4, 0.7, 0.36, 0.4, 0.08
    time = np.arange(round(seconds * fps)) / fps
    pelvis = np.stack([speed * time, np.zeros_like(time), 0.8 - 0.02 * np.cos(4 * np.pi * time / stride)], -1)
    ankles, toes, knees, hips = (np.zeros((len(time), 2, 3)) for _ in range(4))
    for s, sign in enumerate((1.0, -1.0)):
        count, phase = np.divmod(time / stride + 0.5 * s, 1.0)
        stands = phase < share
        swing = np.clip((phase - share) / (1 - share), 0, 1)
        slid = slide * share * stride
        reached = slid + (speed * stride - slid) * (1 - np.cos(np.pi * swing)) / 2
        x = speed * stride * (count - 0.5 * s + share / 2) + np.where(stands, slide * phase * stride, reached)
        pitch = 1.0 * np.sin(np.pi * swing) ** 2
        z = lift + 0.25 * np.sin(np.pi * swing) ** 2
        ankles[:, s] = np.stack([x, np.full_like(x, 0.09 * sign), z], -1)
        forward = np.stack([np.cos(pitch), np.zeros_like(pitch), -np.sin(pitch)], -1)
        toes[:, s] = ankles[:, s] + 0.15 * forward - [0, 0, 0.05]
        hips[:, s] = pelvis + np.array([0, 0.09 * sign, 0])
        leg = ankles[:, s] - hips[:, s]
        length = np.minimum(np.linalg.norm(leg, axis=-1, keepdims=True), 2 * bone - 1e-3)
        along = leg / np.linalg.norm(leg, axis=-1, keepdims=True)
        bend = np.array([1.0, 0, 0]) - along[:, :1] * along
        bend /= np.linalg.norm(bend, axis=-1, keepdims=True)
        knees[:, s] = hips[:, s] + along * length / 2 + bend * np.sqrt(bone**2 - length**2 / 4)
        ankles[:, s] = hips[:, s] + along * length
    swinging = 0.5 * np.sin(2 * np.pi * time / stride)
    up = np.array([0.0, 0.0, 1.0])
    side = np.array([[0, 0.18, 0.4], [0, -0.18, 0.4]])
    shoulders = pelvis[:, None] + side
    upper = np.stack([swinging, -swinging], 1)
    elbows = shoulders + 0.25 * np.stack([np.sin(upper), np.zeros_like(upper), -np.cos(upper)], -1)
    wrists = elbows + 0.25 * np.stack([np.cos(upper), np.zeros_like(upper), np.sin(upper)], -1)
    return Keypoints(
        spine=pelvis + 0.15 * up,
        neck=pelvis + 0.45 * up,
        hips=hips,
        knees=knees,
        ankles=ankles,
        toes=toes,
        shoulders=shoulders,
        elbows=elbows,
        wrists=wrists,
    )


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
