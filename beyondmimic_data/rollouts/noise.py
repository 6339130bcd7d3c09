"""Exploration noise on executed actions (METHOD 2.7 and 3.4)."""

import numpy as np
import torch

from beyondmimic_data.config import RolloutConfig
from beyondmimic_data.robots import g1


def joint_noise_std(config: RolloutConfig) -> torch.Tensor:
    """Return (29,) the white noise's standard deviation of each joint, in action units."""
    base, hips, knees, ankles = config.noise_std
    by_part = (("hip", hips), ("knee", knees), ("ankle", ankles))
    values = [next((std for part, std in by_part if part in name), base) for name in g1.JOINT_NAMES]
    return torch.tensor(values)


class ActionNoise:
    """Noise of N environments; every environment has its own scale and, for OU, its own memory."""

    def __init__(self, config: RolloutConfig, num_envs: int, seed: int) -> None:
        """Start at rest."""
        self.config = config
        self._generator = torch.Generator().manual_seed(seed)
        self._std = joint_noise_std(config)
        self._ou = torch.zeros(num_envs, g1.NUM_JOINTS)
        self.scale = torch.ones(num_envs, 1)
        """(N, 1) factor on each environment's noise."""

    def reset(self, ids: np.ndarray, scale: np.ndarray) -> None:
        """Forget the past of some environments and give them a new scale (n,)."""
        self._ou[ids] = 0.0
        self.scale[ids, 0] = torch.from_numpy(scale).float()

    def sample(self) -> torch.Tensor:
        """Return (N, 29) noise in action units."""
        gaussian = torch.randn(self._ou.shape, generator=self._generator)
        if self.config.noise == "none":
            return torch.zeros_like(gaussian)
        if self.config.noise == "ou":
            # eta <- eta + theta (0 - eta) dt + sigma sqrt(dt) eps, with dt = 1 (BeyondMimic v4 eq. S4).
            self._ou = self._ou * (1 - self.config.ou_theta) + self.config.ou_sigma * gaussian
            return self.scale * self._ou
        return self.scale * self._std * gaussian
