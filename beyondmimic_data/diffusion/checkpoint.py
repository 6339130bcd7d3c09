"""The whole state of a training run in one file, so that a killed run goes on as if nothing had happened."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch

from beyondmimic_data.diffusion.optimisation import MovingAverage, PolicyOptimiser
from beyondmimic_data.diffusion.policy import DiffusionPolicy
from beyondmimic_data.errors import StoreError
from beyondmimic_data.files import atomic_path

CHECKPOINT = Path("scratch") / "checkpoint.safetensors"
MOMENTS = ("exp_avg", "exp_avg_sq", "step", "momentum_buffer")
"""What optimisers remember of a parameter, by torch's names."""
RECORDED_FIELDS = ("step", "seconds", "skipped", "curve", "validation", "trials", "notes")


@dataclasses.dataclass
class TrainingState:
    """Everything that decides the next step of a run."""

    policy: DiffusionPolicy
    optimiser: PolicyOptimiser
    average: MovingAverage
    rng: np.random.Generator
    """Draws windows."""
    generator: torch.Generator
    """Draws noise, levels and mirror images."""
    step: int = 0
    """Optimiser steps taken."""
    seconds: float = 0.0
    """Time spent, over all parts of the run."""
    skipped: int = 0
    """Steps left out because their loss was not finite."""
    curve: list[dict[str, float]] = dataclasses.field(default_factory=list)
    """One point a log line."""
    validation: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    """One point a checkpoint."""
    trials: list[dict[str, float]] = dataclasses.field(default_factory=list)
    """One point a trial in closed loop: step, minutes, score and what it is made of."""
    best: list[torch.Tensor] = dataclasses.field(default_factory=list)
    """Averaged weights of the trial with the highest score; none before the first trial."""
    notes: dict[str, Any] = dataclasses.field(default_factory=dict)
    """What was decided at the start: warm start, windows."""

    def _parameters(self) -> list[tuple[str, torch.nn.Parameter]]:
        return list(self.policy.denoiser.named_parameters())

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return weights, averages and what the optimiser remembers, on the CPU."""
        tensors = {f"policy.{k}": v for k, v in self.policy.state_dict().items()}
        for index, (name, parameter) in enumerate(self._parameters()):
            average = self.average.values[index]
            tensors[f"average.{name}"] = average
            if self.best:
                tensors[f"best.{name}"] = self.best[index]
            for moment, value in self.optimiser.moments(parameter).items():
                tensors[f"{moment}.{name}"] = value
        return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take up what ``tensors`` returned."""
        self.policy.load_state_dict(
            {k.removeprefix("policy."): v for k, v in tensors.items() if k.startswith("policy.")}
        )
        self.best = []
        for index, (name, parameter) in enumerate(self._parameters()):
            self.average.values[index].copy_(tensors[f"average.{name}"])
            if f"best.{name}" in tensors:
                self.best.append(tensors[f"best.{name}"].to(parameter.device))
            moments = {m: tensors[f"{m}.{name}"] for m in MOMENTS if f"{m}.{name}" in tensors}
            if moments:
                self.optimiser.restore(parameter, moments)

    def save(self, folder: Path, fingerprint: str) -> None:
        """Write the checkpoint atomically."""
        tensors = self.tensors()
        tensors["generator"] = self.generator.get_state()
        tensors["default_generator"] = torch.get_rng_state()
        document = {
            "fingerprint": fingerprint,
            "rng": self.rng.bit_generator.state,
            **{f: getattr(self, f) for f in RECORDED_FIELDS},
        }
        with atomic_path(folder / CHECKPOINT) as temporary:
            safetensors.torch.save_file(tensors, temporary, {"training": json.dumps(document)})

    def restore(self, folder: Path, fingerprint: str) -> bool:
        """Take up a checkpoint; returns whether there was one.

        Raises:
            StoreError: it belongs to another configuration, or is damaged.
        """
        path = folder / CHECKPOINT
        if not path.exists():
            return False
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                document = json.loads(file.metadata()["training"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
            raise StoreError(f"{path} is damaged ({error}); remove it to start training anew") from error
        if document.pop("fingerprint") != fingerprint:
            raise StoreError(f"{path} belongs to another configuration; remove it to start training anew")
        self.rng.bit_generator.state = document.pop("rng")
        for field, value in document.items():
            setattr(self, field, value)
        self.generator.set_state(tensors.pop("generator"))
        torch.set_rng_state(tensors.pop("default_generator"))
        self.load(tensors)
        return True
