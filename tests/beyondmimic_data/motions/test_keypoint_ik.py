"""Inverse kinematics of keypoints: poses that are known come back, and no joint outruns its bounds."""

import dataclasses

import numpy as np
import pytest

from beyondmimic_data.motions import kinematics
from beyondmimic_data.motions.contacts import Contacts
from beyondmimic_data.motions.keypoint_ik import MAX_JOINT_SPEED, KeypointSolver, bent_pose
from beyondmimic_data.motions.targets import Targets
from beyondmimic_data.robots import g1

FPS = 50.0


def targets_of(qpos: np.ndarray) -> Targets:
    """Return the targets that poses (T, 36) meet exactly."""
    positions, quats = kinematics.forward(qpos)

    def pair(link: str) -> list[int]:
        return [g1.BODY_NAMES.index(f"{side}_{link}_link") for side in ("left", "right")]

    nothing = np.zeros((len(qpos), 2), bool)
    return Targets(
        pelvis_pos=positions[:, 0],
        pelvis_quat=quats[:, 0],
        torso_quat=quats[:, g1.BODY_NAMES.index("torso_link")],
        knees=positions[:, pair("knee")],
        ankles=positions[:, pair("ankle_roll")],
        foot_quat=quats[:, pair("ankle_roll")],
        elbows=positions[:, pair("elbow")],
        wrists=positions[:, pair("wrist_yaw")],
        contacts=Contacts(nothing, nothing),
    )


def walk_in_place(frames: int = 60) -> np.ndarray:
    """Return poses (T, 36) with bent limbs that swing, turned by 2 rad and away from the origin."""
    qpos = np.tile(np.concatenate([[3.0, -2.0, 0.8, np.cos(1), 0, 0, np.sin(1)], bent_pose()]), (frames, 1))
    swing = np.sin(2 * np.pi * np.arange(frames) / FPS)
    for joint, size in (
        ("left_hip_pitch", 0.4),
        ("right_knee", 0.25),
        ("right_elbow", 0.3),
        ("waist_yaw", 0.2),
    ):
        qpos[:, 7 + g1.JOINT_NAMES.index(f"{joint}_joint")] += size * swing
    return qpos


def test_targets_of_known_poses_are_met() -> None:
    targets = targets_of(walk_in_place())
    positions, quats = kinematics.forward(KeypointSolver(targets, FPS).solve())
    ankles = [g1.BODY_NAMES.index(f"{side}_ankle_roll_link") for side in ("left", "right")]
    wrists = [g1.BODY_NAMES.index(f"{side}_wrist_yaw_link") for side in ("left", "right")]
    assert np.linalg.norm(positions[:, ankles] - targets.ankles, axis=-1).max() < 1e-3
    assert np.linalg.norm(positions[:, wrists] - targets.wrists, axis=-1).max() < 0.02
    assert np.abs((quats[:, ankles] * targets.foot_quat).sum(-1)).min() > np.cos(0.02)


def test_no_joint_is_faster_than_allowed_when_a_target_jumps() -> None:
    targets = targets_of(walk_in_place())
    wrists = targets.wrists.copy()
    wrists[30:] += [0.0, 0.3, 0.5]
    qpos = KeypointSolver(dataclasses.replace(targets, wrists=wrists), FPS).solve()
    speed = np.abs(np.diff(qpos[:, 7:], axis=0)) * FPS
    assert speed.max() == pytest.approx(MAX_JOINT_SPEED, rel=1e-6)


def test_joints_stay_within_their_limits_when_targets_are_out_of_reach() -> None:
    targets = targets_of(walk_in_place())
    high = targets.ankles + np.array([0.0, 0.0, 0.6])
    qpos = KeypointSolver(dataclasses.replace(targets, ankles=high, wrists=targets.wrists * 2), FPS).solve()
    table = g1.joint_table()
    assert (qpos[:, 7:] >= table.lower).all()
    assert (qpos[:, 7:] <= table.upper).all()
