"""Targets of a walk that follows commanded velocities: feet, balance, pelvis height, torso and arms."""

import dataclasses

import numpy as np
from scipy.ndimage import minimum_filter1d

from beyondmimic_data.motions import balance, whole_body_ik
from beyondmimic_data.motions.foot_motion import foot_motion, pressure_reference
from beyondmimic_data.motions.footsteps import FootstepPlan, plan_footsteps
from beyondmimic_data.motions.standing import stance_targets, tilt
from beyondmimic_data.motions.walk_commands import path_of, smooth
from beyondmimic_data.motions.whole_body_ik import Targets
from beyondmimic_data.robots import g1

COM_HEIGHT = 0.66
"""m, of the pendulum."""
PELVIS_HEIGHT = 0.745
"""m while standing and at low speed."""
COM_AHEAD = 0.04
"""m from the pelvis to the centre of mass while walking."""
HIP_BELOW_PELVIS, HIP_SIDE = 0.103, 0.1165
"""m from the pelvis origin to the hip."""
LEG_REACH = 0.647
"""m from hip to ankle with a knee bent by 0.3 rad."""

HEADING_SMOOTHING = 0.10
"""s, of the pelvis heading."""
HEIGHT_WINDOW, HEIGHT_SMOOTHING = 0.2, 0.05
"""s over which the pelvis keeps the lowest height that both legs reach."""
GAIT_SMOOTHING = 0.05
"""s, of what swings with the legs."""

PELVIS_TWIST, TORSO_TWIST = -0.22, 0.12
"""rad for each metre that the left foot is ahead of the right."""
ARM_SWING, ELBOW_SWING = 0.85, 0.45
"""rad for each metre of the same."""
ARM_OUT = 0.08
"""rad that both arms stay away from the thighs."""
TORSO_LEAN = 0.06
"""rad for each m/s forward."""

BALANCE_PASSES = 3
"""Times the balance is corrected by what legs and arms do to it."""
MAX_PRESSURE_ERROR = 0.1
"""m a pass corrects at most, so that a frame that went wrong does not upset its neighbours."""


def walk_qpos(commands: np.ndarray, control_hz: float) -> np.ndarray:
    """Walk after (T, 3) commands.

    The centre of mass first follows the pendulum over the planned pressure points; then the difference
    between the whole body's zero-moment point and the planned one is fed back through the same pendulum
    (Kajita et al. 2003).

    Returns:
        (T, 36) generalised positions.
    """
    t = np.arange(len(commands)) / control_hz
    plan = plan_footsteps(commands, control_hz)
    pressure = pressure_reference(plan, t)
    heading = walk_heading(commands, control_hz)
    targets = walk_targets(plan, commands, control_hz)
    solver = whole_body_ik.WholeBodySolver()
    qpos = solver.solve(targets, 1 / control_hz)
    for remaining in reversed(range(BALANCE_PASSES)):
        _, zmp = balance.com_and_zmp(qpos, 1 / control_hz)
        error = np.clip(zmp - pressure, -MAX_PRESSURE_ERROR, MAX_PRESSURE_ERROR)
        error = smooth(error, 1 / control_hz, control_hz)
        correction = balance.pendulum_com(error, COM_HEIGHT, 1 / control_hz)
        com = targets.com_xy - correction
        height = pelvis_height(targets.foot_pos, qpos[:, :2], heading, control_hz)
        targets = dataclasses.replace(targets, com_xy=com, pelvis_height=height)
        # A pass starts near its solution; only the last needs more than one step.
        iterations = 1 if remaining else whole_body_ik.FRAME_ITERATIONS
        qpos = solver.solve(targets, 1 / control_hz, qpos, iterations)
    return qpos


def walk_targets(plan: FootstepPlan, commands: np.ndarray, control_hz: float) -> Targets:
    """Return the whole body's targets over a footstep plan, the centre of mass as a pendulum's."""
    t = np.arange(len(commands)) / control_hz
    foot_pos, foot_quat = foot_motion(plan, t)
    com = balance.pendulum_com(pressure_reference(plan, t), COM_HEIGHT, 1 / control_hz)
    heading = walk_heading(commands, control_hz)
    ahead = np.stack([np.cos(heading), np.sin(heading)], -1)
    stride = np.einsum("ti,ti->t", foot_pos[:, 0, :2] - foot_pos[:, 1, :2], ahead)
    stride = smooth(stride, GAIT_SMOOTHING, control_hz)
    zero = np.zeros_like(t)
    lean = smooth(TORSO_LEAN * commands[:, 0], HEADING_SMOOTHING, control_hz)
    targets = stance_targets(t)
    targets |= {
        "foot_pos": foot_pos,
        "foot_quat": foot_quat,
        "com_xy": com,
        "pelvis_height": pelvis_height(foot_pos, com - COM_AHEAD * ahead, heading, control_hz),
        "pelvis_quat": tilt(zero, zero, heading + PELVIS_TWIST * stride),
        "torso_quat": tilt(zero, lean, heading + TORSO_TWIST * stride),
    }
    for side, sign in (("left", 1.0), ("right", -1.0)):
        for joint, rate in (("shoulder_pitch", ARM_SWING), ("elbow", ELBOW_SWING)):
            column = g1.JOINT_NAMES.index(f"{side}_{joint}_joint")
            targets["posture"][:, column] += sign * rate * stride
        targets["posture"][:, g1.JOINT_NAMES.index(f"{side}_shoulder_roll_joint")] += sign * ARM_OUT
    return Targets(**targets)


def walk_heading(commands: np.ndarray, control_hz: float) -> np.ndarray:
    """Return the heading of the pelvis (T,), rad."""
    return smooth(path_of(commands, control_hz)[:, 2], HEADING_SMOOTHING, control_hz)


def pelvis_height(
    foot_pos: np.ndarray, pelvis_xy: np.ndarray, heading: np.ndarray, control_hz: float
) -> np.ndarray:
    """Return a smooth pelvis height (T,) that both legs reach with bent knees."""
    ahead = np.stack([np.cos(heading), np.sin(heading)], -1)
    left = np.stack([-ahead[:, 1], ahead[:, 0]], -1)
    hips = np.stack([pelvis_xy + HIP_SIDE * left, pelvis_xy - HIP_SIDE * left], axis=1)
    away = np.linalg.norm(foot_pos[..., :2] - hips, axis=-1)
    reach = foot_pos[..., 2] + np.sqrt(np.maximum(LEG_REACH**2 - away**2, 0.0)) + HIP_BELOW_PELVIS
    lowest = np.minimum(PELVIS_HEIGHT, reach.min(axis=1))
    window = max(1, round(HEIGHT_WINDOW * control_hz))
    return smooth(minimum_filter1d(lowest, window, mode="nearest"), HEIGHT_SMOOTHING, control_hz)
