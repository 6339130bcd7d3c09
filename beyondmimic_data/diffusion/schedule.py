"""Cosine noise schedule with a level of its own for every token.

Level 0 is clean and level K the noisiest; level k is step t = k - 1 of a DDPM with K steps, so the published
tables of t in 0..K-1 are tables of the level k = t + 1 that a network call starts from.
"""

import math

import torch

OFFSET = 0.008
"""Offset s of the cosine schedule (METHOD 2.5)."""
MAX_BETA = 0.999
"""Largest step of the schedule (METHOD 2.5)."""


class CosineSchedule(torch.nn.Module):
    """Signal fractions of K + 1 levels, and the posterior between any two of them."""

    alpha_bar: torch.Tensor

    def __init__(self, steps: int) -> None:
        """Make the schedule of ``steps`` denoising steps K."""
        super().__init__()
        self.steps = steps

        def signal(u: float) -> float:
            return math.cos((u + OFFSET) / (1 + OFFSET) * math.pi / 2) ** 2

        values = [1.0]
        for k in range(steps):
            values.append(values[-1] * (1 - min(1 - signal((k + 1) / steps) / signal(k / steps), MAX_BETA)))
        self.register_buffer("alpha_bar", torch.tensor(values, dtype=torch.float32), persistent=False)

    def add_noise(self, clean: torch.Tensor, noise: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        """Return tokens (..., T, D) noised to ``levels`` (..., T); level 0 returns them unchanged."""
        signal = self.alpha_bar[levels][..., None]
        return signal.sqrt() * clean + (1 - signal).sqrt() * noise

    def posterior(
        self, noisy: torch.Tensor, clean: torch.Tensor, levels: torch.Tensor, next_levels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean (B, T, D) and standard deviation, broadcasting to it, of q(x_next | x_level, x_0).

        ``next_levels`` are at most ``levels``. A token whose level stays the same is held as it is; one that
        goes to level 0 becomes its clean prediction.

        Args:
            noisy: (B, T, D) tokens at ``levels``.
            clean: (B, T, D) clean prediction.
            levels: (B, T) int, or (T,) if alike for all.
            next_levels: likewise.
        """
        here, there = self.alpha_bar[levels][..., None], self.alpha_bar[next_levels][..., None]
        ratio = here / there
        noise = (1 - here).clamp_min(1e-12)
        held = (levels == next_levels)[..., None]
        mean = there.sqrt() * (1 - ratio) / noise * clean + ratio.sqrt() * (1 - there) / noise * noisy
        variance = (1 - ratio) * (1 - there) / noise
        std = torch.where(held, torch.zeros_like(variance), variance.clamp_min(0).sqrt())
        return torch.where(held, noisy, mean), std

    def noise_ratio(self, levels: torch.Tensor) -> torch.Tensor:
        """Return noise over signal, sqrt((1 - a) / a), of ``levels``; 0 at level 0."""
        signal = self.alpha_bar[levels]
        return ((1 - signal) / signal).sqrt()
