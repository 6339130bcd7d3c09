"""A clip that tests of training share."""

import numpy as np
import pytest

from beyondmimic_data.motions.clip import Clip, clip_from_qpos
from beyondmimic_data.robots import g1


@pytest.fixture(scope="session")
def clip() -> Clip:
    """Stand still for 1.2 s."""
    qpos = np.tile(g1.default_qpos(), (61, 1))
    qpos[:, 2] = 0.785
    return clip_from_qpos("stand", qpos, 50, 50, {"file": "made here"})
