"""A learned guidance at run time: from observations to the settings of each robot."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from beyondmimic_data.config import GuidanceConfig
from beyondmimic_data.control.closed_loop import ClosedLoop, Steering
from beyondmimic_data.control.learned_guidance.observation import FEATURES, GuidanceObserver
from beyondmimic_data.control.settings import SETTINGS, GuidanceSettings
from beyondmimic_data.errors import ConfigError, StoreError, one_line
from beyondmimic_data.files import atomic_path, read_json, write_json
from beyondmimic_data.tracking.policy import TrackingPolicy
from beyondmimic_data.weights import load_weights

WEIGHTS = "guidance.safetensors"
"""Normaliser and network."""
DESCRIPTION = "guidance.json"
"""What goes in, and what comes out within which bounds."""


@dataclasses.dataclass(frozen=True)
class Bounds:
    """How far settings may be from fixed ones: ``fixed * exp(limit * tanh(action))``."""

    fixed: tuple[float, ...]
    """What each of ``SETTINGS`` is at action 0."""
    limits: tuple[float, ...]
    """Natural logarithm of the largest factor, and of the inverse of the smallest."""

    @classmethod
    def around(cls, config: GuidanceConfig, limits: tuple[float, ...]) -> "Bounds":
        """Return bounds around the settings of a configuration."""
        fixed = GuidanceSettings.of(config)
        return cls(tuple(float(getattr(fixed, name)) for name in SETTINGS), limits)

    def settings(self, actions: torch.Tensor) -> GuidanceSettings:
        """Return the settings of N robots from actions (N, 4)."""
        fixed, limits = (actions.new_tensor(values) for values in (self.fixed, self.limits))
        values = fixed * torch.exp(limits * torch.tanh(actions))
        return GuidanceSettings(**dict(zip(SETTINGS, values.unbind(-1), strict=True)))


class GuidancePolicy:
    """Normaliser and MLP with the bounds of their outputs."""

    def __init__(self, actor: TrackingPolicy, bounds: Bounds, *, hold: int, control_hz: float) -> None:
        """Take a network of 20 inputs and 4 outputs.

        Args:
            actor: in evaluation mode.
            bounds: of the settings.
            hold: control steps for which settings stay.
            control_hz: control steps a second.
        """
        self.actor, self.bounds, self.hold, self.control_hz = actor, bounds, hold, control_hz

    @torch.no_grad()
    def act(self, observation: torch.Tensor) -> torch.Tensor:
        """Return actions (N, 4) for observations (N, 20)."""
        return self.actor(observation)

    def save(self, folder: Path) -> None:
        """Write the policy into a folder."""
        with atomic_path(folder / WEIGHTS) as temporary:
            save_file({k: v.detach().contiguous() for k, v in self.actor.state_dict().items()}, temporary)
        settings = {
            name: {"fixed": fixed, "limit": limit, "range": [fixed * math.exp(s * limit) for s in (-1, 1)]}
            for name, fixed, limit in zip(SETTINGS, self.bounds.fixed, self.bounds.limits, strict=True)
        }
        document = {
            "features": list(FEATURES),
            "settings": settings,
            "hold": self.hold,
            "control_hz": self.control_hz,
            "hidden_dims": list(self.actor.hidden_dims),
        }
        write_json(folder / DESCRIPTION, document)

    @classmethod
    def load(cls, folder: Path) -> "GuidancePolicy":
        """Read the policy of a folder.

        Raises:
            StoreError: it is missing, damaged, or of other features or settings.
        """
        try:
            found = read_json(folder / DESCRIPTION)
            names = {"features": FEATURES, "settings": SETTINGS}
            for field, expected in names.items():
                if tuple(found[field]) != expected:
                    raise StoreError(
                        f"{folder / DESCRIPTION}: {field}: found {', '.join(found[field])}, "
                        f"expected {', '.join(expected)}; train it again"
                    )
            weights, hidden = load_weights(folder / WEIGHTS), tuple(found["hidden_dims"])
            found_dims = tuple(weights[f"mlp.{2 * i}.weight"].shape[0] for i in range(len(hidden)))
            if hidden != found_dims:
                raise ValueError(f"hidden_dims {hidden}, where the weights have {found_dims}")
            actor = TrackingPolicy(len(FEATURES), len(SETTINGS), hidden)
            actor.load_state_dict(weights)
            bounds = Bounds(*(tuple(found["settings"][n][of] for n in SETTINGS) for of in ("fixed", "limit")))
            return cls(actor.eval(), bounds, hold=found["hold"], control_hz=found["control_hz"])
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            found_text = f"no readable learned guidance ({one_line(error)})"
            raise StoreError(f"{folder}: {found_text}; train it again") from error


class LearnedGuidance:
    """Sets the guidance of one run's robots as a policy decides, every ``hold`` control steps."""

    def __init__(self, policy: GuidancePolicy) -> None:
        """Begin without memory; the first control step learns how many robots there are."""
        self.policy = policy
        self.chosen: list[GuidanceSettings] = []
        """Settings of each decision so far."""
        self._observer: GuidanceObserver | None = None
        self._step = 0

    def __call__(self, loop: ClosedLoop, steering: Steering) -> Steering:
        """Return the steering with the policy's settings.

        Raises:
            ConfigError: no command is followed, or control runs at another rate than in training.
        """
        if steering.adjusted is None or steering.command is None:
            expected = "a protocol whose robots follow a commanded velocity, such as joystick"
            raise ConfigError("protocols", "steering without a command", expected)
        if self._observer is None:
            self._require_rate(loop)
            self._observer = GuidanceObserver(loop.num_envs, self.policy.control_hz)
        self._observer.look(steering.command, loop.history)
        if self._step % self.policy.hold == 0:
            actions = self.policy.act(self._observer.observe(loop))
            self._observer.last = torch.tanh(actions)
            self.chosen.append(self.policy.bounds.settings(actions))
        self._step += 1
        return dataclasses.replace(steering, guidance=steering.adjusted(self.chosen[-1]))

    def _require_rate(self, loop: ClosedLoop) -> None:
        found = loop.policy.contract.control_hz
        if found != self.policy.control_hz:
            expected = f"{self.policy.control_hz:g}, as it was trained at"
            raise ConfigError("control.control_hz", found, expected)

    def mean_settings(self) -> dict[str, Any]:
        """Return the mean of each setting over robots and decisions; robots that broke do not count."""
        values = {name: torch.stack([getattr(s, name) for s in self.chosen]) for name in SETTINGS}
        return {name: float(value.nanmean()) for name, value in values.items()}
