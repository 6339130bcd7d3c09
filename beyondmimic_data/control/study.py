"""Studies in closed loop: one protocol, played with every combination of some settings at the same seeds."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from beyondmimic_data.config import Preset
from beyondmimic_data.control.evaluate import evaluate_closed_loop
from beyondmimic_data.errors import ConfigError
from beyondmimic_data.overrides import with_overrides
from beyondmimic_data.plots import save_figure

PREFIX = "closed_loop."
FIGURES = (
    "success_rate",
    "wilson_low",
    "wilson_high",
    "n",
    "falls",
    "up_rate",
    "velocity_error_m_s",
    "velocity_error_percent",
    "action_rate",
    "joint_jerk",
    "network_calls",
    "plan_ms_p50",
)
"""Columns of a study's table, those that a protocol has."""


def parse_variations(entries: Sequence[str]) -> dict[str, list[Any]]:
    """Return the values of each varied setting.

    Args:
        entries: ``field=value,value,...`` each; the field is one of the closed loop's, such as
            ``guidance.scale``.

    Raises:
        ConfigError: an entry without a field or values.
    """
    found: dict[str, list[Any]] = {}
    for entry in entries:
        field, _, values = entry.partition("=")
        if not field or not values:
            raise ConfigError("vary", entry, "field=value,value, such as guidance.scale=1,2,4")
        found[field] = [_value(word) for word in values.split(",")]
    return found


def _value(word: str) -> Any:
    """Return a number where a word is one."""
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(word.lower(), word)


def study(
    folder: Path,
    preset: Preset,
    protocol: str,
    variations: Mapping[str, Sequence[Any]],
    *,
    seeds: int,
    progress: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Play a protocol with every combination of settings; equal seeds, so that rows may be compared in pairs.

    Args:
        folder: of the policy.
        preset: all other numbers.
        protocol: its name.
        variations: values by field of the closed loop.
        seeds: runs of each combination.
        progress: receives a line a combination.

    Returns:
        One row a combination: the settings, the protocol's figures and ``success`` of each run.

    Raises:
        ConfigError: an unknown field or protocol, or a value that the field cannot take.
    """
    rows = []
    for values in itertools.product(*variations.values()):
        settings = dict(zip(variations, values, strict=True))
        changed = with_overrides(preset, {PREFIX + name: value for name, value in settings.items()})
        figures = evaluate_closed_loop(folder, changed, protocols=[protocol], seeds=seeds)["protocols"][
            protocol
        ]
        if "skipped" in figures:
            raise ConfigError(
                "protocol", protocol, f"one that this policy has starts for: {figures['skipped']}"
            )
        rows.append({**settings, **{k: v for k, v in figures.items() if not isinstance(v, (dict, str))}})
        named = ", ".join(f"{name} {value}" for name, value in settings.items())
        progress(f"{named}: {figures['success_rate']:.0%} of {figures['n']} succeed, {figures['falls']} fall")
    return rows


def columns(rows: Sequence[Mapping[str, Any]], variations: Mapping[str, Any]) -> list[str]:
    """Return the columns of a study's table: what was varied, then the figures that it has."""
    return [*variations, *(name for name in FIGURES if any(row.get(name) is not None for row in rows))]


def plot_study(
    rows: Sequence[Mapping[str, Any]], variations: Mapping[str, Sequence[Any]], path: Path
) -> None:
    """Draw success and falls against the first varied setting, a line a combination of the others."""
    first, *others = variations
    figure = Figure(figsize=(9, 3.5), dpi=80, layout="constrained")
    axes = figure.subplots(1, 2)
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(", ".join(f"{name} {row[name]}" for name in others), []).append(row)
    for label, group in groups.items():
        x = [str(row[first]) for row in group]
        rate = [100 * row["success_rate"] for row in group]
        low = [100 * (row["success_rate"] - row["wilson_low"]) for row in group]
        high = [100 * (row["wilson_high"] - row["success_rate"]) for row in group]
        axes[0].errorbar(x, rate, yerr=[low, high], fmt="o-", capsize=3, label=label)
        axes[1].plot(x, [100 * row["falls"] / row["n"] for row in group], "o-", label=label)
    for axis, name in zip(axes, ("success, % (95 % interval)", "falls, %")):
        axis.set(xlabel=first, ylabel=name, ylim=(-2, 102))
        if others:
            axis.legend(fontsize="small")
    save_figure(figure, path)
