"""Windows of consecutive rows: where they may start, and gathering many of them at once."""

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from beyondmimic_data.config import SYNTH_KEYS, named_numbers
from beyondmimic_data.errors import ConfigError

if TYPE_CHECKING:
    import torch


def window_starts(first_rows: np.ndarray, lengths: np.ndarray, length: int) -> np.ndarray:
    """Return every row where a window fits into an episode, in the episodes' order.

    Args:
        first_rows: (E,) first row of each episode.
        lengths: (E,) rows of each episode.
        length: rows of a window.

    Returns:
        (W,) int64.
    """
    fitting = np.maximum(np.asarray(lengths, np.int64) - length + 1, 0)
    ends = np.cumsum(fitting)
    if ends.size == 0:
        return np.zeros(0, np.int64)
    return np.arange(ends[-1]) + np.repeat(np.asarray(first_rows, np.int64) - (ends - fitting), fitting)


def weighted_starts(starts: Mapping[str, np.ndarray], weights: Sequence[str]) -> np.ndarray:
    """Repeat the windows of skills that are to be drawn more often; those of weight 0 are left out.

    Args:
        starts: (W,) first rows of the windows of each skill.
        weights: ``skill=weight`` each, 1 for a skill not named.

    Returns:
        (W',) int64.

    Raises:
        ConfigError: a weight that is none, or of a skill that is neither there nor synthesised, or none above
            0 where windows are.
    """
    given = named_numbers("diffusion.skill_weights", weights, {*starts, *SYNTH_KEYS})
    shares = {skill: given.get(skill, 1.0) for skill in starts}
    kept = [(part, shares[skill]) for skill, part in starts.items() if len(part) and shares[skill] > 0]
    if not kept:
        raise ConfigError("diffusion.skill_weights", tuple(weights), "a weight above 0")
    # The skill with the fewest windows for its weight keeps them once; the others are repeated less.
    longest = max(len(part) / share for part, share in kept)
    return np.concatenate([np.resize(part, round(share * longest)) for part, share in kept])


def as_tensor(rows: np.ndarray) -> "torch.Tensor":
    """Return read-only rows as a tensor over the same memory, for reading: writing may crash."""
    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(rows)


def gather_windows(
    steps: "torch.Tensor", starts: "torch.Tensor | np.ndarray", length: int, out: "torch.Tensor | None" = None
) -> "torch.Tensor":
    """Copy windows out of rows: a window is one piece of memory, so each is one copy.

    Args:
        steps: (R, C) contiguous, float32 or float16.
        starts: (N,) int64 first rows; each window has to end before R.
        length: rows of a window.
        out: (N, length, C) float32 to write into; giving the same again saves the kernel new pages.

    Returns:
        (N, length, C) float32; ``out`` if it was given.

    Raises:
        IndexError: a window begins or ends outside of the rows.
    """
    import torch

    rows, columns = steps.shape
    index = torch.as_tensor(starts)
    windows = steps.as_strided((max(rows - length + 1, 0), length * columns), (columns, 1))
    if out is None:
        return torch.index_select(windows, 0, index).view(-1, length, columns).float()
    if out.dtype == windows.dtype:
        torch.index_select(windows, 0, index, out=out.view(len(index), length * columns))
    else:
        out.copy_(torch.index_select(windows, 0, index).view_as(out))
    return out
