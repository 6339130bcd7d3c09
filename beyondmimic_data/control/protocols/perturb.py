"""Standing and walking under pushes, unguided (METHOD 2.11, E5)."""

import math

import numpy as np

from beyondmimic_data.config import Range
from beyondmimic_data.control.closed_loop import Push, Recording
from beyondmimic_data.control.protocols import starts
from beyondmimic_data.control.protocols.judging import mean_of, mean_speed
from beyondmimic_data.control.protocols.protocol import Judgement, Protocol, Setting, Task, register_protocol

PUSH_SPEED = (0.0, 0.5)
"""m/s, range of the velocity of a push (METHOD 2.11)."""
PUSH_INTERVAL = 1.0
"""s between pushes (METHOD 2.11)."""
SECONDS = 15.0
"""Length of a run (METHOD 2.11)."""


def pusher(n: int, control_hz: float, seed: int, speed: Range = PUSH_SPEED) -> Push:
    """Return pushes of uniform speed in a random direction, once a second for each of n robots."""
    interval = round(PUSH_INTERVAL * control_hz)

    def push(step: int) -> np.ndarray | None:
        if step == 0 or step % interval:
            return None
        rng = np.random.default_rng([seed, step])
        size, heading = rng.uniform(*speed, n), rng.uniform(-math.pi, math.pi, n)
        return np.stack([size * np.cos(heading), size * np.sin(heading), np.zeros(n)], -1)

    return push


def stays_up(recording: Recording) -> Judgement:
    """Succeed without a fall."""
    path = np.linalg.norm(np.diff(recording.qpos[:, :, :2], axis=0), axis=-1).sum(0)
    up = ~recording.fell
    return up, {
        "mean_speed_m_s": mean_of(mean_speed(recording), up),
        "mean_path_m": mean_of(path, up),
        "seconds": (len(recording.qpos) - 1) / recording.control_hz,
    }


def _register(suffix: str, speed: Range) -> None:
    def make(setting: Setting) -> Task:
        return Task(judge=stays_up, push=pusher(setting.n, setting.control_hz, setting.seed, speed))

    for name, start in (("stand", starts.standing), ("walk", starts.walking)):
        register_protocol(
            Protocol(
                name=f"{name}_perturb{suffix}",
                description=f"{SECONDS:g} s from a {start.__name__} start, unguided; once a second the base "
                f"velocity changes by U({speed[0]:g}, {speed[1]:g}) m/s in a random direction. Success: the "
                "head never comes below 0.2 m. A policy that stops passes, too: see the mean speed.",
                seconds=SECONDS,
                start=start,
                start_name=start.__name__,
                make=make,
                criteria={
                    "push_speed_min_m_s": speed[0],
                    "push_speed_m_s": speed[1],
                    "push_interval_s": PUSH_INTERVAL,
                },
            )
        )


_register("", PUSH_SPEED)
_register("_hard", (0.5, 1.0))
_register("_harder", (1.0, 1.5))
