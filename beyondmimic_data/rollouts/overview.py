"""What episodes cover and how they were randomised: figures, and pictures that a person looks at first."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure

from beyondmimic_data.config import RandomisationConfig, Range, RolloutConfig
from beyondmimic_data.plots import save_figure

Episodes = Sequence[Mapping[str, Any]]
"""Rows of an episode index."""

COLUMNS = [
    "skill",
    "clip",
    "start_frame",
    "length",
    "termination",
    "latency_ms",
    "friction",
    "damping_scale",
    "stiffness_scale",
    "noise_std",
    "mass_scale",
    "joint_offset",
    "com_offset",
    "push_seconds",
    "push_velocity",
]
"""What of an index is read here."""
BINS = 20
MOST_CLIPS = 40
"""Rows of the coverage picture; the clips that are passed least often are shown."""


def coverage(episodes: Episodes, clip_frames: Mapping[str, int], control_hz: float) -> dict[str, np.ndarray]:
    """Count how often episodes pass each second of each clip.

    Args:
        episodes: with ``clip``, ``start_frame`` and ``length``.
        clip_frames: frames of each clip.
        control_hz: frames a second.

    Returns:
        For each clip (seconds,) passes, the mean over the frames of each second; the last may be short.
    """
    edges = {clip: np.zeros(frames + 1, np.int64) for clip, frames in clip_frames.items()}
    for episode in episodes:
        count, first = edges[episode["clip"]], episode["start_frame"]
        count[first] += 1
        count[min(first + episode["length"], len(count) - 1)] -= 1
    passes = {}
    for clip, count in edges.items():
        frames = np.cumsum(count)[:-1][:-1]  # no episode has a row at a clip's last frame
        starts = np.arange(0, len(frames), round(control_hz))
        sizes = np.diff([*starts, len(frames)])
        passes[clip] = np.add.reduceat(frames, starts) / sizes if len(frames) else np.zeros(0)
    return passes


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Values of one randomised quantity beside the range that was asked for."""

    name: str
    """With its unit."""
    values: np.ndarray
    asked: Range


def drawn(
    episodes: Episodes, ranges: RandomisationConfig, rollouts: RolloutConfig, max_latency_ms: float
) -> list[Drawn]:
    """Return all that was drawn for episodes, every quantity beside its range."""

    def column(name: str) -> np.ndarray:
        return np.array([episode[name] for episode in episodes], float)

    offsets, com = column("joint_offset"), column("com_offset") * 1e3
    pushes = np.array([v for e in episodes for v in e["push_velocity"]], float).reshape(-1, 6)
    # The wait for a push that would have come after an episode's end is unknown: waits of those that came.
    waits = np.array([w for e in episodes for w in np.diff([0.0, *e["push_seconds"]])], float)
    low, high = ranges.latency_ms
    found = [
        Drawn("friction", column("friction"), ranges.friction),
        Drawn("link mass, factor", column("mass_scale").ravel(), ranges.mass_scale),
        Drawn("servo kp, factor", column("stiffness_scale"), ranges.stiffness_scale),
        Drawn("servo kd, factor", column("damping_scale"), ranges.damping_scale),
        Drawn("latency, ms", column("latency_ms"), (low, max(low, min(high, max_latency_ms)))),
        Drawn("joint zero error, mrad", offsets.ravel() * 1e3, _around(ranges.joint_offset * 1e3)),
    ]
    for axis, name in enumerate("xyz"):
        half = ranges.com_offset[axis] * 1e3
        found.append(Drawn(f"torso COM {name}, mm", com[:, axis], _around(half)))
    if ranges.push:
        found += [
            Drawn("push, horizontal, m/s", pushes[:, :2].ravel(), _around(ranges.push_linear[0])),
            Drawn("push, yaw, rad/s", pushes[:, 5], _around(ranges.push_angular[2])),
            Drawn("seconds before a push", waits, ranges.push_interval),
        ]
    if rollouts.noise_scale[0] < rollouts.noise_scale[1]:
        found.append(Drawn("action noise, factor", column("noise_std"), rollouts.noise_scale))
    return found


def plot_drawn(quantities: Sequence[Drawn], path: Path) -> None:
    """Draw a histogram of each randomised quantity, of few values a bar each; dashed: the range asked for."""
    columns = 4
    rows = -(-len(quantities) // columns)
    figure = Figure(figsize=(11, 2.1 * rows), dpi=70, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, one in zip(axes, quantities):
        low, high = one.asked
        places, counts = np.unique(one.values, return_counts=True)
        if 1 < len(places) <= BINS:  # such as latency, whole physics steps
            axis.bar(places, counts, width=0.8 * np.diff(places).min(), color="tab:blue")
        else:
            width = (high - low) / BINS or 1.0
            axis.hist(one.values, bins=np.arange(-1, BINS + 2) * width + low, color="tab:blue")
        for edge in (low, high):
            axis.axvline(edge, color="black", linestyle="--", linewidth=1)
        axis.set(xlabel=f"{one.name} (n = {len(one.values)})", yticks=[])
    for axis in axes[len(quantities) :]:
        axis.set_axis_off()
    figure.suptitle("Drawn for the episodes; dashed: asked for", fontsize=10)
    save_figure(figure, path)


def plot_overview(
    episodes: Episodes, passes: Mapping[str, np.ndarray], control_hz: float, by: str, path: Path
) -> None:
    """Draw hours, why episodes ended, and how often each second of each clip is passed.

    Args:
        episodes: rows of an index.
        passes: what ``coverage`` returned.
        control_hz: rows a second.
        by: column that hours are summed over: ``skill`` or ``clip``.
        path: PNG to write.
    """
    shown = sorted(passes, key=lambda clip: float(passes[clip].min(initial=np.inf)))[:MOST_CLIPS]
    shown.sort()
    figure = Figure(figsize=(11, 3.4 + 0.22 * len(shown)), dpi=70, layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=(3.0, 1.0 + 0.22 * len(shown)))
    hours, ends, seconds = (figure.add_subplot(part) for part in (grid[0, 0], grid[0, 1], grid[1, :]))
    sums = _sums((e[by], e["length"] / control_hz / 3600) for e in episodes)
    hours.barh(list(sums), list(sums.values()), color="tab:blue")
    hours.set(xlabel="hours", title=f"Hours by {by}, {sum(sums.values()):.2f} in all")
    counts = _sums((e["termination"], 1) for e in episodes)
    bars = ends.barh(list(counts), list(counts.values()), color="tab:orange")
    ends.bar_label(bars, [f"{n / len(episodes):.1%}" for n in counts.values()], padding=3, fontsize=8)
    ends.set(xlabel="episodes", title=f"How {len(episodes)} episodes ended", xmargin=0.15)
    table = np.full((len(shown), max((len(passes[clip]) for clip in shown), default=1)), np.nan)
    for row, clip in enumerate(shown):
        table[row, : len(passes[clip])] = passes[clip]
    extent = (0, table.shape[1], len(shown) - 0.5, -0.5)
    norm = SymLogNorm(1.0, vmin=0.0, vmax=max(float(np.nanmax(table, initial=1.0)), 1.0))
    image = seconds.imshow(table, aspect="auto", interpolation="nearest", norm=norm, extent=extent)
    figure.colorbar(image, ax=seconds, label="passes")
    least = min((float(p.min()) for p in passes.values() if len(p)), default=0.0)
    title = f"Passes of each second of each clip; least {least:.0f}"
    if len(shown) < len(passes):
        title += f" (the {len(shown)} of {len(passes)} clips that are passed least)"
    seconds.set(xlabel="second of the clip", yticks=range(len(shown)), title=title)
    seconds.set_yticklabels(shown, fontsize=8)
    save_figure(figure, path)


def _around(half: float) -> Range:
    return -half, half


def _sums(pairs: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Sum values by name, sorted."""
    sums: dict[str, float] = {}
    for name, value in pairs:
        sums[name] = sums.get(name, 0) + value
    return dict(sorted(sums.items()))
