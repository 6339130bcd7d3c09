"""The picture of a training: what a person looks at before the numbers."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from beyondmimic_data.plots import save_figure


def plot_training(record: dict[str, Any], evaluation: dict[str, Any], path: Path) -> None:
    """Plot reward, falls, checks and the gate's completion by latency.

    Args:
        record: what ``train_policy`` returned.
        evaluation: what ``evaluate_gate`` returned.
        path: PNG to write.
    """
    figure = Figure(figsize=(11, 3.2), dpi=70, layout="constrained")
    axes = figure.subplots(1, 3)
    curve = record["curve"]
    steps = [p["steps"] / 1e6 for p in curve]
    axes[0].plot(steps, [p["reward_per_step"] for p in curve], color="tab:blue")
    axes[0].set(xlabel="environment steps (millions)", ylabel="mean reward a step", title="Reward")
    axes[1].plot(
        [c["steps"] / 1e6 for c in record["checks"]],
        [100 * c["completion"] for c in record["checks"]],
        marker="o",
        color="tab:green",
    )
    axes[1].axhline(100 * evaluation["required"], color="grey", linestyle="--", linewidth=1)
    axes[1].set(
        xlabel="environment steps (millions)",
        ylabel="complete (%)",
        ylim=(-3, 103),
        title="Check starts completed",
    )
    bins = evaluation["latency_bins"]
    axes[2].bar(
        [f"{b['low_ms']:.0f}-{b['high_ms']:.0f}" for b in bins],
        [100 * b["completion"] for b in bins],
        color="tab:orange",
    )
    verdict = "passed" if evaluation["passed"] else "did not pass"
    axes[2].set(
        xlabel="latency (ms)",
        ylabel="complete (%)",
        ylim=(0, 103),
        title=f"Gate: {100 * evaluation['completion']:.0f} % of {evaluation['n']}, {verdict}",
    )
    for axis in axes:
        axis.grid(alpha=0.3)
    save_figure(figure, path)
