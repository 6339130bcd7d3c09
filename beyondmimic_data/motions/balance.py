"""Balance of a motion: centre of mass, zero-moment point, support region, linear inverted pendulum."""

import mujoco
import numpy as np
from scipy.linalg import solve_banded
from scipy.spatial import ConvexHull

from beyondmimic_data import rotations
from beyondmimic_data.motions import kinematics
from beyondmimic_data.robots import g1, g1_facts

GRAVITY = 9.81
"""m/s^2."""

_SOLES = [[s for s in g1_facts.FOOT_SPHERES if s.link == foot] for foot in g1_facts.FOOT_BODIES]
SOLE_CENTRES = np.array([[s.start for s in sole] for sole in _SOLES])
"""(2, 4, 3) sphere centres at the corners of each sole, in the frame of its ankle roll link."""
SOLE_RADIUS = _SOLES[0][0].radius
"""m."""


def pendulum_com(zmp: np.ndarray, height: float, dt: float) -> np.ndarray:
    """Find the motion of the centre of mass whose zero-moment point is the given one.

    Solves x'' = g/h (x - p) of the linear inverted pendulum for the whole motion at once, at rest at
    both ends: the one solution that does not run away (Kajita et al. 2003 reach it by preview).

    Args:
        zmp: (T, 2) zero-moment point p, m.
        height: height h of the centre of mass, m.
        dt: seconds between frames.

    Returns:
        (T, 2) centre of mass x, m.
    """
    stiffness = GRAVITY / height * dt**2
    bands = np.ones((3, len(zmp)))
    bands[1] = -(2 + stiffness)
    # Equal points beyond both ends: x[-1] = x[0] and x[T] = x[T-1].
    bands[1, [0, -1]] = -(1 + stiffness)
    return solve_banded((1, 1), bands, -stiffness * np.asarray(zmp, np.float64))


def com_and_zmp(qpos: np.ndarray, dt: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the centre of mass (T, 3) and the zero-moment point (T, 2) of all the robot's links moving.

    The zero-moment point is where the floor's reaction has to act: from the rate of change of the whole
    body's linear and angular momentum, by central differences.

    Args:
        qpos: (T, 36) generalised positions, T >= 3.
        dt: seconds between frames.
    """
    model = kinematics.model()
    data = mujoco.MjData(model)
    n = len(qpos)
    com, linear, angular = np.empty((n, 3)), np.empty((n, 3)), np.empty((n, 3))
    for t in range(n):
        low, high = max(t - 1, 0), min(t + 1, n - 1)
        data.qpos[:] = qpos[t]
        mujoco.mj_differentiatePos(model, data.qvel, (high - low) * dt, qpos[low], qpos[high])
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_comVel(model, data)
        mujoco.mj_subtreeVel(model, data)
        com[t], linear[t], angular[t] = data.subtree_com[1], data.subtree_linvel[1], data.subtree_angmom[1]
    mass = model.body_subtreemass[1]
    acceleration, moment = (np.asarray(np.gradient(x, dt, axis=0)) for x in (linear, angular))
    force = mass * (GRAVITY + acceleration[:, 2:])
    turning = np.stack([moment[:, 1], -moment[:, 0]], -1)
    return com, com[:, :2] - (mass * com[:, 2:] * acceleration[:, :2] + turning) / force


def sole_corners(foot_pos: np.ndarray, foot_quat: np.ndarray) -> np.ndarray:
    """Return the lowest points of the sole spheres, (T, 2, 4, 3) m.

    Args:
        foot_pos: (T, 2, 3) origins of the ankle roll links.
        foot_quat: (T, 2, 4) their orientations, wxyz.
    """
    centres = foot_pos[:, :, None] + rotations.rotate(foot_quat[:, :, None], SOLE_CENTRES)
    return centres - [0, 0, SOLE_RADIUS]


def support_margin(points: np.ndarray, corners: np.ndarray, contact_height: float = 0.005) -> np.ndarray:
    """Return how far points lie inside the convex hull of what touches the floor, negative outside.

    Args:
        points: (T, 2) m.
        corners: (T, 2, 4, 3) from ``sole_corners``.
        contact_height: a corner lower than this (m) touches.

    Returns:
        (T,) m; -inf where fewer than three corners touch.
    """
    margin = np.full(len(points), -np.inf)
    for t, (point, soles) in enumerate(zip(points, corners)):
        touching = soles[soles[..., 2] < contact_height][:, :2]
        if len(touching) >= 3:
            # Rows of the hull are outward unit normals and offsets: n x + d <= 0 inside.
            hull = np.asarray(ConvexHull(touching).equations)
            margin[t] = -(hull[:, :2] @ point + hull[:, 2]).max()
    return margin


def feet_of(body_array: np.ndarray) -> np.ndarray:
    """Pick the left and right foot from an array (T, 30, ...) in ``g1.BODY_NAMES`` order."""
    return body_array[:, [g1.BODY_NAMES.index(name) for name in g1_facts.FOOT_BODIES]]
