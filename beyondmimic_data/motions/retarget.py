"""Retargeting: inverse kinematics that lays a person's motion on the G1, frame after frame."""

import dataclasses

import numpy as np
from scipy.ndimage import binary_dilation

from beyondmimic_data.motions import kinematics
from beyondmimic_data.motions.keypoint_ik import KeypointSolver
from beyondmimic_data.motions.keypoints import SIDES, Keypoints, smooth
from beyondmimic_data.motions.targets import Targets, make_targets
from beyondmimic_data.robots import g1

ARM_PARTS = ("shoulder", "elbow", "wrist")
ARM_SMOOTHING, FREE_ANKLE_SMOOTHING = 1.0, 1.5
"""Frames; standard deviations of the filters over arm joints, which jump where an arm is straight, and over
ankles in the air, which jump where a pointed foot is beyond their limits."""


@dataclasses.dataclass(frozen=True)
class Retargeted:
    """The robot's motion and how well it follows."""

    qpos: np.ndarray
    """(T, 36) base position, base quaternion wxyz, joint angles."""
    targets: Targets
    figures: dict[str, float]
    """``scale``, ``ground_slope_deg``, mean ``ankle_error_m`` and ``wrist_error_m``."""


def retarget(points: Keypoints, rest: Keypoints | None, fps: float) -> Retargeted:
    """Lay a person's motion on the robot.

    Args:
        points: keypoints at the control rate, z up, any unit of length.
        rest: one frame of an upright rest pose, or ``None``.
        fps: control rate, Hz.
    """
    targets, figures = make_targets(points, rest, fps)
    qpos = _settle(KeypointSolver(targets, fps).solve(), targets.contacts.any)
    positions, _ = kinematics.forward(qpos)
    for name, link, wanted in (
        ("ankle", "ankle_roll", targets.ankles),
        ("wrist", "wrist_yaw", targets.wrists),
    ):
        index = [g1.BODY_NAMES.index(f"{side}_{link}_link") for side in SIDES]
        figures[f"{name}_error_m"] = float(np.linalg.norm(positions[:, index] - wanted, axis=-1).mean())
    return Retargeted(qpos, targets, figures)


def _settle(qpos: np.ndarray, standing: np.ndarray) -> np.ndarray:
    """Smooth what nothing holds to the floor: arms, and ankles in the air. Means of poses stay within limits.

    Args:
        qpos: (T, 36).
        standing: (T, 2) frames in which each foot has contact.
    """
    out = qpos.copy()
    arms = [7 + i for i, n in enumerate(g1.JOINT_NAMES) if any(part in n for part in ARM_PARTS)]
    out[:, arms] = smooth(qpos[:, arms], ARM_SMOOTHING)
    for s, side in enumerate(SIDES):
        ankle = [7 + i for i, n in enumerate(g1.JOINT_NAMES) if n.startswith(f"{side}_ankle")]
        near_floor = np.clip(
            2 * smooth(binary_dilation(standing[:, s], iterations=2).astype(float), 1.0), 0, 1
        )
        free = smooth(qpos[:, ankle], FREE_ANKLE_SMOOTHING)
        out[:, ankle] = free + near_floor[:, None] * (qpos[:, ankle] - free)
    limits = g1.joint_table()
    out[:, 7:] = np.clip(out[:, 7:], limits.lower, limits.upper)
    return out
