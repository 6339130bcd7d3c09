"""PPO throughput against the bare physics and the bare network updates it cannot do without."""

import dataclasses
import os
import statistics
import time
from typing import Any

import torch
from torch import nn

from beyondmimic_data.config import PpoConfig, Preset, quick
from beyondmimic_data.motions.synth import synthesise
from beyondmimic_data.rank import Rank
from beyondmimic_data.sim.mujoco_backend import TraceEvent
from beyondmimic_data.tracking.trainer import Trainer, lead

_METHOD_UPDATE = {
    name: getattr(PpoConfig(), name) for name in ("hidden_dims", "steps_per_env", "learning_epochs", "mirror")
}

ROUNDS = 8

OTHER_BATCHES: dict[str, tuple[float, dict[str, Any]]] = {
    "double_envs": (2.0, {}),
    "double_envs_half_steps": (2.0, {"steps_per_env": 6}),
    "fourfold_envs_half_steps": (4.0, {"steps_per_env": 6}),
    "method": (2.0, _METHOD_UPDATE),
}
"""Factors on ``quick``'s environments, and changes of its PPO: larger batches, and METHOD's update."""


@dataclasses.dataclass(frozen=True)
class _Round:
    """Seconds of one iteration and of its bare parts."""

    total: float
    physics: float
    update: float
    bare_physics: float
    bare_update: float


_Figures = dict[str, float]


def bench_ppo() -> _Figures:
    """Train one skill on every core; after each iteration, repeat its physics and its network passes bare.

    Returns:
        ``steps_per_s``; ``physics_share``, ``update_share``, ``rest_share`` of the time;
        ``bare_physics_us`` and ``bare_update_us`` a step; ``efficiency``, the share of bare physics and bare
        update in the total; ``ranks``, how many processes train together. Rate and efficiency again as
        ``one_core``, where ``quick`` trains each skill, and for each of ``OTHER_BATCHES``, behind its name.
    """
    short = dataclasses.replace(quick(), synth=dataclasses.replace(quick().synth, seconds=4.0))
    cores = os.cpu_count() or 1

    def measured(threads: int, rounds: int, envs: float = 1.0, ppo: dict[str, Any] | None = None) -> _Figures:
        training = short.training.on_cores(threads)
        training = dataclasses.replace(training, num_envs=round(envs * training.num_envs))
        changed = dataclasses.replace(short.ppo, **(ppo or {}))
        return _measure(dataclasses.replace(short, training=training, ppo=changed), threads, rounds)

    figures = measured(cores, ROUNDS)
    others = {"one_core": measured(1, ROUNDS)}
    others |= {name: measured(cores, ROUNDS // 2, envs, ppo) for name, (envs, ppo) in OTHER_BATCHES.items()}
    for name, other in others.items():
        figures |= {f"{name}_{key}": other[key] for key in ("steps_per_s", "efficiency")}
    return figures


def _measure(preset: Preset, threads: int, rounds: int) -> _Figures:
    """Return the figures of one way to train."""
    clips = [synthesise("stand", preset.synth, preset.control.control_hz)]
    with lead(clips, preset, threads, _round) as rank:
        trainer = Trainer(clips, preset, threads, rank)
        _round(trainer)
        results = [_round(trainer) for _ in range(rounds)]
    median = {
        field.name: statistics.median(getattr(one, field.name) for one in results)
        for field in dataclasses.fields(_Round)
    }
    total = median["total"]
    batch = rank.count * trainer.env.num_envs * preset.ppo.steps_per_env
    return {
        "steps_per_s": batch / total,
        "physics_share": median["physics"] / total,
        "update_share": median["update"] / total,
        "rest_share": 1 - (median["physics"] + median["update"]) / total,
        "bare_physics_us": 1e6 * median["bare_physics"] / batch,
        "bare_update_us": 1e6 * median["bare_update"] / batch,
        "efficiency": statistics.median((r.bare_physics + r.bare_update) / r.total for r in results),
        "ranks": rank.count,
    }


def _round(trainer: Trainer) -> _Round:
    """Iterate once, then do the same physics and network passes bare; all ranks at the same time."""
    before = trainer.backend.physics_seconds
    trace: list[TraceEvent] = []
    trainer.backend.trace = trace
    started = time.perf_counter()
    figures = trainer.iterate()
    total = time.perf_counter() - started
    trainer.backend.trace = None
    physics = trainer.backend.physics_seconds - before
    return _Round(
        total=total,
        physics=physics,
        update=figures["update_share"] * total,
        bare_physics=_slowest(trainer.rank, trainer.backend.replay(trace)),
        bare_update=_slowest(trainer.rank, _bare_update(trainer)),
    )


def _slowest(rank: Rank, seconds: float) -> float:
    """Return the time of the slowest rank, which all wait for."""
    times = torch.zeros(rank.count, dtype=torch.float64)
    times[rank.number] = seconds
    return float(rank.total(times).max())


def _bare_update(trainer: Trainer) -> float:
    """Return the seconds of forward and backward alone, over the same epochs and minibatches."""
    config = trainer.preset.ppo
    rows = trainer.env.num_envs * config.steps_per_env // config.mini_batches
    if config.mirror:
        rows *= 2
    networks: list[tuple[nn.Module, torch.Tensor]] = []
    for model, group in ((trainer.algorithm._raw_actor, "actor"), (trainer.algorithm._raw_critic, "critic")):
        width = trainer.observations[group].shape[-1]
        networks.append((model.mlp, torch.randn(rows, width)))
    started = time.perf_counter()
    for _ in range(config.learning_epochs * config.mini_batches):
        for network, inputs in networks:
            network(inputs).sum().backward()
    seconds = time.perf_counter() - started
    trainer.algorithm.optimizer.zero_grad()
    return seconds
