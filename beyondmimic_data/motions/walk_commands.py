"""Velocity commands of the walking clips: seeded sequences with starts, stops and changes."""

import numpy as np
from scipy.ndimage import gaussian_filter1d

from beyondmimic_data.config import SynthConfig, named_numbers
from beyondmimic_data.errors import ConfigError

COMMAND_NAMES = ("forward", "sideways", "turn")
"""Columns of a command: m/s forward, m/s to the left, rad/s to the left."""

LEAD_SECONDS = 1.3
"""Stillness before the first command."""
TAIL_SECONDS = 2.0
"""Commands are zero for this long at the end, so that the last steps close the stance."""
STOP_SECONDS = (2.4, 3.4)
"""Long enough to come to a stand."""
ACCELERATION = np.array([0.8, 0.6, 1.6])
"""m/s^2, m/s^2, rad/s^2; commands change no faster."""

FASTEST = {"forward": (-0.7, 1.0), "sideways": (-0.4, 0.4), "turn": (-1.0, 1.0)}
"""What the gait was measured to do in balance and within the joint limits: m/s, m/s, rad/s."""

REVERSE = "reverse"
"""Kind of a segment whose command is the last one with its sign changed, as far as the ranges go."""

# How often each kind of segment comes if nothing else is asked, and which share of each range it takes:
# (low, high) of the size of the command; a range's sign is drawn.
KINDS: tuple[tuple[str, float, tuple[tuple[float, float], ...]], ...] = (
    ("forward", 0.30, ((0.3, 1.0), (0, 0), (0, 0))),
    ("arc", 0.22, ((0.3, 0.7), (0, 0), (0.3, 0.7))),
    ("backward", 0.12, ((-1.0, -0.4), (0, 0), (0, 0))),
    ("sideways", 0.12, ((0, 0), (0.4, 1.0), (0, 0))),
    ("turn", 0.10, ((0, 0), (0, 0), (0.5, 1.0))),
    ("mixed", 0.06, ((-0.5, 0.5), (0.2, 0.5), (0, 0.5))),
    ("stop", 0.08, ((0, 0), (0, 0), (0, 0))),
    (REVERSE, 0.0, ((0, 0), (0, 0), (0, 0))),
)


def walk_commands(config: SynthConfig, control_hz: float) -> np.ndarray:
    """Return the commands that the walking clip of the same configuration follows.

    Returns:
        (T, 3) columns ``COMMAND_NAMES``: m/s forward, m/s left, rad/s left, in the walker's own heading.
        Zero at both ends; no faster change than ``ACCELERATION``.

    Raises:
        ConfigError: a range that leaves out zero or goes beyond ``FASTEST``, or a share of an unknown kind.
    """
    rng = np.random.default_rng([config.seed, 0])
    chances = _chances(config)
    raw = np.zeros((round(config.walk_seconds * control_hz) + 1, 3))
    # The last change to zero has to be over when the tail begins.
    slowest = float(np.max(_ranges(config)[:, 1] / ACCELERATION))
    end = len(raw) - round((TAIL_SECONDS + slowest) * control_hz)
    frame = round(LEAD_SECONDS * control_hz)
    kind, command = None, np.zeros(3)
    while frame < end:
        kind, command = _draw_segment(rng, config, chances, kind, command)
        seconds = rng.uniform(*(STOP_SECONDS if kind == "stop" else config.segment_seconds))
        raw[frame : min(frame + round(seconds * control_hz), end)] = command
        frame += round(seconds * control_hz)
    return _limit_rate(raw, ACCELERATION / control_hz)


def _ranges(config: SynthConfig) -> np.ndarray:
    """Return (3, 2) the lowest and highest command of each column."""
    ranges = {name: getattr(config, name) for name in COMMAND_NAMES}
    for name, (low, high) in ranges.items():
        slowest, fastest = FASTEST[name]
        if not slowest <= low <= 0 <= high <= fastest:
            raise ConfigError(f"synth.{name}", (low, high), f"a range around 0 within {FASTEST[name]}")
    return np.array(list(ranges.values()))


def _chances(config: SynthConfig) -> np.ndarray:
    """Return how often each of ``KINDS`` comes, with what the configuration asks for."""
    asked = named_numbers("synth.segment_shares", config.segment_shares, [name for name, _, _ in KINDS])
    return np.array([asked.get(name, chance) for name, chance, _ in KINDS])


def _draw_segment(
    rng: np.random.Generator, config: SynthConfig, chances: np.ndarray, after: str | None, last: np.ndarray
) -> tuple[str, np.ndarray]:
    """Draw the kind of a segment and its command (3,); nothing stops or turns round what does not move."""
    names, ranges = [name for name, _, _ in KINDS], _ranges(config)
    if after in (None, "stop"):
        chances = np.where(np.isin(names, ("stop", REVERSE)), 0.0, chances)
    name, _, shares = KINDS[rng.choice(len(KINDS), p=chances / chances.sum())]
    if name == REVERSE:
        return name, np.clip(-last, ranges[:, 0], ranges[:, 1])
    command = np.zeros(3)
    for i, ((low, high), limits) in enumerate(zip(shares, ranges)):
        share = rng.uniform(low, high)
        if i and rng.random() < 0.5:
            share = -share
        command[i] = share * limits[1] if share > 0 else -share * limits[0]
    return name, command


def _limit_rate(raw: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Follow (T, 3) commands with at most ``step`` (3,) change a frame."""
    out = np.zeros_like(raw)
    for t in range(1, len(raw)):
        out[t] = out[t - 1] + np.clip(raw[t] - out[t - 1], -step, step)
    return out


def path_of(commands: np.ndarray, control_hz: float) -> np.ndarray:
    """Integrate commands to the path of a walker that follows them exactly.

    Args:
        commands: (T, 3) velocities in the walker's heading.
        control_hz: frames a second.

    Returns:
        (T, 3) x, y in m and heading in rad, from the origin along +x.
    """
    dt = 1.0 / control_hz
    mean = (commands[1:] + commands[:-1]) / 2
    path = np.zeros_like(commands)
    path[1:, 2] = np.cumsum(mean[:, 2]) * dt
    heading = (path[1:, 2] + path[:-1, 2]) / 2
    c, s = np.cos(heading), np.sin(heading)
    path[1:, 0] = np.cumsum(c * mean[:, 0] - s * mean[:, 1]) * dt
    path[1:, 1] = np.cumsum(s * mean[:, 0] + c * mean[:, 1]) * dt
    return path


def smooth(values: np.ndarray, seconds: float, control_hz: float) -> np.ndarray:
    """Filter (T, ...) over time with a Gaussian of that deviation; the ends continue flat."""
    return gaussian_filter1d(values, seconds * control_hz, axis=0, mode="nearest")
