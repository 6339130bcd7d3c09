"""Fixed and learned settings of guidance on the same runs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from beyondmimic_data.config import Preset
from beyondmimic_data.control.evaluate import Run, run_protocol
from beyondmimic_data.control.learned_guidance.policy import GuidancePolicy, LearnedGuidance
from beyondmimic_data.control.protocols import get_protocol
from beyondmimic_data.control.protocols.judging import command_errors, mean_of
from beyondmimic_data.diffusion.policy import DiffusionPolicy
from beyondmimic_data.diffusion.windows import RecordedWindows
from beyondmimic_data.errors import ConfigError
from beyondmimic_data.statistics import mean_interval, paired_difference_interval

COMPARISON = "comparison.json"
SIDES = ("fixed", "learned")
SHOWN = ("success_rate", "wilson_low", "wilson_high", "falls", "mean_seconds_upright")
"""Figures of each side, beside the errors."""


def compare(
    policy_folder: Path,
    guidance_folder: Path,
    preset: Preset,
    protocols: Sequence[str],
    *,
    seeds: int,
    progress: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Run protocols with the fixed settings and with learned ones, at the same seeds.

    Args:
        policy_folder: of the diffusion policy.
        guidance_folder: of the learned guidance, which sets what the preset fixes.
        preset: all other numbers.
        protocols: names; of those whose robots follow commands.
        seeds: runs of each protocol and side.
        progress: receives a line a protocol.

    Returns:
        One row a protocol; see ``difference``.

    Raises:
        ConfigError: an unknown protocol, one without a start, or one that follows no commands.
        StoreError: a folder holds no usable policy.
    """
    chosen = [get_protocol(name) for name in protocols]
    policy = DiffusionPolicy.load(policy_folder, "cuda" if torch.cuda.is_available() else "cpu")
    recorded = RecordedWindows.load(policy_folder)
    guidance = GuidancePolicy.load(guidance_folder)
    rows = []
    for protocol in chosen:
        name, sides = protocol.name, []
        learned = LearnedGuidance(guidance)
        for adapt in (None, learned):
            done = run_protocol(
                recorded,
                policy,
                protocol,
                preset,
                seeds=seeds,
                latency_ms=preset.randomisation.latency_ms,
                adapt=adapt,
            )
            if not isinstance(done, Run):
                raise ConfigError("protocols", name, f"one that this policy has starts for: {done}")
            sides.append(done)
        row = {"protocol": name, **difference(*sides), "mean_settings": learned.mean_settings()}
        rows.append(row)
        fixed_rate, learned_rate = (row[side]["success_rate"] for side in SIDES)
        progress(f"{name}: {fixed_rate:.0%} fixed, {learned_rate:.0%} learned, {_points(row)} points")
    return rows


def difference(fixed: Run, learned: Run) -> dict[str, Any]:
    """Return the figures of both sides of a comparison, and how much higher the learned one's are.

    ``success_difference`` is in points, with its 95 % interval; ``velocity_error_difference`` in m/s, over
    the runs without a fall on either side, ``None`` where there are fewer than two.
    """
    success = [np.array(run.figures["success"]) for run in (fixed, learned)]
    errors = [command_errors(run.recording) for run in (fixed, learned)]
    up = [~run.recording.fell for run in (fixed, learned)]
    n, both = len(success[0]), up[0] & up[1]
    gained, lost = int((success[1] & ~success[0]).sum()), int((success[0] & ~success[1]).sum())
    closer = (errors[1][0] - errors[0][0])[both]
    closer = closer[np.isfinite(closer)]
    return {
        "n": n,
        **{
            side: {
                **{name: run.figures[name] for name in SHOWN},
                "velocity_error_m_s": mean_of(error[0], standing),
                "yaw_rate_error_rad_s": mean_of(error[1], standing),
            }
            for side, run, error, standing in zip(SIDES, (fixed, learned), errors, up)
        },
        "only_learned_succeeds": gained,
        "only_fixed_succeeds": lost,
        "success_difference": 100 * (gained - lost) / n,
        "success_difference_interval": [100 * x for x in paired_difference_interval(gained, lost, n)],
        "velocity_error_difference": float(closer.mean()) if len(closer) > 1 else None,
        "velocity_error_difference_interval": list(mean_interval(closer)) if len(closer) > 1 else None,
        "pairs_up": int(both.sum()),
    }


def table(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Return the cells of a table for a terminal, a line a protocol."""
    cells = [["protocol", "n", "fixed", "learned", "points [95 %]", "velocity error m/s [95 %]"]]
    for row in rows:
        error = "-"
        if row["velocity_error_difference"] is not None:
            ends = row["velocity_error_difference_interval"]
            error = f"{row['velocity_error_difference']:+.3f} [{ends[0]:+.3f}, {ends[1]:+.3f}]"
        rates = [f"{row[side]['success_rate']:.0%}, {row[side]['falls']} fall" for side in SIDES]
        cells.append([row["protocol"], str(row["n"]), *rates, _points(row), error])
    return cells


def _points(row: dict[str, Any]) -> str:
    """Return the difference of success with its interval, in points."""
    low, high = row["success_difference_interval"]
    return f"{row['success_difference']:+.1f} [{low:+.1f}, {high:+.1f}]"
