"""Inverse kinematics of a motion that steps, corrected until its pressure is where the plan wants it."""

import dataclasses

import numpy as np
from scipy.ndimage import minimum_filter1d

from beyondmimic_data.motions import balance, whole_body_ik
from beyondmimic_data.motions.walk_commands import smooth
from beyondmimic_data.motions.whole_body_ik import Targets

COM_HEIGHT = 0.66
"""m, of the pendulum."""
COM_AHEAD = 0.04
"""m from the pelvis to the centre of mass, about."""
HIP_BELOW_PELVIS, HIP_SIDE = 0.103, 0.1165
"""m from the pelvis origin to the hip."""
LEG_REACH = 0.647
"""m from hip to ankle with a knee bent by 0.3 rad."""
HEIGHT_WINDOW, HEIGHT_SMOOTHING = 0.2, 0.05
"""s over which the pelvis keeps the lowest height that both legs reach."""

BALANCE_PASSES = 3
"""Times the balance is corrected by what legs and arms do to it."""
MAX_PRESSURE_ERROR = 0.1
"""m a pass corrects at most, so that a frame that went wrong does not upset its neighbours."""


def balanced_qpos(targets: Targets, pressure: np.ndarray, heading: np.ndarray, rate: float) -> np.ndarray:
    """Solve targets whose centre of mass follows the pendulum over planned pressure points.

    The difference between the whole body's zero-moment point and the planned one is fed back through the same
    pendulum (Kajita et al. 2003), and the pelvis is lowered where a leg would not reach.

    Args:
        targets: T frames; ``pelvis_height`` is an upper bound.
        pressure: (T, 2) planned zero-moment point, m.
        heading: (T,) of the pelvis, rad.
        rate: frames a second.

    Returns:
        (T, 36) generalised positions.
    """
    ahead = np.stack([np.cos(heading), np.sin(heading)], -1)
    wanted, pelvis_xy = targets.pelvis_height, targets.com_xy - COM_AHEAD * ahead

    def reached(pelvis_xy: np.ndarray) -> np.ndarray:
        return pelvis_height(wanted, targets.foot_pos, pelvis_xy, heading, rate)

    solver = whole_body_ik.WholeBodySolver()
    targets = dataclasses.replace(targets, pelvis_height=reached(pelvis_xy))
    qpos = solver.solve(targets, 1 / rate)
    for remaining in reversed(range(BALANCE_PASSES)):
        _, zmp = balance.com_and_zmp(qpos, 1 / rate)
        error = np.clip(zmp - pressure, -MAX_PRESSURE_ERROR, MAX_PRESSURE_ERROR)
        error = smooth(error, 1 / rate, rate)
        com = targets.com_xy - balance.pendulum_com(error, COM_HEIGHT, 1 / rate)
        targets = dataclasses.replace(targets, com_xy=com, pelvis_height=reached(qpos[:, :2]))
        # A pass starts near its solution; only the last needs more than one step.
        iterations = 1 if remaining else whole_body_ik.FRAME_ITERATIONS
        qpos = solver.solve(targets, 1 / rate, qpos, iterations)
    return qpos


def pelvis_height(
    wanted: np.ndarray, foot_pos: np.ndarray, pelvis_xy: np.ndarray, heading: np.ndarray, rate: float
) -> np.ndarray:
    """Return a smooth pelvis height (T,), at most the wanted one, that both legs reach with bent knees."""
    ahead = np.stack([np.cos(heading), np.sin(heading)], -1)
    left = np.stack([-ahead[:, 1], ahead[:, 0]], -1)
    hips = np.stack([pelvis_xy + HIP_SIDE * left, pelvis_xy - HIP_SIDE * left], axis=1)
    away = np.linalg.norm(foot_pos[..., :2] - hips, axis=-1)
    reach = foot_pos[..., 2] + np.sqrt(np.maximum(LEG_REACH**2 - away**2, 0.0)) + HIP_BELOW_PELVIS
    lowest = np.minimum(wanted, reach.min(axis=1))
    window = max(1, round(HEIGHT_WINDOW * rate))
    return smooth(minimum_filter1d(lowest, window, mode="nearest"), HEIGHT_SMOOTHING, rate)
