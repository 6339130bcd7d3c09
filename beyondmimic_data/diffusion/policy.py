"""The diffusion policy: features, normaliser, emphasis, denoiser and contract in one module."""

import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from beyondmimic_data.config import DiffusionConfig, Precision
from beyondmimic_data.diffusion.contract import Contract
from beyondmimic_data.diffusion.emphasis import EmphasisProjection
from beyondmimic_data.diffusion.frames import Frames, frames_from_rows
from beyondmimic_data.diffusion.model import Denoiser, SeenStates
from beyondmimic_data.diffusion.normaliser import RangeNormaliser
from beyondmimic_data.diffusion.policy_files import CONFIG, WEIGHTS
from beyondmimic_data.diffusion.representation import (
    EMPHASISED,
    CharacterFrame,
    Representation,
    character_frame,
)
from beyondmimic_data.diffusion.schedule import CosineSchedule
from beyondmimic_data.errors import ConfigError, StoreError, one_line
from beyondmimic_data.files import atomic_path, read_json, write_json
from beyondmimic_data.overrides import from_json
from beyondmimic_data.weights import read_weights

SCHEMA_VERSION = 1
BFLOAT16_ROBOTS = 8
"""Fewer robots at once gain nothing from bfloat16: converting the weights takes as long."""


MOST = {
    "past": 256,
    "future": 256,
    "action_horizon": 256,
    "layers": 64,
    "heads": 64,
    "embedding": 4096,
    "denoise_steps": 1000,
    "batch_size": 2**20,
}
"""Largest sizes of a model, ten times the papers' and more: what a damaged file asks for beyond them would
only fill the memory."""


def multiplies_bfloat16(device: torch.device) -> bool:
    """Return whether a device has units for products of bfloat16, as all GPUs of the last years do."""
    if device.type != "cpu":
        return True
    found = torch.cpu.get_capabilities()
    return bool(found.get("amx_bf16") or found.get("avx512_bf16"))


def require_usable(config: DiffusionConfig) -> None:
    """Check the sizes of a model.

    Raises:
        ConfigError: the first field that cannot be used.
    """
    for field, most in MOST.items():
        if not 1 <= getattr(config, field) <= most:
            raise ConfigError(f"diffusion.{field}", getattr(config, field), f"1 to {most}")
    if not 0 <= config.dropout < 1:
        raise ConfigError("diffusion.dropout", config.dropout, "a share of 0 to below 1")
    if config.action_horizon > config.future:
        raise ConfigError("diffusion.action_horizon", config.action_horizon, f"at most {config.future}")
    if config.embedding < 8 or config.embedding % 8:
        raise ConfigError("diffusion.embedding", config.embedding, "a positive multiple of 8")
    if config.embedding % config.heads:
        raise ConfigError("diffusion.heads", config.heads, f"a divisor of embedding {config.embedding}")


class DiffusionPolicy(torch.nn.Module):
    """Everything between a history of robot states and an action."""

    def __init__(self, config: DiffusionConfig, contract: Contract) -> None:
        """Build an untrained policy; the emphasis projection follows from ``config.seed``.

        Raises:
            ConfigError: a size cannot be used.
        """
        super().__init__()
        require_usable(config)
        self.config, self.contract = config, contract
        self.plans_in_bfloat16 = False
        self.current = config.past
        self.num_joints = len(contract.joint_names)
        self.representation = Representation(config.representation, contract.joint_names, contract.body_names)
        emphasised = torch.zeros(self.representation.dim, dtype=torch.bool)
        for field in EMPHASISED:
            emphasised[self.representation.slices[field]] = True
        self.emphasis = EmphasisProjection(
            self.representation.state_permutation,
            self.representation.state_sign,
            emphasised,
            config.emphasis,
            config.seed,
        )
        self.state_normaliser = RangeNormaliser(self.representation.dim)
        self.action_normaliser = RangeNormaliser(self.num_joints)
        self.schedule = CosineSchedule(config.denoise_steps)
        self.denoiser = Denoiser(
            state_dim=self.emphasis.dim_out,
            action_dim=self.num_joints,
            window=config.window,
            denoise_steps=config.denoise_steps,
            embedding=config.embedding,
            layers=config.layers,
            heads=config.heads,
            dropout=config.dropout,
            attention=config.attention,
        )

    @property
    def acting_tokens(self) -> int:
        """Action tokens that a plan needs: up to the current step, or all trained ones if states see them."""
        ahead = self.config.action_horizon if self.config.attention == "full" else 0
        return self.current + 1 + ahead

    def require_differentiated(self, what: str) -> None:
        """Refuse what plans states without actions, or leaves actions out, where states attend to actions.

        Raises:
            ConfigError: this policy's attention is full.
        """
        if self.config.attention == "full":
            raise ConfigError("diffusion.attention", "full", f"differentiated, which {what} needs")

    def in_precision(self, precision: Precision, robots: int) -> "DiffusionPolicy":
        """Return this policy, with the same weights, predicting with products of a precision.

        Args:
            precision: ``auto`` is bfloat16 for at least ``BFLOAT16_ROBOTS`` robots where the device has units
                for it, and float32 elsewhere.
            robots: that plans are made for at once.
        """
        view = copy.copy(self)
        chosen = robots >= BFLOAT16_ROBOTS and multiplies_bfloat16(self.device)
        view.plans_in_bfloat16 = chosen if precision == "auto" else precision == "bfloat16"
        return view

    def predict(
        self,
        states: torch.Tensor,
        actions: torch.Tensor,
        state_levels: torch.Tensor,
        action_levels: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the clean window as ``Denoiser`` does, in float32 whatever the products were made in."""
        with self._precision():
            clean_states, clean_actions = self.denoiser(states, actions, state_levels, action_levels)
        return clean_states.float(), clean_actions.float()

    def see_states(self, states: torch.Tensor, state_levels: torch.Tensor) -> SeenStates:
        """Return what ``predict_actions`` needs of states, as ``Denoiser.see_states`` does."""
        with self._precision():
            return self.denoiser.see_states(states, state_levels)

    def predict_actions(
        self, seen: SeenStates, actions: torch.Tensor, action_levels: torch.Tensor
    ) -> torch.Tensor:
        """Return clean actions as ``Denoiser.clean_actions`` does, in float32."""
        with self._precision():
            return self.denoiser.clean_actions(seen, actions, action_levels).float()

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.plans_in_bfloat16)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.denoiser.position.device

    def features_of_rows(
        self, rows: torch.Tensor, columns: Mapping[str, slice]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return physical features (B, T, D) and actions (B, T, J) of stored windows (B, T, 342)."""
        frames = frames_from_rows(rows, columns)
        return self.representation.encode(frames, self.current), rows[..., columns[self.config.action_label]]

    def encode_history(self, history: Frames) -> tuple[torch.Tensor, CharacterFrame]:
        """Return past and current states (B, past + 1, D') in the space of the diffusion, and their frame."""
        frame = character_frame(history, self.current)
        return self.encode_states(self.representation.encode_in(history, frame)), frame

    def encode_states(self, features: torch.Tensor) -> torch.Tensor:
        """Map physical features (..., D) to the space of the diffusion (..., D')."""
        return self.emphasis.project(self.state_normaliser.normalise(features))

    def decode_states(self, states: torch.Tensor) -> torch.Tensor:
        """Map from the space of the diffusion (..., D') to features (..., D), in the data's range."""
        return self.state_normaliser.denormalise(self.emphasis.unproject(states).clamp(-1, 1))

    def constrain_states(self, features: torch.Tensor) -> torch.Tensor:
        """Map physical features (..., D) to the space of the diffusion, clipped to the data's range first."""
        return self.emphasis.project(self.state_normaliser.normalise(features).clamp(-1, 1))

    def encode_actions(self, actions: torch.Tensor) -> torch.Tensor:
        """Normalise actions (..., J)."""
        return self.action_normaliser.normalise(actions)

    def decode_actions(self, actions: torch.Tensor) -> torch.Tensor:
        """Return actions (..., J) of normalised ones."""
        return self.action_normaliser.denormalise(actions)

    def joint_targets(self, actions: torch.Tensor) -> torch.Tensor:
        """Return servo targets (..., J) in rad of actions."""
        default = actions.new_tensor(self.contract.default_joint_pos)
        return default + actions.new_tensor(self.contract.action_scale) * actions

    def num_parameters(self) -> int:
        """Count trainable parameters."""
        return sum(p.numel() for p in self.denoiser.parameters())

    def describe(self) -> dict[str, Any]:
        """Return what ``config.json`` holds: configuration, contract and feature layout."""
        return {
            "schema_version": SCHEMA_VERSION,
            "diffusion": dataclasses.asdict(self.config),
            "contract": dataclasses.asdict(self.contract),
            "features": {name: [s.start, s.stop] for name, s in self.representation.slices.items()},
            "parameters": self.num_parameters(),
        }

    def save(self, folder: Path) -> None:
        """Write weights and configuration into a folder; no pickled object among them."""
        write_json(folder / CONFIG, self.describe())
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        with atomic_path(folder / WEIGHTS) as temporary:
            safetensors.torch.save_file(tensors, temporary)

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu") -> "DiffusionPolicy":
        """Read a policy written by ``save``, in evaluation mode.

        Raises:
            StoreError: a file is missing, damaged, or of another schema, or the weights are not finite, or
                not those of the card beside them.
        """
        try:
            document = read_json(folder / CONFIG)
            if document["schema_version"] != SCHEMA_VERSION:
                raise StoreError(
                    f"{folder / CONFIG}: schema_version {one_line(document['schema_version'])}, expected "
                    f"{SCHEMA_VERSION}; train again with this version of the project"
                )
            config = from_json(DiffusionConfig, document["diffusion"], "diffusion")
            contract = Contract.from_dict(document["contract"])
            weights = read_weights(folder, WEIGHTS)
            _require_sizes(config, contract, weights)
            policy = cls(config, contract)
            policy.load_state_dict(weights)
        except FileNotFoundError as error:
            raise StoreError(
                f"{folder} holds no diffusion policy: {error.filename or error} is missing"
            ) from error
        except (AttributeError, OSError, KeyError, TypeError, ValueError, RuntimeError, ConfigError) as error:
            raise StoreError(
                f"{folder} holds a damaged diffusion policy ({one_line(error)}); train it again"
            ) from error
        return policy.to(device).eval()


def _require_sizes(config: DiffusionConfig, contract: Contract, weights: Mapping[str, torch.Tensor]) -> None:
    """Compare a configuration with the weights that go with it, before a network of its sizes is made.

    Raises:
        ConfigError: a size cannot be used, or is not that of the weights.
    """
    require_usable(config)
    features = Representation(config.representation, contract.joint_names, contract.body_names).dim
    blocks = {name.split(".")[2] for name in weights if name.startswith("denoiser.blocks.")}
    position, action = weights["denoiser.position"], weights["denoiser.encode_action.weight"]
    sizes = {
        "layers": (config.layers, len(blocks)),
        "embedding": (config.embedding, position.shape[-1]),
        "tokens": (2 * config.window, position.shape[0]),
        "joints": (len(contract.joint_names), action.shape[-1]),
        "features": (features, weights["state_normaliser.low"].shape[0]),
    }
    for name, (said, found) in sizes.items():
        if said != found:
            raise ConfigError(f"diffusion.{name}", said, f"{found}, as the weights have it")
