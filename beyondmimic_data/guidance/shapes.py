"""Obstacles as signed distance functions: negative inside, metres to the surface outside."""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import torch

Point = tuple[float, float, float]


class Shape(Protocol):
    """A solid in the world."""

    def distance(self, points: torch.Tensor) -> torch.Tensor:
        """Return the signed distance (...) of points (..., 3), m."""
        ...


def _length(v: torch.Tensor) -> torch.Tensor:
    """Return the norm over the last axis; its gradient at zero is zero."""
    square = v.square().sum(-1)
    zero = square == 0
    return torch.where(
        zero, torch.zeros_like(square), torch.where(zero, torch.ones_like(square), square).sqrt()
    )


@dataclasses.dataclass(frozen=True)
class Sphere:
    """A ball."""

    centre: Point
    """m."""
    radius: float
    """m."""

    def distance(self, points: torch.Tensor) -> torch.Tensor:
        """Return the signed distance."""
        return _length(points - points.new_tensor(self.centre)) - self.radius


@dataclasses.dataclass(frozen=True)
class Capsule:
    """A ball swept along a segment."""

    start: Point
    """m."""
    end: Point
    """m."""
    radius: float
    """m."""

    def distance(self, points: torch.Tensor) -> torch.Tensor:
        """Return the signed distance."""
        start = points.new_tensor(self.start)
        axis = points.new_tensor(self.end) - start
        along = ((points - start) @ axis / axis.square().sum().clamp_min(1e-12)).clamp(0, 1)
        return _length(points - start - along[..., None] * axis) - self.radius


@dataclasses.dataclass(frozen=True)
class Cylinder:
    """An upright cylinder."""

    centre: Point
    """m, middle of its axis."""
    radius: float
    """m."""
    height: float
    """m."""

    def distance(self, points: torch.Tensor) -> torch.Tensor:
        """Return the signed distance."""
        local = points - points.new_tensor(self.centre)
        across = _length(local[..., :2]) - self.radius
        return _outside_or_inside(torch.stack([across, local[..., 2].abs() - self.height / 2], -1))


@dataclasses.dataclass(frozen=True)
class Box:
    """A box turned about the vertical."""

    centre: Point
    """m."""
    half_size: Point
    """m, along its own axes."""
    yaw: float = 0.0
    """rad."""

    def distance(self, points: torch.Tensor) -> torch.Tensor:
        """Return the signed distance."""
        local = points - points.new_tensor(self.centre)
        c, s = torch.cos(torch.tensor(self.yaw)).to(points), torch.sin(torch.tensor(self.yaw)).to(points)
        x, y = c * local[..., 0] + s * local[..., 1], -s * local[..., 0] + c * local[..., 1]
        return _outside_or_inside(
            torch.stack([x, y, local[..., 2]], -1).abs() - points.new_tensor(self.half_size)
        )


def _outside_or_inside(excess: torch.Tensor) -> torch.Tensor:
    """Combine distances beyond each pair of faces (..., K) into one signed distance."""
    return _length(excess.clamp_min(0)) + excess.amax(-1).clamp_max(0)


def signed_distance(shapes: Sequence[Shape], points: torch.Tensor) -> torch.Tensor:
    """Return the signed distance (...) of points (..., 3) to the union of shapes.

    Raises:
        ValueError: there is no shape.
    """
    if not shapes:
        raise ValueError("an obstacle cost needs at least one shape")
    return torch.stack([shape.distance(points) for shape in shapes]).amin(0)
