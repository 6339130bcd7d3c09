"""What a protocol is: where runs start, what happens to the robots, and what counts as success."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from beyondmimic_data.config import GuidanceConfig
from beyondmimic_data.control.closed_loop import FALLEN_HEAD_HEIGHT, Measure, Push, Recording, Steer
from beyondmimic_data.diffusion.frames import Frames
from beyondmimic_data.diffusion.policy import DiffusionPolicy
from beyondmimic_data.diffusion.representation import CharacterFrame, character_frame
from beyondmimic_data.errors import ConfigError
from beyondmimic_data.guidance.pillar_field import PillarField
from beyondmimic_data.statistics import wilson_interval

Judgement = tuple[np.ndarray, dict[str, Any]]
"""Success (N,) and figures."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """What a task is made from; equal settings make equal tasks."""

    policy: DiffusionPolicy
    """Gives the rate and the window; in evaluation mode."""
    windows: Frames
    """(N, T, ...) the recorded window that each of N robots starts in, with what was recorded after."""
    steps: int
    """Control steps of a run."""
    seed: int
    """Decides everything that is drawn."""
    guidance: GuidanceConfig
    """How commands and goals steer plans."""

    @property
    def n(self) -> int:
        """Robots N."""
        return len(self.windows)

    @property
    def control_hz(self) -> float:
        """Control steps a second."""
        return self.policy.contract.control_hz

    @property
    def frame(self) -> CharacterFrame:
        """Where the robots start: on the floor under the root, turned to its heading."""
        return character_frame(self.windows, self.policy.current)

    def rng(self) -> np.random.Generator:
        """Return the source of what is drawn for a task."""
        return np.random.default_rng([self.seed, self.n])


@dataclasses.dataclass(frozen=True)
class Task:
    """What happens to N robots, and how it is judged."""

    judge: Callable[[Recording], Judgement]
    """Decides success."""
    steer: Steer | None = None
    """Guidance and keyframes of each control step; none leaves the policy unguided."""
    push: Push | None = None
    """Velocities added to bases."""
    measure: Measure | None = None
    """What the judge needs of each state beside the usual."""
    goal: torch.Tensor | None = None
    """(N, 2) m in the world, to be drawn."""
    pillars: PillarField | None = None
    """Obstacles of each robot, to be drawn."""


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
    """Tells which recorded starts (N,), by their last frame, it may begin from."""
    start_name: str
    """What those starts are."""
    make: Callable[[Setting], Task]
    """Gives the task of N robots."""
    criteria: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Numbers that decide success, beside the height of a fallen head."""


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


def get_protocol(name: str) -> Protocol:
    """Return a protocol by name.

    Raises:
        ConfigError: there is no such protocol.
    """
    if name not in PROTOCOLS:
        raise ConfigError("closed_loop.protocols", name, "one of " + ", ".join(sorted(PROTOCOLS)))
    return PROTOCOLS[name]


def rate(success: np.ndarray) -> dict[str, Any]:
    """Return the success rate of N runs with its 95 % Wilson interval."""
    n, count = len(success), int(success.sum())
    low, high = wilson_interval(count, n)
    return {"success_rate": count / n, "wilson_low": low, "wilson_high": high, "n": n}


def summarise(protocol: Protocol, task: Task, recording: Recording) -> dict[str, Any]:
    """Return the success rate of a recording with its interval, figures and criteria."""
    success, figures = task.judge(recording)
    return {
        **rate(success),
        "falls": int(recording.fell.sum()),
        "mean_seconds_upright": float(recording.seconds_upright.mean()),
        **figures,
        "latency_ms": [round(float(x), 1) for x in recording.latency_ms],
        "success": success.tolist(),
        "action_rate": float(recording.action_rate.mean()),
        "joint_jerk": float(recording.joint_jerk.mean()),
        "network_calls": recording.network_calls,
        "precision": recording.precision,
        "plan_ms_p50": float(np.percentile(recording.plan_ms, 50)),
        "plan_ms_p95": float(np.percentile(recording.plan_ms, 95)),
        "criteria": {"fallen_head_height_m": FALLEN_HEAD_HEIGHT, **protocol.criteria},
        "description": protocol.description,
    }
