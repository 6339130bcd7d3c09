"""What a diffusion policy has to show before it ships: success in closed loop, on seeds of its own."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from beyondmimic_data.config import Preset
from beyondmimic_data.control.gate import shortfalls_of
from beyondmimic_data.errors import ConfigError

PROTOCOLS = ("stand_perturb", "walk_perturb", "joystick")
"""What it is examined by unless told otherwise: it stays up, standing and walking, and does as it is told."""
RUNS = 100
"""Runs of each protocol."""
SHIPPING_SEED = 9_000_000
"""First seed of the examination; no training, trial or report plays it."""
MIN_SUCCESS = {"stand_perturb": 0.95, "walk_perturb": 0.95, "joystick": 0.8}
"""Success rates that it has to reach: near those of what ships now where it only has to stay up, and the
published one of the joystick (``control.published``)."""
MIN_SUCCESS_ELSEWHERE = 0.8
"""The same of a protocol that ``MIN_SUCCESS`` does not name."""
OF_EACH_RUN = ("success", "latency_ms")
"""Figures with a value a run, which do not ship."""


def examine(
    folder: Path,
    preset: Preset,
    protocols: Sequence[str] = PROTOCOLS,
    *,
    runs: int = RUNS,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Run protocols on a policy and hold its success against what is asked of policies that ship.

    Args:
        folder: of the policy.
        preset: closed-loop configuration, control rate and latency.
        protocols: names.
        runs: of each protocol, all at once.
        progress: called with a line before and after each protocol.

    Returns:
        ``passed``; ``why`` it did not, or ``None``; ``protocols``: the figures of each by name, with
        ``first_seed`` and ``required``.

    Raises:
        ConfigError: no run, or no such protocol.
        StoreError: the folder holds no usable policy; weights that are not finite are not.
    """
    from beyondmimic_data.control.evaluate import evaluate_closed_loop

    if not protocols:
        raise ConfigError("protocols", protocols, "at least one")
    if runs < 1:
        raise ConfigError("seeds", runs, "at least 1")
    closed_loop = dataclasses.replace(preset.closed_loop, seed=SHIPPING_SEED)
    preset = dataclasses.replace(preset, closed_loop=closed_loop)
    found = evaluate_closed_loop(folder, preset, protocols=protocols, seeds=runs, progress=progress)
    required = {name: MIN_SUCCESS.get(name, MIN_SUCCESS_ELSEWHERE) for name in protocols}
    missed = shortfalls_of(found["protocols"], required)
    return {
        "passed": not missed,
        "why": "; ".join(entry["why"] for entry in missed) or None,
        "protocols": {
            name: {"first_seed": SHIPPING_SEED, "required": required[name], **_of_all_runs(figures)}
            for name, figures in found["protocols"].items()
        },
    }


def _of_all_runs(figures: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in figures.items() if name not in OF_EACH_RUN}
