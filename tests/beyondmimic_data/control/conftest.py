"""Settings for tasks."""

from collections.abc import Callable

import numpy as np
import pytest

from beyondmimic_data.config import GuidanceConfig
from beyondmimic_data.control.protocols.protocol import Setting
from beyondmimic_data.diffusion.frames import frames_from_rows


@pytest.fixture
def setting(windows, policy) -> Callable[..., Setting]:
    """Make settings of n robots; equal arguments give equal settings."""

    def make(n: int = 4, seed: int = 5) -> Setting:
        rows = windows.sample("validation", n, np.random.default_rng(seed))
        frames = frames_from_rows(rows, windows.columns)
        return Setting(policy, frames, 250, seed, GuidanceConfig())

    return make
