"""Obstacles as signed distance functions: negative inside, metres to the surface outside.

A place is a point (3,) shared by all robots, or a tensor (B, 3) with one a robot; then the first axis of the
points asked about is the robots'.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Protocol

import torch

from beyondmimic_data.errors import ConfigError
from beyondmimic_data.guidance import parameters
from beyondmimic_data.guidance.parameters import Point, Positive, Reader


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


def _place(place: tuple[float, float, float] | torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Return a place (3,) or (B, 3) in a shape that broadcasts against points (B, ..., 3)."""
    place = torch.as_tensor(place, dtype=points.dtype, device=points.device)
    return place if place.dim() == 1 else place.reshape(-1, *(1,) * (points.dim() - 2), 3)


@dataclasses.dataclass(frozen=True)
class Sphere:
    """A ball."""

    centre: Point
    """m."""
    radius: Positive
    """m."""

    def distance(self, points: torch.Tensor) -> torch.Tensor:
        """Return the signed distance."""
        return _length(points - _place(self.centre, points)) - self.radius


@dataclasses.dataclass(frozen=True)
class Capsule:
    """A ball swept along a segment."""

    start: Point
    """m."""
    end: Point
    """m."""
    radius: Positive
    """m."""

    def distance(self, points: torch.Tensor) -> torch.Tensor:
        """Return the signed distance."""
        start = _place(self.start, points)
        axis = _place(self.end, points) - start
        along = ((points - start) * axis).sum(-1) / axis.square().sum(-1).clamp_min(1e-12)
        along = along.clamp(0, 1)
        return _length(points - start - along[..., None] * axis) - self.radius


@dataclasses.dataclass(frozen=True)
class Cylinder:
    """An upright cylinder."""

    centre: Point
    """m, middle of its axis."""
    radius: Positive
    """m."""
    height: Positive
    """m."""

    def distance(self, points: torch.Tensor) -> torch.Tensor:
        """Return the signed distance."""
        local = points - _place(self.centre, points)
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
        local = points - _place(self.centre, points)
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        x, y = c * local[..., 0] + s * local[..., 1], -s * local[..., 0] + c * local[..., 1]
        return _outside_or_inside(
            torch.stack([x, y, local[..., 2]], -1).abs() - _place(self.half_size, points)
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


SHAPES: dict[str, type[Any]] = {"sphere": Sphere, "capsule": Capsule, "cylinder": Cylinder, "box": Box}
"""Every shape by the name that plain values give it."""

EXPECTED = "a table, or a list of tables, with shape = " + ", ".join(
    f"{name} ({', '.join(field.name for field in dataclasses.fields(cls))})" for name, cls in SHAPES.items()
)


def _read_shapes(value: Any, field: str) -> tuple[Shape, ...]:
    """Read ``{"shape": "sphere", "centre": [1.0, 0.0, 0.8], "radius": 0.2}`` or a list of such."""
    tables = [value] if isinstance(value, Mapping) else value
    if not isinstance(tables, list | tuple) or not tables or not all(isinstance(t, Mapping) for t in tables):
        raise ConfigError(field, value, EXPECTED)
    return tuple(_read_shape(table, f"{field}[{i}]") for i, table in enumerate(tables))


def _read_shape(table: Mapping[str, Any], field: str) -> Shape:
    """Read one table of the list."""
    name = table.get("shape")
    if not isinstance(name, str) or name not in SHAPES:
        raise ConfigError(f"{field}.shape", name, "one of " + ", ".join(SHAPES))
    return parameters.build(SHAPES[name], {k: v for k, v in table.items() if k != "shape"}, field)


Shapes = Annotated[tuple[Shape, ...], Reader(EXPECTED, _read_shapes)]
"""A union of shapes."""
