"""Pictures of a training run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from beyondmimic_data.plots import save_figure


def plot_training(
    curve: Sequence[dict[str, float]], validation: Sequence[dict[str, Any]], path: Path
) -> None:
    """Draw the loss over time and the last validation error of the current action by noise level."""
    figure = Figure(figsize=(8, 3), dpi=80, layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([p["step"] for p in curve], [p["loss"] for p in curve], label="training")
    left.plot([v["step"] for v in validation], [v["loss"] for v in validation], "o-", label="validation")
    left.set(xlabel="step", ylabel="loss", yscale="log")
    left.legend()
    by_level = validation[-1]["by_level"]
    right.plot([int(k) for k in by_level], [v["action_rms"] for v in by_level.values()], "o-")
    right.set(xlabel="noise level", ylabel="RMS error of the current action")
    right.set_ylim(bottom=0)
    save_figure(figure, path)
