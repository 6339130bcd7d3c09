"""Forward kinematics of the G1: from generalised positions to the poses of all 30 link origins."""

import functools

import mujoco
import numpy as np

from beyondmimic_data import rotations
from beyondmimic_data.robots import g1, g1_facts


@functools.cache
def model() -> mujoco.MjModel:
    """Return the compiled robot without servos and sensors, for kinematics."""
    return g1.build_spec(actuators=False, contact_sensors=False).compile()


def forward(qpos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pose every link.

    Args:
        qpos: (T, 36) base position (m), base quaternion wxyz, joint angles (rad).

    Returns:
        Link origins (T, 30, 3) in m and orientations (T, 30, 4) wxyz, world frame, ``g1.BODY_NAMES`` order.
    """
    m = model()
    data = mujoco.MjData(m)
    positions = np.empty((len(qpos), g1.NUM_BODIES, 3))
    quaternions = np.empty((len(qpos), g1.NUM_BODIES, 4))
    for t, q in enumerate(qpos):
        data.qpos[:] = q
        mujoco.mj_kinematics(m, data)
        positions[t], quaternions[t] = data.xpos[1:], data.xquat[1:]
    return positions, quaternions


def angular_velocities(
    quaternions: np.ndarray, root_ang_vel: np.ndarray, joint_vel: np.ndarray
) -> np.ndarray:
    """Return the angular velocity of every link: its parent's, and that of its joint about the joint's axis.

    Args:
        quaternions: (T, 30, 4) orientations of the links, wxyz, as ``forward`` gives them.
        root_ang_vel: (T, 3) of the base, rad/s, world frame.
        joint_vel: (T, 29) rad/s.

    Returns:
        (T, 30, 3) rad/s, world frame, ``g1.BODY_NAMES`` order.
    """
    velocities = np.empty((*quaternions.shape[:2], 3))
    joint = 0
    for body, link in enumerate(g1_facts.LINKS):
        if link.parent is None or link.axis is None:
            velocities[:, body] = root_ang_vel
            continue
        axis = rotations.rotate(
            quaternions[:, body], np.broadcast_to(np.array(link.axis), root_ang_vel.shape)
        )
        parent = velocities[:, g1.BODY_NAMES.index(link.parent)]
        velocities[:, body] = parent + axis * joint_vel[:, joint, None]
        joint += 1
    return velocities
