"""Control steps a second: bare batch stepping against the full tracking environment on the same batch."""

import dataclasses
import statistics
import time

import torch

from beyondmimic_data import process
from beyondmimic_data.config import quick
from beyondmimic_data.motions.synth import synthesise
from beyondmimic_data.sim.mujoco_backend import MujocoBackend, TraceEvent
from beyondmimic_data.tracking.vec_env import TrackingVecEnv

ROUNDS = 5


def bench_physics(num_envs: int = 1024, steps: int = 16) -> dict[str, float]:
    """Step the tracking environment, then replay its controls and resets bare; five times in turn.

    Args:
        num_envs: environments.
        steps: control steps a round.

    Returns:
        ``bare_steps_per_s``, ``env_steps_per_s`` (medians), ``ratio`` (median of the rounds), ``num_envs``.
    """
    process.prepare(0)
    preset = quick()
    preset = dataclasses.replace(preset, synth=dataclasses.replace(preset.synth, seconds=4.0))
    clip = synthesise("stand", preset.synth, preset.control.control_hz)
    backend = MujocoBackend(num_envs, preset.control)
    env = TrackingVecEnv(backend, [clip], preset, seed=0)
    generator = torch.Generator().manual_seed(0)
    actions = [0.3 * torch.randn(num_envs, env.num_actions, generator=generator) for _ in range(steps)]
    for action in actions[:4]:
        env.step(action)
    bare, full = [], []
    for _ in range(ROUNDS):
        trace: list[TraceEvent] = []
        backend.trace = trace
        started = time.perf_counter()
        for action in actions:
            env.step(action)
        full.append(num_envs * steps / (time.perf_counter() - started))
        backend.trace = None
        bare.append(num_envs * steps / backend.replay(trace))
        env.world.refresh()
    return {
        "bare_steps_per_s": statistics.median(bare),
        "env_steps_per_s": statistics.median(full),
        "ratio": statistics.median(f / b for f, b in zip(full, bare)),
        "num_envs": num_envs,
    }
