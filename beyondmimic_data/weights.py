"""Weights as they are read: whole, finite, and those that a card beside them names."""

from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file

from beyondmimic_data.shipping import CARD, require_carded


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read all tensors of a file; safetensors makes none that are larger than the file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, or a number in it is not finite.
    """
    try:
        tensors = load_file(path)
    except FileNotFoundError:
        raise
    except (safetensors.SafetensorError, RuntimeError, KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"{path.name}: {error}") from error
    for name, values in tensors.items():
        wrong = int((~values.isfinite()).sum()) if values.is_floating_point() else 0
        if wrong:
            raise ValueError(f"{path.name}: {name}: {wrong} of {values.numel()} numbers are not finite")
    return tensors


def read_weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    """Read the weights of a policy's folder; where a card lies beside them, they have to be its own.

    Raises:
        StoreError: the card names other bytes.
        OSError: there is no such file.
        ValueError: it is damaged, or a number in it is not finite.
    """
    if (folder / CARD).exists():
        require_carded(folder, name)
    return load_weights(folder / name)
