"""Where training windows come from, and the few of them that travel with a trained policy."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import safetensors
import safetensors.torch
import torch

from beyondmimic_data.diffusion.policy_files import RECORDED
from beyondmimic_data.errors import StoreError
from beyondmimic_data.files import atomic_path

TRAIN = "train"
VALIDATION = "validation"


class WindowSource(Protocol):
    """A dataset of windows: consecutive rows of one episode."""

    @property
    def columns(self) -> Mapping[str, slice]:
        """Name of each quantity and its slice of a row."""
        ...

    @property
    def known_finite(self) -> bool:
        """Whether every value was looked at already, so that batches need not be."""
        ...

    def sample(self, split: str, batch: int, rng: np.random.Generator) -> torch.Tensor:
        """Return random windows (B, 21, 342) float32 of a split, ``train`` or ``validation``."""
        ...

    def num_windows(self, split: str) -> int:
        """Return how many windows a split has."""
        ...


class RecordedWindows:
    """Windows kept beside a policy: starts for closed-loop runs, inputs for parity checks."""

    def __init__(self, rows: torch.Tensor, columns: Mapping[str, slice]) -> None:
        """Hold windows (N, 21, 342)."""
        self.rows, self.columns = rows, dict(columns)

    def first(self, count: int) -> "RecordedWindows":
        """Return the first windows alone."""
        return RecordedWindows(self.rows[:count].clone(), self.columns)

    def save(self, folder: Path) -> None:
        """Write the windows into a folder."""
        columns = json.dumps({name: [int(s.start), int(s.stop)] for name, s in self.columns.items()})
        with atomic_path(folder / RECORDED) as temporary:
            safetensors.torch.save_file({"rows": self.rows.contiguous()}, temporary, {"columns": columns})

    @classmethod
    def load(cls, folder: Path) -> "RecordedWindows":
        """Read the windows of a folder.

        Raises:
            StoreError: there are none, the file is damaged, or a value is not finite.
        """
        path = folder / RECORDED
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                found = json.loads(file.metadata()["columns"])
                rows = file.get_tensor("rows")
            columns = {name: slice(start, stop) for name, (start, stop) in found.items()}
        except FileNotFoundError as error:
            raise StoreError(f"{path} is missing; train the diffusion policy again") from error
        except (
            AttributeError,
            KeyError,
            OSError,
            TypeError,
            ValueError,
            safetensors.SafetensorError,
        ) as error:
            raise StoreError(f"{path} is damaged ({error}); train the diffusion policy again") from error
        if rows.ndim != 3 or not len(rows) or not torch.isfinite(rows).all():
            raise StoreError(
                f"{path}: rows: found {tuple(rows.shape)}, {int((~torch.isfinite(rows)).sum())} values not "
                "finite, expected windows (N, 21, 342) of finite values; train the diffusion policy again"
            )
        return cls(rows, columns)
