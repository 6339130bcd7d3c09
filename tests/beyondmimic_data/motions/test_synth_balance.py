"""Pendulum, zero-moment point, support region and whole-body inverse kinematics: known answers."""

import dataclasses

import numpy as np
import pytest

from beyondmimic_data.motions import balance, kinematics, posture, whole_body_ik
from beyondmimic_data.robots import g1

DT = 0.02


def test_pendulum_over_a_resting_point_rests_there() -> None:
    com = balance.pendulum_com(np.tile([0.3, -0.1], (100, 1)), 0.66, DT)
    np.testing.assert_allclose(com, np.tile([0.3, -0.1], (100, 1)), atol=1e-12)


def test_pendulum_over_a_swaying_point_sways_less() -> None:
    # x'' = w^2 (x - p) with p = sin(a t) has the bounded solution x = w^2 / (w^2 + a^2) sin(a t).
    t, a, height = np.arange(1001) * 0.01, 2 * np.pi / 0.9, 0.66
    pressure = np.stack([np.sin(a * t), np.cos(a * t)], -1)
    gain = 1 / (1 + a**2 * height / balance.GRAVITY)
    com = balance.pendulum_com(pressure, height, 0.01)
    np.testing.assert_allclose(com[300:700], gain * pressure[300:700], atol=1e-3)


def test_pendulum_moves_before_its_point_of_pressure_does() -> None:
    pressure = np.zeros((400, 2))
    pressure[200:, 0] = 1.0
    com = balance.pendulum_com(pressure, 0.66, DT)[:, 0]
    assert com[199:201].mean() == pytest.approx(0.5, abs=1e-6)
    assert (np.diff(com) > -1e-12).all()
    # The divergent part decays backward in time with the pendulum's time constant.
    tau = np.sqrt(0.66 / balance.GRAVITY)
    assert com[180] / com[190] == pytest.approx(np.exp(-10 * DT / tau), rel=0.01)


def test_zero_moment_point_of_stillness_is_below_the_centre_of_mass() -> None:
    com, zmp = balance.com_and_zmp(np.tile(g1.default_qpos(), (5, 1)), DT)
    np.testing.assert_allclose(zmp, com[:, :2], atol=1e-12)
    assert com[0] == pytest.approx([0.0306, 0.0, 0.672], abs=1e-3)


def test_zero_moment_point_of_a_sliding_robot_lags_by_height_times_acceleration() -> None:
    qpos = np.tile(g1.default_qpos(), (60, 1))
    t = np.arange(60) * DT
    qpos[:, 0] += 0.5 * 1.5 * t**2
    qpos[:, 1] -= 0.5 * 0.8 * t**2
    com, zmp = balance.com_and_zmp(qpos, DT)
    shift = com[:, 2:] / balance.GRAVITY * np.array([1.5, -0.8])
    np.testing.assert_allclose(zmp[3:-3], (com[:, :2] - shift)[3:-3], atol=1e-6)


def test_support_margin_of_two_flat_feet_and_of_none() -> None:
    foot_pos = np.array([[[0, 0.1, 0.035], [0, -0.1, 0.035]]])
    corners = balance.sole_corners(foot_pos, np.tile([1.0, 0, 0, 0], (1, 2, 1)))
    assert corners[..., 2] == pytest.approx(0.0, abs=1e-12)
    # The hull goes from the heels at x = -0.045 to the toes at x = 0.125.
    assert balance.support_margin(np.array([[0.0, 0.0]]), corners)[0] == pytest.approx(0.045)
    assert balance.support_margin(np.array([[0.2, 0.0]]), corners)[0] == pytest.approx(-0.075)
    assert balance.support_margin(np.array([[0.0, 0.0]]), corners + 0.02)[0] == -np.inf


def targets_of(qpos: np.ndarray) -> whole_body_ik.Targets:
    """Ask for exactly what poses (T, 36) show."""
    position, quaternion = kinematics.forward(qpos)
    com, _ = balance.com_and_zmp(qpos, DT)
    torso = g1.BODY_NAMES.index("torso_link")
    return whole_body_ik.Targets(
        foot_pos=balance.feet_of(position),
        foot_quat=balance.feet_of(quaternion),
        com_xy=com[:, :2],
        pelvis_height=qpos[:, 2],
        pelvis_quat=qpos[:, 3:7],
        torso_quat=quaternion[:, torso],
        posture=qpos[:, 7:],
    )


def test_inverse_kinematics_finds_the_poses_behind_the_targets() -> None:
    rng = np.random.default_rng(3)
    end = g1.default_qpos()
    end[7:] += rng.uniform(-0.2, 0.2, 29)
    end[:3] += 0.05, -0.03, -0.04
    qpos = g1.default_qpos() + np.linspace(0, 1, 40)[:, None] * (end - g1.default_qpos())
    found = whole_body_ik.solve(targets_of(qpos), DT)
    np.testing.assert_allclose(found, qpos, atol=1e-3)


def test_inverse_kinematics_meets_feet_and_balance_exactly() -> None:
    t = posture.frame_times(3.0, 50.0)
    stance = posture.stance_targets(t)
    stance["pelvis_height"] -= 0.12 * posture.ramp(t / 1.5) * posture.ramp((3.0 - t) / 1.5)
    stance["com_xy"][:, 1] += 0.03 * np.sin(2 * np.pi * t / 3.0)
    targets = whole_body_ik.Targets(**stance)
    qpos = whole_body_ik.solve(targets, DT)
    feet = balance.feet_of(kinematics.forward(qpos)[0])
    com, _ = balance.com_and_zmp(qpos, DT)
    np.testing.assert_allclose(feet, targets.foot_pos, atol=1e-4)
    np.testing.assert_allclose(com[:, :2], targets.com_xy, atol=1e-3)
    np.testing.assert_allclose(qpos[:, 2], targets.pelvis_height, atol=2e-3)


def test_targets_out_of_reach_break_neither_limits_nor_speed() -> None:
    targets = whole_body_ik.Targets(**posture.stance_targets(posture.frame_times(1.0, 50.0)))
    away = targets.foot_pos.copy()
    away[20:, 0] += 0.7, 0.5, 0.4
    qpos = whole_body_ik.solve(dataclasses.replace(targets, foot_pos=away), DT)
    table = g1.joint_table()
    assert np.isfinite(qpos).all()
    assert (qpos[:, 7:] >= table.soft_lower - 1e-6).all()
    assert (qpos[:, 7:] <= table.soft_upper + 1e-6).all()
    speed = np.abs(np.diff(qpos[:, 7:], axis=0)).max() / DT
    assert 5.0 < speed <= whole_body_ik.MAX_JOINT_SPEED + 1e-3
    knees = [i for i, name in enumerate(g1.JOINT_NAMES) if "knee" in name]
    assert qpos[:, 7:][:, knees].min() >= whole_body_ik.MIN_KNEE - 1e-6
