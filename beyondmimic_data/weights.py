"""Reading the weights of a network from a safetensors file that may be damaged."""

from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file


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
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise ValueError(f"{path.name}: {name} holds a number that is not finite")
    return tensors
