"""Min-max normalisation to [-1, 1], kept inside the model with its weights (METHOD 2.5)."""

import torch

CONSTANT = 1e-4
"""A dimension whose range is below this is shifted to zero and not scaled."""


class MinMaxNormaliser(torch.nn.Module):
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

    def fit(self, samples: torch.Tensor) -> None:
        """Take the range of samples (..., D)."""
        flat = samples.reshape(-1, samples.shape[-1])
        self.low.copy_(flat.amin(0))
        self.high.copy_(flat.amax(0))

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
