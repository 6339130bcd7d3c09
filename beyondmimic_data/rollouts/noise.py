"""Exploration noise on executed actions (METHOD 2.7 and 3.4): a kind and a size for every episode."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from beyondmimic_data.config import NOISE_KINDS, NoiseKind, RolloutConfig
from beyondmimic_data.robots import g1


@dataclasses.dataclass(frozen=True)
class EpisodeNoise:
    """The noise of one episode."""

    kind: NoiseKind
    """None, white, or an Ornstein-Uhlenbeck process."""
    scale: float
    """Factor on the configured deviation; 0 for none."""

    @classmethod
    def draw(cls, config: RolloutConfig, rng: np.random.Generator) -> "EpisodeNoise":
        """Draw a kind by its share and a scale."""
        shares = np.array(config.noise_shares)
        kind = NOISE_KINDS[int(rng.choice(len(NOISE_KINDS), p=shares / shares.sum()))]
        scale = float(rng.uniform(*config.noise_scale))
        return cls(kind, 0.0 if kind == "none" else scale)


def joint_noise_std(config: RolloutConfig) -> torch.Tensor:
    """Return (29,) the white noise's standard deviation of each joint, in action units."""
    base, hips, knees, ankles = config.noise_std
    by_part = (("hip", hips), ("knee", knees), ("ankle", ankles))
    values = [next((std for part, std in by_part if part in name), base) for name in g1.JOINT_NAMES]
    return torch.tensor(values)


class ActionNoise:
    """Noise of N environments, each of the kind and size of its episode."""

    def __init__(self, config: RolloutConfig, num_envs: int, seed: int) -> None:
        """Start at rest."""
        self.config = config
        self._generator = torch.Generator().manual_seed(seed)
        self._std = joint_noise_std(config)
        self._ou = torch.zeros(num_envs, g1.NUM_JOINTS)
        self.white_scale = torch.zeros(num_envs, 1)
        """(N, 1) factor on each environment's white noise."""
        self.ou_scale = torch.zeros(num_envs, 1)
        """(N, 1) factor on each environment's OU noise."""

    def reset(self, ids: np.ndarray, episodes: Sequence[EpisodeNoise]) -> None:
        """Forget the past of some environments (n,) and give them the noise of their new episodes."""
        self._ou[ids] = 0.0
        for kind, scales in (("white", self.white_scale), ("ou", self.ou_scale)):
            scales[ids, 0] = torch.tensor([e.scale if e.kind == kind else 0.0 for e in episodes])

    def sample(self) -> torch.Tensor:
        """Return (N, 29) noise in action units."""
        gaussian = torch.randn(self._ou.shape, generator=self._generator)
        # eta <- eta + theta (0 - eta) dt + sigma sqrt(dt) eps, with dt = 1 (BeyondMimic v4 eq. S4).
        self._ou = self._ou * (1 - self.config.ou_theta) + self.config.ou_sigma * gaussian
        return self.white_scale * self._std * gaussian + self.ou_scale * self._ou
