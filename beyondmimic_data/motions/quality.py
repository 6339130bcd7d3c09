"""The quality check of a clip: is it a motion that the robot could follow on a flat floor?"""

import dataclasses
from typing import Any

import mujoco
import numpy as np

from beyondmimic_data.config import QualityConfig
from beyondmimic_data.motions import kinematics
from beyondmimic_data.motions.clip import NOTE_SEPARATOR, Clip
from beyondmimic_data.motions.plausible import FEET, sole_points_of
from beyondmimic_data.robots import g1

NEAR_FLOOR = 0.015
"""m; soles below it count as standing when skating is measured."""
SAME_HEIGHT = 0.005
"""m; the higher foot bears weight too while it is no more than this over the lower one."""
CONTACT_HEIGHT = 0.03
"""m; a sole below it counts as contact."""
DEEP = 0.02
"""m of penetration whose share of frames is reported."""
SELF_DEPTH = 0.01
"""m of self-penetration whose share of frames is reported."""


@dataclasses.dataclass(frozen=True)
class QualityReport:
    """The verdict on one clip."""

    clip: str
    accepted: bool
    reason: str
    """Why it is refused; empty when it is accepted."""
    edits: tuple[str, ...]
    """What its ``[[clips]]`` table did; empty for the clip of a file."""
    repairs: tuple[str, ...]
    """What the importer changed."""
    metrics: dict[str, float]
    """Figures in SI units; see ``measure``."""

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values for JSON."""
        return {**dataclasses.asdict(self), "edits": list(self.edits), "repairs": list(self.repairs)}


def check_clip(clip: Clip, config: QualityConfig) -> QualityReport:
    """Measure a clip and compare it with the limits."""
    metrics = measure(clip)
    problems = [
        f"{name} {metrics[name]:.3g} {'under' if low else 'over'} {limit:g}"
        for name, limit, low in _limits(config)
        if (metrics[name] < limit if low else metrics[name] > limit)
    ]
    edits, repairs = (
        tuple(note for note in clip.source.get(key, "").split(NOTE_SEPARATOR) if note)
        for key in ("edits", "repairs")
    )
    return QualityReport(clip.name, not problems, "; ".join(problems), edits, repairs, metrics)


def _limits(config: QualityConfig) -> list[tuple[str, float, bool]]:
    """Return (metric, limit, whether the limit is a lower one)."""
    return [
        ("duration_s", config.min_seconds, True),
        ("duration_s", config.max_seconds, False),
        ("joint_limit_violation_rad", config.max_joint_limit_violation, False),
        ("penetration_m", config.max_penetration, False),
        ("float_height_m", config.max_float_height, False),
        ("foot_skate_m_s", config.max_foot_skate, False),
        ("joint_speed_rad_s", config.max_joint_speed, False),
        ("base_speed_m_s", config.max_base_speed, False),
        ("contact_share", config.min_contact_share, True),
    ]


def measure(clip: Clip) -> dict[str, float]:
    """Return the figures of a clip.

    ``duration_s``; ``joint_limit_violation_rad`` (worst); ``penetration_m`` (99.5th percentile of the deeper
    sole's depth), ``penetration_max_m`` and ``deep_share`` (frames deeper than 2 cm); ``float_height_m``
    (median height of the lower sole); ``foot_skate_m_s`` (mean horizontal speed of the feet that bear
    the robot, see ``skate``); ``contact_share`` (frames with a sole within 3 cm); ``joint_speed_rad_s``
    (99.9th percentile) and ``joint_speed_max_rad_s``; ``base_speed_m_s`` (greatest); ``self_contact_share``
    (frames with links more than 1 cm in each other).
    """
    table = g1.joint_table()
    joints = clip.joint_pos.astype(np.float64)
    violation = np.maximum(table.lower - joints, joints - table.upper).max()
    soles = sole_points_of(
        clip.body_pos_w[:, FEET].astype(np.float64), clip.body_quat_w[:, FEET].astype(np.float64)
    )
    lowest = soles[..., 2].min((1, 2))
    depth = np.maximum(-lowest, 0.0)
    joint_speed = np.abs(clip.joint_vel)
    base_speed = np.linalg.norm(np.diff(clip.body_pos_w[:, 0], axis=0), axis=1) * clip.fps
    return {
        "duration_s": clip.duration,
        "frames": float(clip.num_frames),
        "joint_limit_violation_rad": float(max(violation, 0.0)),
        "penetration_m": float(np.percentile(depth, 99.5)),
        "penetration_max_m": float(depth.max()),
        "deep_share": float((depth > DEEP).mean()),
        "float_height_m": float(np.median(lowest)),
        "foot_skate_m_s": skate(soles, clip.fps),
        "contact_share": float((lowest < CONTACT_HEIGHT).mean()),
        "joint_speed_rad_s": float(np.percentile(joint_speed.max(1), 99.9)),
        "joint_speed_max_rad_s": float(joint_speed.max()),
        "base_speed_m_s": float(base_speed.max()),
        "self_contact_share": float((self_penetration(clip.qpos) > SELF_DEPTH).mean()),
    }


def skate(soles: np.ndarray, fps: float) -> float:
    """Return how fast feet slide that bear the robot, m/s, mean.

    A foot bears it while its lowest corner is within 1.5 cm of the floor and within 0.5 cm of the other
    foot's; a foot that swings low beside a standing one does not count.

    Args:
        soles: (T, 2, 4, 3) corners of both soles.
        fps: rate, Hz.
    """
    lowest = soles[..., 2].min(-1)
    bearing = (lowest < NEAR_FLOOR) & (lowest < lowest.min(1, keepdims=True) + SAME_HEIGHT)
    corner = soles[..., 2].argmin(-1)[..., None, None]
    steps = np.linalg.norm(np.diff(soles[..., :2], axis=0), axis=-1) * fps
    speeds = np.take_along_axis(steps, corner[:-1, ..., 0], axis=2)[..., 0]
    still = bearing[1:] & bearing[:-1]
    return float(speeds[still].mean()) if still.any() else 0.0


def self_penetration(qpos: np.ndarray) -> np.ndarray:
    """Return how deep links are in each other, m, worst pair of each frame: (T,) for (T, 36)."""
    model = kinematics.model()
    data = mujoco.MjData(model)
    floor = model.geom("floor").id
    depth = np.zeros(len(qpos))
    for t, q in enumerate(qpos):
        data.qpos[:] = q
        mujoco.mj_kinematics(model, data)
        mujoco.mj_collision(model, data)
        own = (data.contact.geom != floor).all(1)
        depth[t] = max(0.0, -data.contact.dist[own].min()) if own.any() else 0.0
    return depth
