"""Training a learned guidance: PPO over closed-loop runs of a frozen diffusion policy."""

import contextlib
import dataclasses
import io
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from rsl_rl.runners import OnPolicyRunner

from beyondmimic_data import process
from beyondmimic_data.config import LearnedGuidanceConfig, Preset
from beyondmimic_data.control.learned_guidance.environment import GuidanceEnv
from beyondmimic_data.control.learned_guidance.policy import GuidancePolicy
from beyondmimic_data.control.settings import SETTINGS
from beyondmimic_data.diffusion.policy import DiffusionPolicy
from beyondmimic_data.diffusion.windows import RecordedWindows
from beyondmimic_data.files import whole_folder, write_json
from beyondmimic_data.plots import save_figure
from beyondmimic_data.tracking.policy import TrackingPolicy
from beyondmimic_data.tracking.trainer import TrainingDivergedError, ppo_settings

TRAINING = "training.json"
PICTURE = "training.png"
FIRST_OUTPUT = 0.01
"""Factor on the output layer's first weights: training begins next to the fixed settings."""


def train_guidance(
    policy_folder: Path,
    preset: Preset,
    config: LearnedGuidanceConfig,
    folder: Path,
    *,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Train a learned guidance; the folder has policy, record and picture at the end, or does not exist.

    Args:
        policy_folder: of the frozen diffusion policy.
        preset: control, planning, latency and the fixed settings that bounds lie around.
        config: how long, how many robots, PPO's numbers.
        folder: to write; must not exist, or be empty.
        progress: receives a line an iteration.

    Returns:
        The training record: ``curve``, minutes, decisions, seconds a decision.

    Raises:
        ConfigError: the policy has no start, or plans are made in a way that single robots cannot restart in.
        StoreError: there is no usable diffusion policy, or something is in the folder.
        TrainingDivergedError: weights are not finite.
    """
    with whole_folder(folder) as target:
        policy = DiffusionPolicy.load(policy_folder, "cuda" if torch.cuda.is_available() else "cpu")
        process.prepare(torch.get_num_threads())
        torch.manual_seed(config.seed)
        started = time.perf_counter()
        env = GuidanceEnv(policy, RecordedWindows.load(policy_folder), preset, config)
        with contextlib.redirect_stdout(io.StringIO()):  # rsl-rl prints its networks
            runner = OnPolicyRunner(env, ppo_settings(config.ppo()))
        _begin_at_zero(runner.alg.get_policy())
        curve: list[dict[str, float]] = []
        while not curve or not _over(curve, config):
            curve.append(_iterate(runner, env, started, curve))
            progress(_line(curve[-1], config))
        GuidancePolicy(
            TrackingPolicy.from_actor_state(runner.alg.save()["actor_state_dict"]),
            env.bounds,
            hold=config.hold,
            control_hz=env.control_hz,
        ).save(target)
        decisions, minutes = curve[-1]["decisions"], curve[-1]["minutes"]
        record = {
            "minutes": minutes,
            "decisions": decisions,
            "ms_per_decision": 6e4 * minutes / decisions,
            "config": dataclasses.asdict(config),
            "curve": curve,
        }
        write_json(target / TRAINING, record)
        plot_training(curve, target / PICTURE)
    return record


def _begin_at_zero(actor: torch.nn.Module) -> None:
    """Make the actor's first outputs small."""
    output = [layer for layer in actor.modules() if isinstance(layer, torch.nn.Linear)][-1]
    with torch.no_grad():
        output.weight.mul_(FIRST_OUTPUT)
        output.bias.zero_()


def _over(curve: Sequence[Mapping[str, float]], config: LearnedGuidanceConfig) -> bool:
    """Tell whether minutes or iterations are spent."""
    return curve[-1]["minutes"] >= config.minutes or len(curve) == config.max_iterations


def _iterate(
    runner: OnPolicyRunner, env: GuidanceEnv, started: float, curve: Sequence[Mapping[str, float]]
) -> dict[str, float]:
    """Collect, update, and return the figures of the iteration."""
    runner.learn(1)
    actor = runner.alg.get_policy()
    if not all(bool(weights.isfinite().all()) for weights in actor.parameters()):
        raise TrainingDivergedError("PPO's weights are not finite; lower learned_guidance.learning_rate")
    figures = env.figures()
    figures["decisions"] += curve[-1]["decisions"] if curve else 0.0
    return {
        "minutes": (time.perf_counter() - started) / 60,
        **figures,
        "action_std": float(actor.distribution.std_param.detach().mean()),
        "learning_rate": runner.alg.learning_rate,
    }


def _line(point: Mapping[str, float], config: LearnedGuidanceConfig) -> str:
    """Return a point of the curve for a terminal."""
    left = max(config.minutes - point["minutes"], 0.0)
    rate = point["decisions"] / point["minutes"] / 60
    settings = ", ".join(f"{name} {point[name]:.2f}" for name in SETTINGS)
    return (
        f"{point['decisions']:.0f} decisions, reward {point['mean_reward']:.3f}, "
        f"{point['falls_per_hour']:.0f} falls an hour, {settings}; "
        f"{rate:.0f} decisions/s, at most {left:.1f} min left"
    )


def plot_training(curve: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draw reward, falls and the mean settings against the minutes."""
    figure = Figure(figsize=(12, 3.5), dpi=80, layout="constrained")
    axes = figure.subplots(1, 3)
    minutes = [point["minutes"] for point in curve]
    for axis, names, label in (
        (axes[0], ("mean_reward",), "mean reward of a decision"),
        (axes[1], ("falls_per_hour",), "falls in an hour of a robot's time"),
        (axes[2], SETTINGS, "mean settings"),
    ):
        for name in names:
            axis.plot(minutes, [point[name] for point in curve], ".-", label=name.replace("_", " "))
        axis.set(xlabel="minutes", ylabel=label)
    axes[2].legend(fontsize="small")
    save_figure(figure, path)
