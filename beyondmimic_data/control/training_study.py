"""Ablations of Stage 2: equal minutes of training with one setting changed, judged in closed loop."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from beyondmimic_data.config import NOISE_KINDS, Preset, Range
from beyondmimic_data.control.evaluate import OUTCOME, evaluate_closed_loop
from beyondmimic_data.diffusion.contract import Contract
from beyondmimic_data.diffusion.policy_files import TRAINING
from beyondmimic_data.diffusion.train import train
from beyondmimic_data.diffusion.windows import WindowSource
from beyondmimic_data.errors import ConfigError
from beyondmimic_data.files import read_json, write_bytes, write_json
from beyondmimic_data.hashing import hash_value
from beyondmimic_data.overrides import with_overrides
from beyondmimic_data.plots import save_figure

DATA = "data."
"""Prefix of what is varied in the data instead of the settings."""
BASELINE = "as configured"
RESULT, TABLE, PICTURE = "study.json", "study.md", "study.png"
KEPT = (*OUTCOME, "action_rate", "joint_jerk", "network_calls")


@dataclasses.dataclass(frozen=True)
class DataChoice:
    """Which episodes of a dataset a training may see."""

    noise_kind: str | None = None
    """Only those with this kind of exploration noise: none, white or ou."""
    hours: float | None = None
    """So many hours of all skills together, in equal shares of each; all by default."""

    def __post_init__(self) -> None:
        """Refuse what no dataset has.

        Raises:
            ConfigError: an unknown kind of noise, or no hours.
        """
        if self.noise_kind is not None and self.noise_kind not in NOISE_KINDS:
            raise ConfigError(f"{DATA}noise_kind", self.noise_kind, "one of " + ", ".join(NOISE_KINDS))
        if self.hours is not None and not self.hours > 0:
            raise ConfigError(f"{DATA}hours", self.hours, "a number above 0")


@dataclasses.dataclass(frozen=True)
class Variant:
    """One row of a study."""

    name: str
    preset: Preset
    data: DataChoice


WindowsOf = Callable[[Preset, DataChoice], WindowSource]
"""Opens the windows that a variant is trained on."""


def variants_of(preset: Preset, variations: Mapping[str, Sequence[Any]]) -> list[Variant]:
    """Return the configuration as it is, and one variant for each value that changes it.

    Args:
        preset: all other numbers.
        variations: values by field, such as ``diffusion.emphasis`` or ``closed_loop.planning.sampler``;
            ``data.noise_kind`` and ``data.hours`` choose episodes.

    Raises:
        ConfigError: a field that does not exist, or a value that it cannot take.
    """
    found = [Variant(BASELINE, preset, DataChoice())]
    choices = {field.name for field in dataclasses.fields(DataChoice)}
    for field, values in variations.items():
        for value in values:
            changed, data = preset, DataChoice()
            if field.startswith(DATA):
                name = field.removeprefix(DATA)
                if name not in choices:
                    expected = "one of " + ", ".join(sorted(DATA + choice for choice in choices))
                    raise ConfigError("vary", field, expected)
                data = DataChoice(**{name: value})
            else:
                changed = with_overrides(preset, {field: value})
            if (changed, data) != (preset, DataChoice()):
                found.append(Variant(f"{field} = {value}", changed, data))
    return found


def study_training(
    windows_of: WindowsOf,
    preset: Preset,
    variations: Mapping[str, Sequence[Any]],
    contract: Contract,
    out: Path,
    *,
    dataset: str,
    protocols: Sequence[str],
    seeds: int,
    latency_ms: Range,
    progress: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Train every variant from nothing for ``preset.diffusion.minutes``, and play protocols with it.

    What is done is kept in ``out``, so that an interrupted study goes on; variants that train alike share one
    training.

    Args:
        windows_of: opens the data.
        preset: every number.
        variations: see ``variants_of``.
        contract: what states and actions mean.
        out: folder of the study.
        dataset: version of the data.
        protocols: their names.
        seeds: runs of each, equal for every variant.
        latency_ms: range of the delay after the policy.
        progress: receives a line a step.

    Returns:
        One row a variant: ``name``, ``minutes``, ``samples`` and ``protocols``, figures by name.

    Raises:
        ConfigError: as ``variants_of``; or a variant that cannot be trained.
    """
    rows = []
    for variant in variants_of(preset, variations):
        folder = _trained(variant, windows_of, contract, out, dataset, progress)
        playing = variant.preset.closed_loop
        key = hash_value(
            [folder.name, playing.planning, playing.guidance, playing.seed, seeds, list(latency_ms)]
        )
        row = {"name": variant.name, **_figures_of(folder), "protocols": {}}
        for name in protocols:
            path = out / "runs" / f"{key}-{name}.json"
            if not path.exists():
                figures = evaluate_closed_loop(
                    folder, variant.preset, protocols=[name], seeds=seeds, latency_ms=latency_ms
                )["protocols"][name]
                if "skipped" in figures:
                    raise ConfigError("protocols", name, f"one with starts: {figures['skipped']}")
                write_json(path, {k: figures[k] for k in KEPT})
            row["protocols"][name] = read_json(path)
        progress(_line(row))
        rows.append(row)
        _write(rows, protocols, out)
    return rows


def _trained(
    variant: Variant,
    windows_of: WindowsOf,
    contract: Contract,
    out: Path,
    dataset: str,
    progress: Callable[[str], None],
) -> Path:
    """Return the folder of a variant's policy, training it if it is not there."""
    config = dataclasses.replace(variant.preset.diffusion, check_minutes=None)
    key = hash_value([dataset, config, variant.data, contract])
    folder = out / "policies" / key
    if not (folder / TRAINING).exists():
        progress(f"{variant.name}: training")
        train(windows_of(variant.preset, variant.data), config, contract, folder)
    return folder


def _figures_of(folder: Path) -> dict[str, Any]:
    training = read_json(folder / TRAINING)
    return {name: training[name] for name in ("minutes", "samples", "parameters")}


def _line(row: Mapping[str, Any]) -> str:
    found = ", ".join(f"{name} {_rate(f)}, {f['falls']} fall" for name, f in row["protocols"].items())
    return f"{row['name']}: {found}"


def _rate(figures: Mapping[str, Any]) -> str:
    return "{success_rate:.0%} [{wilson_low:.0%}, {wilson_high:.0%}]".format(**figures)


def table(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return the study as cells: a variant a row, success with its interval and falls of each protocol."""
    names = list(rows[0]["protocols"]) if rows else []
    head = ["setting", "minutes", "windows seen"]
    for name in names:
        head += [name, f"{name}: falls", f"{name}: action rate"]
    cells = [head]
    for row in rows:
        line = [row["name"], f"{row['minutes']:.1f}", str(row["samples"])]
        for name in names:
            figures = row["protocols"][name]
            line += [_rate(figures), f"{figures['falls']} of {figures['n']}", f"{figures['action_rate']:.3f}"]
        cells.append(line)
    return cells


def _write(rows: Sequence[Mapping[str, Any]], protocols: Sequence[str], out: Path) -> None:
    """Write the study so far: figures, table and picture."""
    write_json(out / RESULT, {"rows": list(rows)})
    head, *cells = table(rows)
    lines = ["| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *cells)]
    write_bytes(out / TABLE, ("# Ablations of Stage 2\n\n" + "\n".join(lines) + "\n").encode())
    plot(rows, protocols, out / PICTURE)


def plot(rows: Sequence[Mapping[str, Any]], protocols: Sequence[str], path: Path) -> None:
    """Draw the success of every variant with its interval, a column a protocol."""
    size = (4 + 3 * len(protocols), 1 + 0.3 * len(rows))
    figure = Figure(figsize=size, dpi=80, layout="constrained")
    columns = figure.subplots(1, len(protocols), sharey=True, squeeze=False)[0]
    y = range(len(rows))
    for axis, name in zip(columns, protocols):
        found = [row["protocols"][name] for row in rows]
        rate = [100 * f["success_rate"] for f in found]
        low = [100 * (f["success_rate"] - f["wilson_low"]) for f in found]
        high = [100 * (f["wilson_high"] - f["success_rate"]) for f in found]
        axis.errorbar(rate, y, xerr=[low, high], fmt="o", capsize=3)
        axis.axvline(rate[0], color="grey", linewidth=0.8)
        axis.set(xlabel=f"{name}: success, % (95 % interval)", xlim=(-2, 102))
    columns[0].set_yticks(list(y), [row["name"] for row in rows])
    columns[0].invert_yaxis()
    save_figure(figure, path)
