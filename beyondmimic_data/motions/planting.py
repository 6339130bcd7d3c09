"""Planting feet: what stands stays where it is, nothing is under the floor, swinging soles clear it."""

import dataclasses

import numpy as np

from beyondmimic_data import rotations
from beyondmimic_data.motions.contacts import Contacts, hold_still, raise_above, reach
from beyondmimic_data.motions.keypoints import smooth, speed
from beyondmimic_data.motions.robot_body import robot_body

SWING_CLEARANCE = 0.018
"""m of air under a swinging sole; a person's toe passes closer than a robot can follow."""
SWING_SPEED = 0.6
"""m/s; the clearance grows from none at half this speed to all at one and a half times it."""
LINGER_HEIGHT, LINGER_SPEED = 0.016, 1.2
"""m over the floor, m/s of the person's foot; beside a stance, a foot lower and slower than this stands."""
LINGER_FRAMES = 4
"""Most frames that a stance grows at each end."""


def plant_feet(
    ankles: np.ndarray, quats: np.ndarray, contacts: Contacts, fps: float
) -> tuple[np.ndarray, Contacts]:
    """Correct the paths of both feet.

    Between a stance and a clear swing a person's foot slides for some frames. The robot's stands a little
    longer instead, and is clear of the floor as soon as it does not stand.

    Args:
        ankles: (T, 2, 3) m, ankle roll links.
        quats: (T, 2, 4) orientations of the feet.
        contacts: when heel and toe of the person stand.
        fps: rate, Hz.

    Returns:
        The corrected path, and when heel and toe of the robot stand.
    """
    standing = np.stack([contacts.heel, contacts.toe], -1)
    paths = []
    for s in range(2):
        steps = np.linalg.norm(np.diff(_ends(ankles[:, s], quats[:, s])[..., :2], axis=0), axis=-1)
        slow = steps * fps < LINGER_SPEED
        for _ in range(LINGER_FRAMES):
            planted = _plant(ankles[:, s], quats[:, s], standing[:, s], fps)
            longer = _linger(planted, quats[:, s], standing[:, s], slow)
            if not (longer & ~standing[:, s]).any():
                break
            standing[:, s] = longer
        paths.append(_plant(ankles[:, s], quats[:, s], standing[:, s], fps))
    return np.stack(paths, 1), dataclasses.replace(contacts, heel=standing[..., 0], toe=standing[..., 1])


def sole_heights(ankles: np.ndarray, quats: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Return the heights (T, C) of corners (C, 3) of one foot with ankle (T, 3) and orientation (T, 4)."""
    return rotations.rotate(quats[:, None], corners[None])[..., 2] + ankles[:, None, 2]


def _end_heights(ankles: np.ndarray, quats: np.ndarray) -> np.ndarray:
    """Return the heights (T, 2) of the lower corner of heel and toe."""
    body = robot_body()
    return np.stack([sole_heights(ankles, quats, end).min(1) for end in (body.heel, body.toe)], 1)


def _ends(ankles: np.ndarray, quats: np.ndarray) -> np.ndarray:
    """Return the paths (T, 2, 3) of the middles of heel and toe."""
    body = robot_body()
    ends = np.stack([body.heel.mean(0), body.toe.mean(0)])
    return ankles[:, None] + rotations.rotate(quats[:, None], ends[None])


def _plant(ankles: np.ndarray, quats: np.ndarray, standing: np.ndarray, fps: float) -> np.ndarray:
    """Correct one foot's path (T, 3), given the frames (T, 2) in which heel and toe stand."""
    planted = ankles.copy()
    planted[:, :2] += hold_still(_ends(ankles, quats)[..., :2], standing)
    lowest = sole_heights(planted, quats, robot_body().sole).min(1)
    stands = standing.any(1)
    planted[:, 2] += reach(np.where(stands, -lowest, np.nan)[:, None])[:, 0]
    moving = speed(smooth(planted[:, :2], 1), fps)
    clearance = np.clip(moving / SWING_SPEED - 0.5, 0, 1) * SWING_CLEARANCE
    lowest = sole_heights(planted, quats, robot_body().sole).min(1)
    planted[:, 2] += raise_above(lowest, np.where(stands, 0.0, clearance), stands)
    return planted


def _linger(planted: np.ndarray, quats: np.ndarray, standing: np.ndarray, slow: np.ndarray) -> np.ndarray:
    """Let stances (T, 2) of heel and toe grow by the frames beside them in which that end is low and slow."""
    low = (_end_heights(planted, quats) < LINGER_HEIGHT) & ~standing.any(1)[:, None]
    longer = standing.copy()
    longer[1:] |= low[1:] & standing[:-1] & slow
    longer[:-1] |= low[:-1] & standing[1:] & slow
    return longer
