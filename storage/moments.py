"""Mean, deviation and range of columns, gathered chunk by chunk and merged exactly."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

_PIECE_ROWS = 512


@dataclasses.dataclass(frozen=True)
class Moments:
    """First and second moments and range of C columns over a number of rows."""

    count: int
    """Rows seen."""
    mean: np.ndarray
    """(C,) float64."""
    m2: np.ndarray
    """(C,) float64, sum of squared differences from the mean."""
    min: np.ndarray
    """(C,) float64, infinite while nothing is counted."""
    max: np.ndarray
    """(C,) float64, minus infinite while nothing is counted."""

    @property
    def std(self) -> np.ndarray:
        """(C,) population deviation."""
        return np.sqrt(self.m2 / max(self.count, 1))

    @classmethod
    def empty(cls, num_columns: int) -> "Moments":
        """Return the moments of no rows."""
        zero, infinite = np.zeros(num_columns), np.full(num_columns, np.inf)
        return cls(0, zero, zero, infinite, -infinite)

    @classmethod
    def of(cls, rows: np.ndarray) -> "Moments":
        """Return the moments of rows (R, C), in pieces that stay in the processor's cache."""
        total = cls.empty(rows.shape[1])
        for start in range(0, len(rows), _PIECE_ROWS):
            piece = rows[start : start + _PIECE_ROWS].astype(np.float64)
            low, high = piece.min(axis=0), piece.max(axis=0)
            mean = piece.mean(axis=0)
            piece -= mean
            total = total.merge(cls(len(piece), mean, np.einsum("ij,ij->j", piece, piece), low, high))
        return total

    def merge(self, other: "Moments") -> "Moments":
        """Return the moments of both sets of rows (Chan, Golub and LeVeque's update)."""
        count = self.count + other.count
        if count == 0:
            return self
        step = other.mean - self.mean
        return Moments(
            count,
            self.mean + step * (other.count / count),
            self.m2 + other.m2 + step**2 * (self.count * other.count / count),
            np.minimum(self.min, other.min),
            np.maximum(self.max, other.max),
        )

    @classmethod
    def merged(cls, parts: Iterable["Moments"], num_columns: int) -> "Moments":
        """Return the moments of all parts, merged in their order."""
        total = cls.empty(num_columns)
        for part in parts:
            total = total.merge(part)
        return total

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        if self.count == 0:
            return {"count": 0, "columns": len(self.mean)}
        arrays = {name: getattr(self, name).tolist() for name in ("mean", "m2", "min", "max")}
        return {"count": self.count, "columns": len(self.mean), **arrays}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Moments":
        """Read what ``to_json`` gave.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        count, columns = value["count"], value["columns"]
        if type(count) is not int or type(columns) is not int or count < 0 or columns < 0:
            raise ValueError("count and columns that are no numbers of rows and columns")
        if count == 0:
            return cls.empty(columns)
        figures = [np.array(value[name], np.float64) for name in ("mean", "m2", "min", "max")]
        if any(figure.shape != (columns,) for figure in figures):
            raise ValueError(f"figures that are not {columns} numbers each")
        return cls(count, *figures)
