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
from beyondmimic_data.errors import StoreError, one_line
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
                columns = _slices(json.loads(file.metadata()["columns"]))
                rows = file.get_tensor("rows")
            last = max(part.stop for part in columns.values())
            if rows.dim() != 3 or 0 in rows.shape or rows.shape[-1] < last or not rows.isfinite().all():
                raise ValueError(f"rows of shape {tuple(rows.shape)}, or not finite")
        except FileNotFoundError as error:
            raise StoreError(f"{path} is missing; train the diffusion policy again") from error
        except (OSError, KeyError, TypeError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
            found = f"damaged ({one_line(error)})"
            raise StoreError(f"{path} is {found}; train the diffusion policy again") from error
        return cls(rows, columns)


def _slices(columns: object) -> dict[str, slice]:
    """Return the slices of a file's columns.

    Raises:
        ValueError: a column is no start and end.
    """
    if not isinstance(columns, dict) or not columns:
        raise ValueError("no columns")
    for name, ends in columns.items():
        if not isinstance(ends, list) or [type(end) for end in ends] != [int, int]:
            raise ValueError(f"column {name}: {ends!r} is no start and end")
        if not 0 <= ends[0] < ends[1] < 2**31:
            raise ValueError(f"column {name}: {ends!r} is no start and end")
    return {name: slice(*ends) for name, ends in columns.items()}
