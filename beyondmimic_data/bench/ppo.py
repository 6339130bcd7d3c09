"""PPO throughput against the bare physics and the bare network updates it cannot do without."""

import dataclasses
import os
import statistics
import time

import torch
from torch import nn

from beyondmimic_data import process
from beyondmimic_data.config import quick
from beyondmimic_data.motions.synth import synthesise
from beyondmimic_data.sim.mujoco_backend import TraceEvent
from beyondmimic_data.tracking.train import Trainer, minibatch_rows, torch_threads

ROUNDS = 8


def bench_ppo() -> dict[str, float]:
    """Train one skill on every core; after each iteration, repeat its physics and its network passes bare.

    Returns:
        ``steps_per_s``; ``physics_share``, ``update_share``, ``rest_share`` of the time;
        ``bare_physics_us`` and ``bare_update_us`` a step; ``efficiency``, the share of bare physics and bare
        update in the total.
    """
    preset, threads = quick(), os.cpu_count() or 1
    preset = dataclasses.replace(preset, training=preset.training.on_cores(threads))
    process.prepare(torch_threads(preset, threads))
    preset = dataclasses.replace(preset, synth=dataclasses.replace(preset.synth, seconds=4.0))
    clip = synthesise("stand", preset.synth, preset.control.control_hz)
    trainer = Trainer([clip], preset, threads)
    trainer.iterate()
    batch = trainer.env.num_envs * preset.ppo.steps_per_env
    totals, physics, updates, bare_physics, bare_updates = [], [], [], [], []
    for _ in range(ROUNDS):
        before = trainer.backend.physics_seconds
        trace: list[TraceEvent] = []
        trainer.backend.trace = trace
        started = time.perf_counter()
        figures = trainer.iterate()
        totals.append(time.perf_counter() - started)
        trainer.backend.trace = None
        physics.append(trainer.backend.physics_seconds - before)
        updates.append(figures["update_share"] * totals[-1])
        bare_physics.append(trainer.backend.replay(trace))
        bare_updates.append(_bare_update(trainer))
    total = statistics.median(totals)
    return {
        "steps_per_s": batch / total,
        "physics_share": statistics.median(physics) / total,
        "update_share": statistics.median(updates) / total,
        "rest_share": 1 - (statistics.median(physics) + statistics.median(updates)) / total,
        "bare_physics_us": 1e6 * statistics.median(bare_physics) / batch,
        "bare_update_us": 1e6 * statistics.median(bare_updates) / batch,
        "efficiency": statistics.median((p + u) / t for p, u, t in zip(bare_physics, bare_updates, totals)),
    }


def _bare_update(trainer: Trainer) -> float:
    """Return the seconds of forward and backward alone, over the same epochs and minibatches."""
    config = trainer.preset.ppo
    rows = minibatch_rows(trainer.preset)
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
