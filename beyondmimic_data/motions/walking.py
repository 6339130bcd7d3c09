"""Targets of a walk that follows commanded velocities: feet, balance, pelvis height, torso and arms."""

import numpy as np

from beyondmimic_data.motions import balance
from beyondmimic_data.motions.balanced_ik import COM_HEIGHT, balanced_qpos
from beyondmimic_data.motions.foot_motion import foot_motion, pressure_reference
from beyondmimic_data.motions.footsteps import FootstepPlan, plan_footsteps
from beyondmimic_data.motions.posture import stance_targets, tilt
from beyondmimic_data.motions.walk_commands import path_of, smooth
from beyondmimic_data.motions.whole_body_ik import Targets
from beyondmimic_data.robots import g1

PELVIS_HEIGHT = 0.745
"""m while standing and at low speed."""

HEADING_SMOOTHING = 0.10
"""s, of the pelvis heading."""
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


def walk_qpos(commands: np.ndarray, control_hz: float) -> np.ndarray:
    """Walk after (T, 3) commands; returns (T, 36) generalised positions."""
    t = np.arange(len(commands)) / control_hz
    plan = plan_footsteps(commands, control_hz)
    targets = walk_targets(plan, commands, control_hz)
    heading = walk_heading(commands, control_hz)
    return balanced_qpos(targets, pressure_reference(plan, t), heading, control_hz)


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
        "pelvis_height": np.full(len(t), PELVIS_HEIGHT),
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
