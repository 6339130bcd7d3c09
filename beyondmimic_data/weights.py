"""Weights as they are loaded: finite, and those that a card beside them names."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from beyondmimic_data.errors import StoreError
from beyondmimic_data.shipping import CARD, require_carded


def read_weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    """Read the weights of a policy's folder; where a card lies beside them, they have to be its own.

    Raises:
        StoreError: a number is not finite, or the card names other bytes.
        OSError: there is no such file.
        SafetensorError: it is damaged.
    """
    if (folder / CARD).exists():
        require_carded(folder, name)
    tensors = load_file(folder / name)
    for tensor, values in tensors.items():
        wrong = int((~torch.isfinite(values)).sum())
        if wrong:
            raise StoreError(
                f"{folder / name}: {tensor}: found {wrong} of {values.numel()} numbers that are not finite, "
                "expected none; train it again"
            )
    return tensors
