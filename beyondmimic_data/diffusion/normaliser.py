"""Normalisation of each dimension's range to [-1, 1], kept inside the model with its weights (METHOD 2.5).

The published range is that of all samples. One wild action of a falling robot then takes the resolution of
all others, so the range here leaves out a thousandth at either end.
"""

import torch

CONSTANT = 1e-4
"""A dimension whose range is below this is shifted to zero and not scaled."""
TAIL = 1e-3
"""Share of samples outside the range, at either end."""


def central_range(samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the bounds (D,) of samples (..., D) without their tails."""
    ordered = samples.reshape(-1, samples.shape[-1]).sort(dim=0).values
    cut = int(TAIL * len(ordered))
    return ordered[cut], ordered[len(ordered) - 1 - cut]


class RangeNormaliser(torch.nn.Module):
    """Affine map of each dimension; the range is a buffer and travels with the weights."""

    low: torch.Tensor
    high: torch.Tensor

    def __init__(self, dim: int) -> None:
        """Start with the identity map of ``dim`` dimensions."""
        super().__init__()
        self.register_buffer("low", -torch.ones(dim))
        self.register_buffer("high", torch.ones(dim))

    @property
    def half_range(self) -> torch.Tensor:
        """(D,) physical units a normalised unit."""
        half = (self.high - self.low) / 2
        return torch.where(half < CONSTANT / 2, torch.ones_like(half), half)

    @property
    def middle(self) -> torch.Tensor:
        """(D,) physical value of zero."""
        return (self.high + self.low) / 2

    def fit(self, low: torch.Tensor, high: torch.Tensor) -> None:
        """Take bounds (D,) as the range."""
        self.low.copy_(low)
        self.high.copy_(high)

    def include(self, low: torch.Tensor, high: torch.Tensor) -> None:
        """Widen the range so that it holds (D,) bounds as well; what was normalised before hardly moves."""
        self.low.copy_(torch.minimum(self.low, low))
        self.high.copy_(torch.maximum(self.high, high))

    def normalise(self, x: torch.Tensor) -> torch.Tensor:
        """Map physical values (..., D) to [-1, 1]."""
        return (x - self.middle) / self.half_range

    def denormalise(self, x: torch.Tensor) -> torch.Tensor:
        """Map normalised values (..., D) back."""
        return x * self.half_range + self.middle
