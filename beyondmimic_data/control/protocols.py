"""Closed-loop protocols by name: where runs start, what happens to the robot, and what counts as success."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from beyondmimic_data.control.closed_loop import Push, Recording, Steer, Steering
from beyondmimic_data.diffusion.frames import Frames
from beyondmimic_data.diffusion.sampler import Guidance
from beyondmimic_data.guidance.costs import Joystick
from beyondmimic_data.statistics import wilson_interval

UPRIGHT_HEIGHT = 0.6
"""m; a start whose base is lower is not upright."""
STANDING_SPEED = 0.2
"""m/s; a start whose base is slower stands."""
WALKING_SPEED = 0.3
"""m/s; a start whose base is faster walks."""
PUSH_SPEED = 0.5
"""m/s, largest velocity of a push (METHOD 2.11)."""
PUSH_INTERVAL = 1.0
"""s between pushes (METHOD 2.11)."""
SETTLING_SECONDS = 1.0
"""s at the start of each command that do not count."""
VELOCITY_TOLERANCE = 0.25
"""m/s, error of the mean velocity that still counts as following; the paper names none."""
TURN_SHARE = 0.5
"""Share of the commanded turn that still counts as following."""


@dataclasses.dataclass(frozen=True)
class Command:
    """One joystick command."""

    name: str
    seconds: float
    velocity: tuple[float, float]
    """m/s, forward and left."""
    yaw_rate: float | None = None
    """rad/s; ``None`` leaves the heading free."""


JOYSTICK_COMMANDS = (
    Command("forward", 3.0, (0.6, 0.0)),
    Command("backward", 3.0, (-0.4, 0.0)),
    Command("left", 3.0, (0.3, 0.0), 0.8),
    Command("right", 3.0, (0.3, 0.0), -0.8),
)
"""Forward, backward, turn left, turn right, 3 s each (METHOD 2.11); speeds are this project's choice."""

Judgement = tuple[np.ndarray, dict[str, Any]]
"""Success (N,) and figures."""


@dataclasses.dataclass(frozen=True)
class Protocol:
    """One experiment."""

    name: str
    """Name on the command line."""
    description: str
    """What happens and what counts, for a report."""
    seconds: float
    """Length of a run."""
    start: Callable[[Frames], torch.Tensor]
    """Tells which recorded starts (N,) it may begin from."""
    start_name: str
    """What those starts are."""
    pushed: bool
    """Whether bases are pushed."""
    commands: Sequence[Command]
    """Commands, one after the other; none leaves the policy unguided."""
    judge: Callable[["Protocol", Recording], Judgement]
    """Decides success."""

    @property
    def criteria(self) -> dict[str, float]:
        """Return the numbers that decide success."""
        limits = {"fallen_head_height_m": 0.2}
        if self.pushed:
            limits |= {"push_speed_m_s": PUSH_SPEED, "push_interval_s": PUSH_INTERVAL}
        if self.commands:
            limits |= {"velocity_tolerance_m_s": VELOCITY_TOLERANCE, "turn_share": TURN_SHARE}
        return limits


PROTOCOLS: dict[str, Protocol] = {}
"""Every protocol by name."""


def register_protocol(protocol: Protocol) -> Protocol:
    """Register a protocol.

    Raises:
        ValueError: the name is taken.
    """
    if protocol.name in PROTOCOLS:
        raise ValueError(f"protocol {protocol.name!r} is registered already")
    PROTOCOLS[protocol.name] = protocol
    return protocol


def _speed(starts: Frames) -> torch.Tensor:
    return starts.root_lin_vel_w[:, -1, :2].norm(dim=-1)


def _upright(starts: Frames) -> torch.Tensor:
    return starts.root_pos_w[:, -1, 2] > UPRIGHT_HEIGHT


def standing(starts: Frames) -> torch.Tensor:
    """Tell which starts stand upright."""
    return _upright(starts) & (_speed(starts) < STANDING_SPEED)


def walking(starts: Frames) -> torch.Tensor:
    """Tell which starts walk upright."""
    return _upright(starts) & (_speed(starts) > WALKING_SPEED)


def stays_up(protocol: Protocol, recording: Recording) -> Judgement:
    """Succeed without a fall."""
    hz = recording.control_hz
    drift = np.linalg.norm(np.diff(recording.qpos[:, :, :2], axis=0), axis=-1).sum(0)
    speed = np.linalg.norm(recording.root_lin_vel[:, :, :2], axis=-1)
    up = ~recording.fell
    return up, {
        "mean_seconds_upright": float(recording.seconds_upright.mean()),
        "mean_speed_m_s": _mean_of(speed.mean(0), up),
        "mean_path_m": _mean_of(drift, up),
        "seconds": (len(recording.qpos) - 1) / hz,
    }


def follows(protocol: Protocol, recording: Recording) -> Judgement:
    """Succeed without a fall, each command followed: mean velocity within tolerance, turned far enough."""
    success = ~recording.fell
    commands: dict[str, Any] = {}
    first = 0
    for command in protocol.commands:
        last = first + round(command.seconds * recording.control_hz)
        settled = first + round(SETTLING_SECONDS * recording.control_hz)
        if last >= len(recording.qpos):  # all fell before this command ended
            success = np.zeros_like(success)
            break
        mean = recording.root_lin_vel[settled : last + 1, :, :2].mean(0)
        error = np.linalg.norm(mean - np.array(command.velocity), axis=-1)
        turned = recording.yaw[last] - recording.yaw[settled]
        following = error < VELOCITY_TOLERANCE
        if command.yaw_rate is not None:
            wanted = command.yaw_rate * (command.seconds - SETTLING_SECONDS)
            following &= turned * np.sign(wanted) > TURN_SHARE * abs(wanted)
        up = ~recording.fell
        commands[command.name] = {
            "velocity": list(command.velocity),
            "yaw_rate": command.yaw_rate,
            "following": float((following & up).mean()),
            "velocity_error_m_s": _mean_of(error, up),
            "mean_velocity_m_s": [_mean_of(mean[:, i], up) for i in range(2)],
            "turned_rad": _mean_of(turned, up),
        }
        success = success & following
        first = last
    upright = float(recording.seconds_upright.mean())
    return success, {"mean_seconds_upright": upright, "commands": commands}


def _mean_of(values: np.ndarray, chosen: np.ndarray) -> float | None:
    """Return the mean over chosen robots, ``None`` if there is none."""
    return float(values[chosen].mean()) if chosen.any() else None


def pusher(n: int, control_hz: float, seed: int) -> Push:
    """Return pushes of U(0, 0.5) m/s in a random direction, once a second for each of n robots."""
    interval = round(PUSH_INTERVAL * control_hz)

    def push(step: int) -> np.ndarray | None:
        if step == 0 or step % interval:
            return None
        rng = np.random.default_rng([seed, step])
        speed, heading = rng.uniform(0, PUSH_SPEED, n), rng.uniform(-math.pi, math.pi, n)
        return np.stack([speed * np.cos(heading), speed * np.sin(heading), np.zeros(n)], -1)

    return push


def commander(commands: Sequence[Command], control_hz: float, scale: float) -> Steer:
    """Return steering that gives one command after the other; the last one stays."""
    ends = np.cumsum([round(c.seconds * control_hz) for c in commands])
    guidances = [Guidance(Joystick(torch.tensor(c.velocity), c.yaw_rate), scale=scale) for c in commands]

    def steer(step: int, history: Frames) -> Steering:
        index = min(int(np.searchsorted(ends, step, side="right")), len(commands) - 1)
        return Steering(guidance=guidances[index])

    return steer


def summarise(protocol: Protocol, recording: Recording) -> dict[str, Any]:
    """Return the success rate of a recording with its 95 % Wilson interval, figures and criteria."""
    success, figures = protocol.judge(protocol, recording)
    n, count = len(success), int(success.sum())
    low, high = wilson_interval(count, n)
    return {
        "success_rate": count / n,
        "wilson_low": low,
        "wilson_high": high,
        "n": n,
        "falls": int(recording.fell.sum()),
        **figures,
        "latency_ms": [round(float(x), 1) for x in recording.latency_ms],
        "success": success.tolist(),
        "plan_ms_p50": float(np.percentile(recording.plan_ms, 50)),
        "plan_ms_p95": float(np.percentile(recording.plan_ms, 95)),
        "criteria": protocol.criteria,
        "description": protocol.description,
    }


register_protocol(
    Protocol(
        name="stand_perturb",
        description="15 s from a standing start; once a second the base velocity changes by U(0, 0.5) m/s in "
        "a random direction. Success: the head never comes below 0.2 m.",
        seconds=15.0,
        start=standing,
        start_name="standing",
        pushed=True,
        commands=(),
        judge=stays_up,
    )
)
register_protocol(
    Protocol(
        name="walk_perturb",
        description="15 s from a walking start, pushed like stand_perturb (BeyondMimic v3, Table III: 100 % "
        "with body positions, 72 % with joint rotations).",
        seconds=15.0,
        start=walking,
        start_name="walking",
        pushed=True,
        commands=(),
        judge=stays_up,
    )
)
register_protocol(
    Protocol(
        name="joystick",
        description="Forward, backward, left and right, 3 s each, by guidance alone. Success: no fall, and "
        "in the last 2 s of each command the mean velocity is within 0.25 m/s of it and at least half of the "
        "turn is made (BeyondMimic v3, Table III: 80 % with body positions, 0 % with joint rotations).",
        seconds=sum(c.seconds for c in JOYSTICK_COMMANDS),
        start=_upright,
        start_name="upright",
        pushed=False,
        commands=JOYSTICK_COMMANDS,
        judge=follows,
    )
)
