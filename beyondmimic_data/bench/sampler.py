"""How fast training batches are sampled, and how much of a training step that is."""

import dataclasses
import statistics
import time

import numpy as np
import torch

from beyondmimic_data import process
from beyondmimic_data.bench.train_bench import training_step
from beyondmimic_data.config import ControlConfig, quick
from beyondmimic_data.diffusion.contract import g1_contract
from beyondmimic_data.diffusion.policy import DiffusionPolicy
from beyondmimic_data.diffusion.train import training_tokens
from beyondmimic_data.diffusion.windows import WindowSource

ROUNDS = 5
BATCHES = 40


def bench_sampler(windows: WindowSource) -> dict[str, float]:
    """Sample batches as `quick`'s training does, one core, and take training steps; in turns.

    Args:
        windows: rows of rollouts; their values do not matter.

    Returns:
        ``training_windows_per_s``: gathered, represented, mirrored and normalised; ``share_of_step``: time of
        a batch over that of a whole training step with it, on one core too; medians of the rounds.
    """
    process.prepare(1)
    config = dataclasses.replace(quick().diffusion, minutes=None)
    policy = DiffusionPolicy(config, g1_contract(ControlConfig())).train()
    rng, generator = np.random.default_rng(config.seed), torch.Generator().manual_seed(config.seed)
    step = training_step(policy)
    training_tokens(policy, windows, rng, generator)
    step()
    rates, shares = [], []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(BATCHES):
            training_tokens(policy, windows, rng, generator)
        batch = (time.perf_counter() - began) / BATCHES
        began = time.perf_counter()
        step()
        rates.append(config.batch_size / batch)
        shares.append(batch / (batch + time.perf_counter() - began))
    return {
        "training_windows_per_s": statistics.median(rates),
        "share_of_step": statistics.median(shares),
    }
