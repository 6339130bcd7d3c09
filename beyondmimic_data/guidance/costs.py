"""Costs on a predicted window of states: each maps a prediction to (B,) and adds to the others.

Goals given in the world are compared in the world; the joystick is relative to the robot's heading now.
"""

import dataclasses

import torch

from beyondmimic_data.diffusion.sampler import Cost, Prediction
from beyondmimic_data.guidance.registry import register_cost
from beyondmimic_data.guidance.shapes import Shape, signed_distance


@register_cost("joystick")
@dataclasses.dataclass(frozen=True)
class Joystick:
    """Planar velocity, and optionally yaw rate: half the squared error, summed over steps (v3 eq. 7).

    With a yaw rate the commanded velocity turns with the heading that the rate leads to, so that walking a
    curve is asked for consistently.
    """

    velocity: torch.Tensor
    """(2,) or (B, 2) m/s, forward and left of the heading at the current step."""
    yaw_rate: torch.Tensor | float | None = None
    """rad/s, scalar or (B,); ``None`` leaves turning free."""

    def __call__(self, prediction: Prediction) -> torch.Tensor:
        """Return the cost (B,)."""
        found = prediction.field("root_lin_vel")[..., :2]
        target = self.velocity.to(found).reshape(-1, 1, 2)
        if self.yaw_rate is None:
            return 0.5 * (found - target).square().sum((1, 2))
        rate = torch.as_tensor(self.yaw_rate).to(found).reshape(-1, 1)
        ahead = torch.arange(1, found.shape[1] + 1, device=found.device) * prediction.dt
        c, s = torch.cos(rate * ahead), torch.sin(rate * ahead)
        x, y = target[..., 0], target[..., 1]
        turned = torch.stack([c * x - s * y, s * x + c * y], -1)
        turning = prediction.field("root_ang_vel")[..., 2] - rate
        return 0.5 * (found - turned).square().sum((1, 2)) + 0.5 * turning.square().sum(1)


@register_cost("waypoint")
@dataclasses.dataclass(frozen=True)
class Waypoint:
    """A point to reach and to stop at (v3 eq. 8): far away the distance counts, close to it the velocity."""

    goal: torch.Tensor
    """(2,) or (B, 2) m, world."""

    def __call__(self, prediction: Prediction) -> torch.Tensor:
        """Return the cost (B,); the weight between the two terms is held fixed in the gradient."""
        offset = prediction.root_pos_w()[..., :2]
        offset = offset - self.goal.to(offset).reshape(-1, 1, 2)
        far = 1 - torch.exp(-2 * offset.detach().norm(dim=-1))
        velocity = prediction.field("root_lin_vel")[..., :2]
        return (far * offset.square().sum(-1) + (1 - far) * velocity.square().sum(-1)).sum(1)


def barrier(x: torch.Tensor, delta: float) -> torch.Tensor:
    """Return the relaxed logarithmic barrier: -ln x down to ``delta``, a parabola below (v3 eq. 10)."""
    safe = x.clamp_min(delta)
    below = -torch.log(torch.tensor(delta)).to(x) + 0.5 * (((x - 2 * delta) / delta).square() - 1)
    return torch.where(x >= delta, -torch.log(safe), below)


@register_cost("obstacle")
@dataclasses.dataclass(frozen=True)
class Obstacle:
    """Keeps every body clear of shapes: a barrier on signed distance, over steps and bodies (v3 eq. 9)."""

    shapes: tuple[Shape, ...]
    """Obstacles in the world."""
    body_radius: float = 0.1
    """m, r_b: every body counts as a ball of this radius about its link origin."""
    delta: float = 0.1
    """m, where the barrier turns from logarithm to parabola."""
    reach: float = 1.0
    """m; a body farther from every shape than this costs nothing, so that open space does not push."""

    def __call__(self, prediction: Prediction) -> torch.Tensor:
        """Return the cost (B,)."""
        clearance = signed_distance(self.shapes, prediction.body_pos_w()) - self.body_radius
        near = clearance.clamp_max(self.reach)
        offset = torch.log(torch.tensor(self.reach)).to(near)
        return (barrier(near, self.delta) + offset).sum((1, 2))


@register_cost("sum")
@dataclasses.dataclass(frozen=True)
class Sum:
    """Weighted sum of costs."""

    terms: tuple[tuple[float, Cost], ...]
    """Weights and costs."""

    def __call__(self, prediction: Prediction) -> torch.Tensor:
        """Return the cost (B,).

        Raises:
            ValueError: there is no term.
        """
        if not self.terms:
            raise ValueError("a sum of costs needs at least one term")
        return torch.stack([weight * cost(prediction) for weight, cost in self.terms]).sum(0)
