"""Keypoints: the joint positions of a person that the retargeter reads, and how to handle them."""

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d

SIDES = ("left", "right")


@dataclasses.dataclass(frozen=True)
class Keypoints:
    """Positions over T frames, z up; sided fields are (T, 2, 3) left and right, the others (T, 3)."""

    spine: np.ndarray
    neck: np.ndarray
    hips: np.ndarray
    knees: np.ndarray
    ankles: np.ndarray
    toes: np.ndarray
    shoulders: np.ndarray
    elbows: np.ndarray
    wrists: np.ndarray

    @property
    def num_frames(self) -> int:
        """Number of frames T."""
        return len(self.neck)

    @property
    def pelvis(self) -> np.ndarray:
        """(T, 3) middle of the hips."""
        return self.hips.mean(1)

    @property
    def leg_length(self) -> float:
        """Mean length of thigh and shin together."""
        thigh = np.linalg.norm(self.knees - self.hips, axis=-1).mean()
        return float(thigh + np.linalg.norm(self.ankles - self.knees, axis=-1).mean())

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> "Keypoints":
        """Apply a function to every field."""
        return Keypoints(**{f.name: function(getattr(self, f.name)) for f in dataclasses.fields(self)})

    def stacked(self) -> np.ndarray:
        """Return all points as (T, 16, 3)."""
        fields = (getattr(self, f.name) for f in dataclasses.fields(self))
        return np.concatenate([a.reshape(len(a), -1, 3) for a in fields], axis=1)


def smooth(values: np.ndarray, sigma: float) -> np.ndarray:
    """Smooth (T, ...) over time with a Gaussian of ``sigma`` frames, keeping the slope at both ends."""
    if sigma <= 0 or len(values) < 3:
        return values.copy()
    pad = min(int(4 * sigma) + 1, len(values) - 1)
    head = 2 * values[:1] - values[pad:0:-1]
    tail = 2 * values[-1:] - values[-2 : -pad - 2 : -1]
    padded = np.concatenate([head, values, tail])
    return gaussian_filter1d(padded, sigma, axis=0, mode="nearest")[pad : pad + len(values)]


def resample(values: np.ndarray, fps: float, target_fps: float) -> np.ndarray:
    """Resample (T, ...) positions with a cubic spline."""
    frames = int(np.floor((len(values) - 1) / fps * target_fps + 1e-6)) + 1
    spline = CubicSpline(np.arange(len(values)) / fps, values, axis=0)
    return spline(np.arange(frames) / target_fps)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale vectors to unit length; zero stays zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def frame_from_zy(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return rotation matrices (..., 3, 3) whose z axis is exact and whose y axis is near ``y``."""
    z = unit(z)
    x = unit(np.cross(y, z))
    return np.stack([x, np.cross(z, x), z], -1)


def frame_from_xz(x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return rotation matrices (..., 3, 3) whose x axis is exact and whose z axis is near ``z``."""
    x = unit(x)
    y = unit(np.cross(z, x))
    return np.stack([x, y, np.cross(x, y)], -1)


def speed(positions: np.ndarray, fps: float) -> np.ndarray:
    """Return the speed (T, ...) of positions (T, ..., 3), units a second."""
    return np.linalg.norm(np.gradient(positions, axis=0), axis=-1) * fps
