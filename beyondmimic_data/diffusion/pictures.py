"""Pictures of a training run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from beyondmimic_data.plots import save_figure


def plot_training(
    curve: Sequence[dict[str, float]],
    validation: Sequence[dict[str, Any]],
    trials: Sequence[dict[str, float]],
    path: Path,
) -> None:
    """Draw the loss, the last validation error of the current action by noise level, and trials if any."""
    figure = Figure(figsize=(11 if trials else 8, 3), dpi=80, layout="constrained")
    left, right, *rest = figure.subplots(1, 3 if trials else 2)
    left.plot([p["step"] for p in curve], [p["loss"] for p in curve], label="training")
    left.plot([v["step"] for v in validation], [v["loss"] for v in validation], "o-", label="validation")
    left.set(xlabel="step", ylabel="loss", yscale="log")
    left.legend()
    by_level = validation[-1]["by_level"]
    right.plot([int(k) for k in by_level], [v["action_rms"] for v in by_level.values()], "o-")
    right.set(xlabel="noise level", ylabel="RMS error of the current action")
    right.set_ylim(bottom=0)
    for axes in rest:
        minutes = [t["minutes"] for t in trials]
        for name in sorted(set(trials[0]) - {"step", "minutes"}):
            axes.plot(minutes, [t[name] for t in trials], "o-", label=name.replace("_", " "))
        axes.set(xlabel="minutes of training", ylabel="closed loop")
        axes.set_ylim(bottom=0)
        axes.legend()
    save_figure(figure, path)
