"""Balance and smoothness of a synthesised motion: what a recording is not asked for in its quality check."""

import dataclasses

import numpy as np

from beyondmimic_data.motions import balance
from beyondmimic_data.motions.clip import Clip
from beyondmimic_data.robots import g1

CONTACT_HEIGHT = 0.002
"""m; a sole corner below it touches the floor."""


@dataclasses.dataclass(frozen=True)
class SynthMetrics:
    """Figures of one motion; SI units."""

    zmp_inside_share: float
    """Share of frames with the zero-moment point inside the support region."""
    zmp_margin: float
    """m, first percentile of the distance of the zero-moment point inside the support region."""
    com_margin: float
    """m, least distance of the centre of mass inside the support region; negative while walking."""
    slip_peak: float
    """m/s, 99th percentile of the horizontal speed of the points of the soles that touch the floor."""
    joint_acceleration: float
    """rad/s^2, largest."""
    limit_margin: float
    """rad, least distance to a soft joint limit."""


def synth_metrics(clip: Clip) -> SynthMetrics:
    """Measure a clip of at least three frames."""
    dt = 1.0 / clip.fps
    corners = balance.sole_corners(balance.feet_of(clip.body_pos_w), balance.feet_of(clip.body_quat_w))
    touching = corners[..., 2] < CONTACT_HEIGHT
    feet = (
        balance.feet_of(x)[:, :, None] for x in (clip.body_pos_w, clip.body_lin_vel_w, clip.body_ang_vel_w)
    )
    origin, linear, angular = feet
    slip = np.linalg.norm((linear + np.cross(angular, corners - origin))[..., :2], axis=-1)
    com, zmp = balance.com_and_zmp(clip.qpos.astype(np.float64), dt)
    zmp_margin = balance.support_margin(zmp, corners, CONTACT_HEIGHT)
    table = g1.joint_table()
    limits = np.minimum(clip.joint_pos - table.soft_lower, table.soft_upper - clip.joint_pos)
    return SynthMetrics(
        zmp_inside_share=float((zmp_margin >= 0).mean()),
        zmp_margin=float(np.percentile(zmp_margin, 1, method="lower")),
        com_margin=float(balance.support_margin(com[:, :2], corners, CONTACT_HEIGHT).min()),
        slip_peak=float(np.percentile(slip[touching], 99)) if touching.any() else float("inf"),
        joint_acceleration=float(np.abs(np.diff(clip.joint_pos, 2, axis=0)).max() / dt**2),
        limit_margin=float(limits.min()),
    )
