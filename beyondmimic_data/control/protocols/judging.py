"""What judges share: means over runs and over steps."""

import numpy as np

from beyondmimic_data.control.closed_loop import Recording


def mean_of(values: np.ndarray, chosen: np.ndarray | None = None) -> float | None:
    """Return the mean of the finite ones among some values (N,), ``None`` if there is none."""
    kept = np.isfinite(values) if chosen is None else np.isfinite(values) & chosen
    return float(values[kept].mean()) if kept.any() else None


def mean_velocity(recording: Recording, first: int, last: int | None = None) -> np.ndarray:
    """Return mean velocities (N, 3), m/s forward and left and rad/s of yaw, over some rows.

    NaN where the run ended before the first of them.

    Args:
        recording: of N robots.
        first: row of the state that they begin from.
        last: their last row; the run's by default.
    """
    last = len(recording.qpos) - 1 if last is None else last
    if last <= first:
        return np.full((recording.yaw.shape[1], 3), np.nan)
    planar = recording.root_lin_vel[first : last + 1, :, :2].mean(0)
    turned = (recording.yaw[last] - recording.yaw[first]) * recording.control_hz / (last - first)
    return np.concatenate([planar, turned[:, None]], -1)


def mean_speed(recording: Recording) -> np.ndarray:
    """Return the mean planar speed (N,) of a run, m/s."""
    return np.linalg.norm(recording.root_lin_vel[:, :, :2], axis=-1).mean(0)
