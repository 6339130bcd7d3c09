"""Ground and feet: the floor under a person, when heel and toe stand, and the smallest way to make them stay.

Human feet in motion capture skate by centimetres and the floor may be tilted by a degree or two. The floor is
fitted to slow ankles; contact of heel and toe is read from height and speed; feet are then moved by the
smoothest small correction that keeps the points in contact still and on the floor.
"""

import dataclasses

import numpy as np
from scipy.linalg import solveh_banded
from scipy.ndimage import binary_closing, binary_opening

from beyondmimic_data.motions.keypoints import Keypoints, smooth, speed

SLOW = 0.2
"""m/s; feet slower than this fit the floor."""
HEEL_SPEED, TOE_SPEED = 0.30, 0.35
"""m/s; faster points are not in contact."""
RUN_SPEED, RUN_SHARE = 1.5, 0.45
"""m/s of a pelvis that runs, and the share of its speed under which a low point of the foot stands."""
HEEL_HEIGHT, TOE_HEIGHT = 0.03, 0.03
"""m above their height in stance; higher points are not in contact."""
SLOPE_PRIOR = 0.035
"""m^2; variance of standing places at which a fitted slope counts half: 1 cm of noise in ten independent
stances against a floor within 1 degree."""
LIFT_STIFFNESS = 5e2
"""Weight of lifts; under that of contacts, so that a lift is a bow and no corner."""
MAX_SLOPE = 0.044
"""rad; steeper floors are people on tiptoe."""


@dataclasses.dataclass(frozen=True)
class Contacts:
    """Frames in which a foot stands on its heel and on its toe, each (T, 2) left and right."""

    heel: np.ndarray
    toe: np.ndarray

    @property
    def flat(self) -> np.ndarray:
        """(T, 2) heel and toe both stand."""
        return self.heel & self.toe

    @property
    def any(self) -> np.ndarray:
        """(T, 2) heel or toe stands."""
        return self.heel | self.toe


def level_ground(points: Keypoints, scale: float, fps: float) -> tuple[Keypoints, np.ndarray]:
    """Fit the floor to slow ankles and remove its tilt and height.

    Args:
        points: the person, any unit.
        scale: robot metres a unit.
        fps: rate, Hz.

    Returns:
        The points in robot metres, with standing ankles at height 0, and the floor's two slopes in rad.
    """
    points = points.map(lambda a: a * scale)
    ankles = points.ankles
    slow = speed(smooth(ankles, 2), fps) < SLOW
    if slow.sum() < 10:
        slow = ankles[..., 2] <= np.percentile(ankles[..., 2], 15)
    samples = ankles[slow]
    centre = samples[:, :2].mean(0)
    design = np.c_[np.ones(len(samples)), samples[:, :2] - centre]
    keep = samples[:, 2] <= np.percentile(samples[:, 2], 80)
    fit = np.zeros(3)
    for _ in range(5):
        used = design[keep]
        # Feet that stay in one place, or on one line, say little about a slope: the prior is a level floor.
        prior = len(used) * SLOPE_PRIOR
        fit = np.linalg.solve(used.T @ used + np.diag([0, prior, prior]), used.T @ samples[keep, 2])
        fit[1:] = np.clip(fit[1:], -MAX_SLOPE, MAX_SLOPE)
        residual = samples[:, 2] - design @ fit
        keep = np.abs(residual) < max(0.02, 1.5 * float(np.std(residual[keep])))

    def level(a: np.ndarray) -> np.ndarray:
        out = a.copy()
        out[..., 2] -= (a[..., :2] - centre) @ fit[1:]
        return out

    levelled = points.map(level)
    floor = np.percentile(levelled.ankles[..., 2].min(1), 5)
    return levelled.map(lambda a: a - [0, 0, floor]), np.arctan(fit[1:])


def find_contacts(points: Keypoints, fps: float) -> Contacts:
    """Read contact of heel (the ankle) and toe from levelled keypoints in robot metres.

    The toe's height in stance is its median while the ankle stands, as toes in motion capture dip under the
    floor when a foot points down; in runs the ankle never stands, and the lowest toes count.
    """
    # Feet in motion capture slide more in a run: what counts as slow grows with the pelvis' speed.
    pace = speed(smooth(points.pelvis, 10), fps)[:, None]
    pace = np.where(pace > RUN_SPEED, RUN_SHARE * pace, 0.0)
    heel = _standing(points.ankles, 0.0, fps, np.maximum(HEEL_SPEED, pace), HEEL_HEIGHT)
    heights = points.toes[..., 2]
    level = np.median(heights[heel]) if heel.sum() >= 10 else np.percentile(heights.min(1), 5)
    toe = _standing(points.toes, float(level), fps, np.maximum(TOE_SPEED, pace), TOE_HEIGHT)
    return Contacts(heel, toe)


def _standing(
    joints: np.ndarray, level: float, fps: float, max_speed: np.ndarray, max_height: float
) -> np.ndarray:
    """Return the frames (T, 2) in which joints (T, 2, 3) are slow, by (T, 1), and near stance height."""
    slow = speed(smooth(joints, 1), fps) < max_speed
    return debounce(slow & (joints[..., 2] < level + max_height))


def debounce(flags: np.ndarray, frames: int = 3) -> np.ndarray:
    """Close gaps and drop blips shorter than ``frames`` in (T, 2) flags."""
    structure = np.ones((frames, 1), bool)
    padded = np.pad(flags, ((frames, frames), (0, 0)), mode="edge")
    return binary_opening(binary_closing(padded, structure), structure)[frames:-frames]


def hold_still(paths: np.ndarray, still: np.ndarray, *, stiffness: float = 1e4) -> np.ndarray:
    """Return the smoothest small correction that keeps points from moving while they stand.

    Minimises ``sum |d|^2 + s^2 |d''|^2`` plus a stiff term for every point that stands in two frames in a row
    and moves between them.

    Args:
        paths: (T, P, D) paths of P points that share one correction a frame.
        still: (T, P) frames in which each point stands.
        stiffness: weight of the stiff terms.

    Returns:
        (T, D) correction d.
    """
    hold = (still[1:] & still[:-1]).astype(float) * stiffness
    matrix = _smoothness(len(paths))
    matrix[2, :-1] += hold.sum(1)
    matrix[2, 1:] += hold.sum(1)
    matrix[1, 1:] -= hold.sum(1)
    pull = -(hold[..., None] * np.diff(paths, axis=0)).sum(1)
    right = np.zeros((len(paths), paths.shape[-1]))
    right[1:] += pull
    right[:-1] -= pull
    return solveh_banded(matrix, right)


def reach(wanted: np.ndarray, *, stiffness: float | np.ndarray = 1e4) -> np.ndarray:
    """Return the smoothest small correction that takes given values.

    Args:
        wanted: (T, D) values of the correction; a row of NaN leaves the frame free.
        stiffness: weight of the given values, one for all or (T,).

    Returns:
        (T, D) correction.
    """
    given = np.isfinite(wanted).all(-1)
    weight = given * stiffness
    matrix = _smoothness(len(wanted))
    matrix[2] += weight
    return solveh_banded(matrix, np.where(given[:, None], wanted, 0.0) * weight[:, None])


def raise_above(values: np.ndarray, floor: np.ndarray, fixed: np.ndarray, rounds: int = 8) -> np.ndarray:
    """Return a smooth correction >= 0 that lifts values to a floor where they are under it.

    Args:
        values: (T,) heights.
        floor: (T,) least heights.
        fixed: (T,) frames that are to stay as they are.
        rounds: rounds of adding the frames that are still too low.

    Returns:
        (T,) correction.
    """
    wanted = np.where(fixed, 0.0, np.nan)
    correction = np.zeros(len(values))
    stiffness = np.where(fixed, 1e4, LIFT_STIFFNESS)
    for _ in range(rounds):
        lack = floor - values - correction
        low = ~fixed & (lack > 1e-4)
        if not low.any():
            break
        # What a lift lacks beside a frame that stays is asked for on top.
        wanted[low] = np.where(np.isnan(wanted), correction, wanted)[low] + lack[low]
        correction = np.maximum(reach(wanted[:, None], stiffness=stiffness)[:, 0], 0.0)
    return correction


def _smoothness(frames: int, scale: float = 40.0) -> np.ndarray:
    """Return ``I + scale^2 D'D`` of second differences D in upper banded form (3, frames).

    A correction fades within about ``sqrt(scale)`` frames of what it is asked for.
    """
    matrix = np.zeros((3, frames))
    matrix[2] = 1.0
    weight = scale**2
    for offset, value in ((0, 1.0), (1, -2.0), (2, 1.0)):
        matrix[2, offset : frames - 2 + offset] += weight * value**2
    matrix[1, 1:-1] -= 2.0 * weight
    matrix[1, 2:] -= 2.0 * weight
    matrix[0, 2:] += weight
    return matrix
