"""Figures that tell whether a synthesised motion is one the robot could do."""

import dataclasses

import mujoco
import numpy as np

from beyondmimic_data.motions import balance, kinematics
from beyondmimic_data.motions.clip import Clip
from beyondmimic_data.robots import g1

CONTACT_HEIGHT = 0.002
"""m; a sole corner below it touches the floor."""


@dataclasses.dataclass(frozen=True)
class SynthMetrics:
    """Quality of one motion; SI units."""

    foot_skate: float
    """m/s, mean horizontal speed of the sole corners that touch the floor."""
    foot_skate_peak: float
    """m/s, 99th percentile of the same."""
    penetration: float
    """m, deepest sole corner under the floor."""
    airborne_share: float
    """Share of frames in which no sole corner touches."""
    zmp_inside_share: float
    """Share of frames with the zero-moment point inside the support region."""
    zmp_margin: float
    """m, first percentile of the distance of the zero-moment point inside the support region."""
    com_margin: float
    """m, least distance of the centre of mass inside the support region; negative while walking."""
    joint_speed: float
    """rad/s, largest."""
    joint_acceleration: float
    """rad/s^2, largest."""
    limit_margin: float
    """rad, least distance to a soft joint limit."""
    self_contact_share: float
    """Share of frames in which two links touch that should not."""


def synth_metrics(clip: Clip) -> SynthMetrics:
    """Measure a clip of at least three frames."""
    dt = 1.0 / clip.fps
    corners = balance.sole_corners(balance.feet_of(clip.body_pos_w), balance.feet_of(clip.body_quat_w))
    touching = corners[..., 2] < CONTACT_HEIGHT
    feet = (
        balance.feet_of(x)[:, :, None] for x in (clip.body_pos_w, clip.body_lin_vel_w, clip.body_ang_vel_w)
    )
    origin, linear, angular = feet
    speed = np.linalg.norm((linear + np.cross(angular, corners - origin))[..., :2], axis=-1)
    com, zmp = balance.com_and_zmp(clip.qpos.astype(np.float64), dt)
    zmp_margin = balance.support_margin(zmp, corners, CONTACT_HEIGHT)
    table = g1.joint_table()
    limits = np.minimum(clip.joint_pos - table.soft_lower, table.soft_upper - clip.joint_pos)
    return SynthMetrics(
        foot_skate=float(speed[touching].mean()) if touching.any() else float("inf"),
        foot_skate_peak=float(np.percentile(speed[touching], 99)) if touching.any() else float("inf"),
        penetration=float(max(0.0, -corners[..., 2].min())),
        airborne_share=float(1 - touching.any(axis=(1, 2)).mean()),
        zmp_inside_share=float((zmp_margin >= 0).mean()),
        zmp_margin=float(np.percentile(zmp_margin, 1)),
        com_margin=float(balance.support_margin(com[:, :2], corners, CONTACT_HEIGHT).min()),
        joint_speed=float(np.abs(np.diff(clip.joint_pos, axis=0)).max() / dt),
        joint_acceleration=float(np.abs(np.diff(clip.joint_pos, 2, axis=0)).max() / dt**2),
        limit_margin=float(limits.min()),
        self_contact_share=_self_contact_share(clip.qpos),
    )


def _self_contact_share(qpos: np.ndarray) -> float:
    """Return the share of frames (T, 36) with a contact that does not involve the floor."""
    model = kinematics.model()
    data = mujoco.MjData(model)
    floor = model.geom("floor").id
    touching = 0
    for q in qpos:
        data.qpos[:] = q
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_collision(model, data)
        touching += bool((data.contact.geom != floor).all(axis=1).any())
    return touching / len(qpos)
