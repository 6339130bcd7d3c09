"""Forward kinematics of the G1: from generalised positions to the poses of all 30 link origins."""

import functools

import mujoco
import numpy as np

from beyondmimic_data.robots import g1


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
