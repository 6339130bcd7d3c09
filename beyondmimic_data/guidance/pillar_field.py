"""Upright pillars, another set for each robot of a batch."""

import dataclasses

import torch


@dataclasses.dataclass(frozen=True)
class PillarField:
    """Pillars of B robots, round and higher than any robot: a shape for the obstacles' cost."""

    centre: torch.Tensor
    """(B, P, 2) m, world."""
    radius: float
    """m."""

    def distance(self, points: torch.Tensor) -> torch.Tensor:
        """Return the signed distance (B, ...) of points (B, ..., 3) to each robot's nearest pillar."""
        batch, count, _ = self.centre.shape
        centre = self.centre.to(points).reshape(batch, *(1,) * (points.dim() - 2), count, 2)
        square = (points[..., None, :2] - centre).square().sum(-1).amin(-1)
        # The small term keeps the gradient finite on the axis.
        return (square + 1e-12).sqrt() - self.radius

    def nearest(self, xy: torch.Tensor, count: int) -> "PillarField":
        """Return the pillars that stand closest to a position (B, 2) of each robot, at most ``count``."""
        square = (self.centre.to(xy) - xy[:, None]).square().sum(-1)
        index = square.topk(min(count, square.shape[1]), largest=False).indices
        return PillarField(self.centre.gather(1, index[..., None].expand(-1, -1, 2)), self.radius)
