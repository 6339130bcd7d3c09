"""Quaternion algebra in (w, x, y, z) order, for NumPy arrays and torch tensors alike.

Every function takes ``(..., 4)`` quaternions or ``(..., 3)`` vectors of either library and returns the same
kind. Rotations act on column vectors: ``rotate(q, v)`` is R(q) v; ``multiply(a, b)`` rotates by b, then by a.
"""

from typing import Any

import numpy as np
import torch

Array = Any
"""A NumPy array or a torch tensor; what goes in comes out."""


def _stack(parts: list[Array]) -> Array:
    return torch.stack(parts, -1) if isinstance(parts[0], torch.Tensor) else np.stack(parts, -1)


def _lib(x: Array) -> Any:
    return torch if isinstance(x, torch.Tensor) else np


def multiply(a: Array, b: Array) -> Array:
    """Return the product a b."""
    aw, ax, ay, az = a[..., 0], a[..., 1], a[..., 2], a[..., 3]
    bw, bx, by, bz = b[..., 0], b[..., 1], b[..., 2], b[..., 3]
    return _stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ]
    )


def conjugate(q: Array) -> Array:
    """Return the inverse of unit quaternions."""
    return _stack([q[..., 0], -q[..., 1], -q[..., 2], -q[..., 3]])


def normalize(q: Array) -> Array:
    """Scale quaternions to unit length."""
    if isinstance(q, torch.Tensor):
        return q / q.norm(dim=-1, keepdim=True)
    return q / np.linalg.norm(q, axis=-1, keepdims=True)


def cross(a: Array, b: Array) -> Array:
    """Return the cross product, broadcasting over leading axes."""
    if isinstance(a, torch.Tensor):
        return torch.linalg.cross(*torch.broadcast_tensors(a, b))
    return np.linalg.cross(a, b)


def rotate(q: Array, v: Array) -> Array:
    """Rotate vectors by quaternions; leading axes broadcast."""
    w, u = q[..., :1], q[..., 1:]
    t = 2 * cross(u, v)
    return v + w * t + cross(u, t)


def rotate_inverse(q: Array, v: Array) -> Array:
    """Rotate vectors by the inverse of quaternions."""
    return rotate(conjugate(q), v)


def yaw(q: Array) -> Array:
    """Return the heading angle in rad, ``(...)``."""
    w, x, y, z = q[..., 0], q[..., 1], q[..., 2], q[..., 3]
    return _lib(q).arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))


def from_yaw(angle: Array) -> Array:
    """Return the quaternion of a turn by ``angle`` about z."""
    lib = _lib(angle)
    zero = lib.zeros_like(angle)
    return _stack([lib.cos(angle / 2), zero, zero, lib.sin(angle / 2)])


def yaw_only(q: Array) -> Array:
    """Keep the heading of quaternions and drop roll and pitch."""
    return from_yaw(yaw(q))


def to_rotation_vector(q: Array) -> Array:
    """Return the rotation vector (log map), rad, of the shorter way round."""
    lib = _lib(q)
    sign = lib.where(q[..., :1] < 0, -1.0, 1.0)
    q = q * sign
    vector = q[..., 1:]
    length = lib.sqrt((vector * vector).sum(-1, keepdims=True))
    angle = 2 * lib.arctan2(length, q[..., :1])
    small = length < 1e-8
    safe = lib.where(small, lib.ones_like(length), length)
    return vector * lib.where(small, 2 * lib.ones_like(length), angle / safe)


def from_rotation_vector(v: Array) -> Array:
    """Return the quaternion of a rotation vector in rad."""
    lib = _lib(v)
    angle = lib.sqrt((v * v).sum(-1, keepdims=True))
    small = angle < 1e-8
    safe = lib.where(small, lib.ones_like(angle), angle)
    scale = lib.where(small, 0.5 * lib.ones_like(angle), lib.sin(angle / 2) / safe)
    parts = lib.cos(angle / 2), v * scale
    return torch.cat(parts, -1) if isinstance(v, torch.Tensor) else np.concatenate(parts, -1)


def angle_between(a: Array, b: Array) -> Array:
    """Return the angle of the rotation from b to a, rad, in [0, pi]."""
    d = multiply(a, conjugate(b))
    lib = _lib(d)
    return 2 * lib.arctan2(lib.sqrt((d[..., 1:] ** 2).sum(-1)), lib.abs(d[..., 0]))


def to_rot6d(q: Array) -> Array:
    """Return the first two columns of the rotation matrix, row by row, ``(..., 6)``.

    The order of the released task and of everything that deploys its policies.
    """
    w, x, y, z = q[..., 0], q[..., 1], q[..., 2], q[..., 3]
    return _stack(
        [
            1 - 2 * (y * y + z * z),
            2 * (x * y - w * z),
            2 * (x * y + w * z),
            1 - 2 * (x * x + z * z),
            2 * (x * z - w * y),
            2 * (y * z + w * x),
        ]
    )


def slerp(a: Array, b: Array, t: Array) -> Array:
    """Interpolate unit quaternions along the shorter arc; ``t`` is ``(...)`` in [0, 1]."""
    delta = multiply(conjugate(a), b)
    return normalize(multiply(a, from_rotation_vector(to_rotation_vector(delta) * t[..., None])))


def angular_velocity(q: np.ndarray, dt: float) -> np.ndarray:
    """Differentiate orientations: central differences, one-sided at the ends.

    Args:
        q: (T, ..., 4) orientations in the world frame.
        dt: seconds between frames.

    Returns:
        (T, ..., 3) angular velocity in the world frame, rad/s.
    """
    velocity = np.empty((*q.shape[:-1], 3))
    velocity[1:-1] = to_rotation_vector(multiply(q[2:], conjugate(q[:-2]))) / (2 * dt)
    velocity[0] = to_rotation_vector(multiply(q[1], conjugate(q[0]))) / dt
    velocity[-1] = to_rotation_vector(multiply(q[-1], conjugate(q[-2]))) / dt
    return velocity
