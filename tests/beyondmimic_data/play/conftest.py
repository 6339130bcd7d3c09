import dataclasses
import socket
from collections.abc import Callable

import numpy as np
import pytest

from beyondmimic_data.config import Preset, get_preset
from beyondmimic_data.diffusion.frames import Frames, frames_from_rows
from beyondmimic_data.play.session import Session


@pytest.fixture(scope="session")
def preset() -> Preset:
    """Without latency, so that what is asked shows in the next step."""
    chosen = get_preset("test")
    return dataclasses.replace(
        chosen, randomisation=dataclasses.replace(chosen.randomisation, latency_ms=(0.0, 0.0))
    )


@pytest.fixture(scope="session")
def start(windows) -> Frames:
    """Where one robot was recorded, somewhere in the world with some heading."""
    rows = windows.sample("validation", 1, np.random.default_rng(3))
    return frames_from_rows(rows, windows.columns).time(slice(0, 5))


@pytest.fixture
def make_session(make_policy, start, preset) -> Callable[..., Session]:
    """Make a session of an untrained policy."""
    return lambda **given: Session(make_policy(), start, preset, **given)


@pytest.fixture
def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
