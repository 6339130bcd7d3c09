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
    bins = {f"{b['low_ms']:.0f}-{b['high_ms']:.0f}": b["completion"] for b in evaluation["latency_bins"]}
    # One latency alone makes no bins: all of the gate's starts had it.
    bins = bins or {f"{evaluation['max_latency_ms']:.0f}": evaluation["completion"]}
    axes[2].bar(list(bins), [100 * completion for completion in bins.values()], color="tab:orange")
    verdict = "passed" if evaluation["passed"] else "did not pass"
    axes[2].set(
        xlabel="latency (ms)",
        ylabel="complete (%)",
        xlim=(-0.7, max(len(bins), 3) - 0.3),
        ylim=(0, 103),
        title=f"Gate: {100 * evaluation['completion']:.0f} % of {evaluation['n']}, {verdict}",
    )
    for axis in axes:
        axis.grid(alpha=0.3)
    save_figure(figure, path)
