"""Edits of a motion at the control rate: mirrored, cut, and pieces joined without a jump or a slipping foot.

Two pieces meet in one frame. The second is moved in the plane so that the pelvis keeps its heading and the
foot that stands keeps its place; what still differs in pose and velocity is shared between both and fades
out over half of ``blend`` on either side. A standing foot that is at one place on both sides so stays there
to first order, whatever joints and base have to make up.
"""

import dataclasses
import itertools

import numpy as np

from beyondmimic_data import rotations
from beyondmimic_data.motions.plausible import sole_points
from beyondmimic_data.robots import g1, symmetry

STANDING_HEIGHT = 0.04
"""m; a sole whose middle is higher bears nothing where pieces meet."""
MAX_LEG_GAP = 0.6
"""rad that a joint of legs or waist may differ between two ends that are joined."""
MAX_ARM_GAP = 1.5
"""rad that a joint of the arms may differ."""
MAX_HEIGHT_GAP = 0.08
"""m that the pelvis may be higher or lower."""
MAX_TILT_GAP = 0.4
"""rad that the pelvis may lean otherwise."""
MIDDLE_SLOPE = 15 / 8
"""Slope of a quintic step in its middle, for half its height and half its width."""
ARMS = np.array([any(part in n for part in ("shoulder", "elbow", "wrist")) for n in g1.JOINT_NAMES])


@dataclasses.dataclass(frozen=True)
class Part:
    """A piece of a motion with its velocities, which know the frames beyond a cut."""

    qpos: np.ndarray
    """(T, 36) generalised positions."""
    velocity: np.ndarray
    """(T, 35) of the base (m/s, rad/s, world frame) and of the joints (rad/s)."""

    @classmethod
    def of(cls, qpos: np.ndarray, fps: float) -> "Part":
        """Differentiate a motion of at least three frames at ``fps`` Hz."""
        linear = np.gradient(qpos[:, :3], 1 / fps, axis=0, edge_order=2)
        joints = np.gradient(qpos[:, 7:], 1 / fps, axis=0, edge_order=2)
        return cls(qpos, np.hstack([linear, rotations.angular_velocity(qpos[:, 3:7], 1 / fps), joints]))

    def cut(self, first: int, last: int) -> "Part":
        """Return the frames from ``first`` to ``last``, both included."""
        return Part(self.qpos[first : last + 1], self.velocity[first : last + 1])

    def moved(self, yaw: float, about: np.ndarray, to: np.ndarray) -> "Part":
        """Turn by ``yaw`` rad about the vertical through ``about`` (2,), and bring that point ``to`` (2,)."""
        turn = rotations.from_yaw(np.float64(yaw))
        centre, target = np.array([*about, 0.0]), np.array([*to, 0.0])
        qpos, velocity = self.qpos.copy(), self.velocity.copy()
        qpos[:, :3] = rotations.rotate(turn, qpos[:, :3] - centre) + target
        qpos[:, 3:7] = rotations.multiply(np.broadcast_to(turn, (len(qpos), 4)), qpos[:, 3:7])
        velocity[:, :3] = rotations.rotate(turn, velocity[:, :3])
        velocity[:, 3:6] = rotations.rotate(turn, velocity[:, 3:6])
        return Part(qpos, velocity)


@dataclasses.dataclass(frozen=True)
class Gap:
    """How far apart two ends are that are joined."""

    joint: str
    """The joint that differs most, for what it may."""
    joint_rad: float
    height_m: float
    tilt_rad: float

    @property
    def problem(self) -> str | None:
        """What is too far apart, or ``None``."""
        limit = MAX_ARM_GAP if ARMS[g1.JOINT_NAMES.index(self.joint)] else MAX_LEG_GAP
        for what, found, most, unit in (
            (self.joint, self.joint_rad, limit, "rad"),
            ("pelvis height", self.height_m, MAX_HEIGHT_GAP, "m"),
            ("pelvis tilt", self.tilt_rad, MAX_TILT_GAP, "rad"),
        ):
            if found > most:
                return f"{what} {found:.2f} {unit} apart, more than {most:g}"
        return None


def mirrored(qpos: np.ndarray) -> np.ndarray:
    """Return the reflection of a motion (T, 36) in the world's x-z plane: left and right change places."""
    out = np.empty_like(qpos)
    out[:, :3] = qpos[:, :3] * symmetry.POLAR
    out[:, 3:7] = qpos[:, 3:7] * (1.0, *symmetry.AXIAL)
    joints = qpos[:, 7:][:, symmetry.counterparts(g1.JOINT_NAMES)]
    out[:, 7:] = joints * symmetry.joint_signs(g1.JOINT_NAMES)
    return out


def join(parts: list[Part], fps: float, blend: float) -> tuple[np.ndarray, list[Gap]]:
    """Play parts one after the other.

    Args:
        parts: each at least ``blend`` long; the last frame of one and the first of the next become one frame.
        fps: their rate, Hz.
        blend: s around each joint over which differences fade out.

    Returns:
        The motion (1 + sum of (T - 1), 36), where the first part starts, and the gap of each joint.
    """
    placed, gaps = parts[:1], []
    for part in parts[1:]:
        placed.append(_continuing(placed[-1], part))
        gaps.append(_gap(placed[-2].qpos[-1], placed[-1].qpos[0]))
    half = max(1, round(blend * fps / 2))
    motions = [part.qpos for part in placed]
    for i, (before, after) in enumerate(itertools.pairwise(placed)):
        difference = _difference(before.qpos[-1], after.qpos[0]) / 2
        change = (after.velocity[0] - before.velocity[-1]) / 2
        fade = _fade(difference, change, half, fps)
        motions[i] = _with_offsets(motions[i], fade, len(motions[i]) - 1 - half)
        fade = _fade(-difference, change, half, fps)[::-1]
        motions[i + 1] = _with_offsets(motions[i + 1], fade, 0)
    return np.concatenate([motions[0], *(motion[1:] for motion in motions[1:])]), gaps


def _continuing(before: Part, part: Part) -> Part:
    """Move a part in the plane to where the one before it ends."""
    end, start = before.qpos[-1], part.qpos[0]
    yaw = float(rotations.yaw(end[3:7]) - rotations.yaw(start[3:7]))
    moved = part.moved(yaw, start[:2], end[:2])
    there, here = sole_points(np.stack([end, moved.qpos[0]])).mean(2)
    bears = np.clip(1 - np.maximum(there[:, 2], here[:, 2]) / STANDING_HEIGHT, 0, 1)
    if bears.sum() > 0:
        shift = bears @ (there - here)[:, :2] / bears.sum()
        moved = moved.moved(0.0, np.zeros(2), shift)
    return moved


def _gap(end: np.ndarray, start: np.ndarray) -> Gap:
    """Compare two poses (36,) of equal heading."""
    joints = np.abs(start[7:] - end[7:])
    worst = int(np.argmax(joints / np.where(ARMS, MAX_ARM_GAP, MAX_LEG_GAP)))
    return Gap(
        joint=g1.JOINT_NAMES[worst],
        joint_rad=float(joints[worst]),
        height_m=float(abs(start[2] - end[2])),
        tilt_rad=float(rotations.angle_between(start[3:7], end[3:7])),
    )


def _difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return (35,) what takes pose a (36,) to b: m, rotation vector in the world frame, rad."""
    turn = rotations.to_rotation_vector(rotations.multiply(b[3:7], rotations.conjugate(a[3:7])))
    return np.concatenate([b[:3] - a[:3], turn, b[7:] - a[7:]])


def _fade(value: np.ndarray, slope: np.ndarray, frames: int, fps: float) -> np.ndarray:
    """Return (frames + 1, D) offsets that rise from rest at zero to a value, without curvature at both ends.

    Two rises back to back, the second reversed and to the opposite value, make one smooth step between two
    motions that are twice the value apart and whose velocities, a second's, differ by twice ``slope``.
    """
    slope = slope + MIDDLE_SLOPE * value * fps / frames
    u = np.linspace(0, 1, frames + 1)[:, None]
    rise = u**3 * (10 - 15 * u + 6 * u**2)
    bend = u**3 * (-4 + 7 * u - 3 * u**2)
    return rise * value + bend * slope * (frames / fps)


def _with_offsets(qpos: np.ndarray, offsets: np.ndarray, first: int) -> np.ndarray:
    """Add offsets (F, 35) to the frames from ``first`` on."""
    out = qpos.copy()
    rows = slice(first, first + len(offsets))
    out[rows, :3] += offsets[:, :3]
    turns = rotations.from_rotation_vector(offsets[:, 3:6])
    out[rows, 3:7] = rotations.normalize(rotations.multiply(turns, qpos[rows, 3:7]))
    out[rows, 7:] += offsets[:, 6:]
    return out
