"""What judges share: means over runs and over steps, errors of commands."""

import numpy as np

from beyondmimic_data.control.closed_loop import Recording

AVERAGED_SECONDS = 0.5
"""s that found velocities are averaged over before they are compared: about a step, so without sway."""


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


def command_errors(recording: Recording) -> tuple[np.ndarray, np.ndarray]:
    """Return how far each robot's velocity is from the commanded one, changes of command included.

    Returns:
        Mean errors (N,) in m/s and in rad/s of velocities averaged over half a second; NaN without commands,
        or in a run that is shorter.
    """
    width = round(AVERAGED_SECONDS * recording.control_hz)
    if recording.command is None or len(recording.qpos) <= width:
        unknown = np.full(recording.yaw.shape[1], np.nan)
        return unknown, unknown
    planar, turn = recording.root_lin_vel[..., :2], recording.yaw_rate[..., None]
    found = np.concatenate([planar, turn], -1)
    error = _moving_mean(found[1:], width) - _moving_mean(recording.command[1:], width)
    return np.linalg.norm(error[..., :2], axis=-1).mean(0), np.abs(error[..., 2]).mean(0)


def _moving_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Return means (S - width + 1, ...) over each ``width`` consecutive rows."""
    total = np.cumsum(np.concatenate([np.zeros_like(values[:1]), values]), axis=0)
    return (total[width:] - total[:-width]) / width
