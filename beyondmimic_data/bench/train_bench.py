"""Diffusion training: samples a second, and how much of a step its bare matrix products take."""

import dataclasses
import statistics
import time
from collections.abc import Callable

import torch

from beyondmimic_data import process
from beyondmimic_data.config import ControlConfig, DiffusionConfig, quick
from beyondmimic_data.diffusion.contract import g1_contract
from beyondmimic_data.diffusion.loss import diffusion_loss, draw_noise, horizon
from beyondmimic_data.diffusion.optimisation import MovingAverage, PolicyOptimiser
from beyondmimic_data.diffusion.policy import DiffusionPolicy

ROUNDS = 5
SECONDS = 25.0
"""Rounds stop early after this time, so that the benchmark ends within 50 s on a busy machine."""


def bench_train(config: DiffusionConfig | None = None) -> dict[str, float]:
    """Train on made-up tokens, and run the same matrix products bare; five times in turn.

    The bare products are those of every linear layer and of attention, forward and twice backward, on tensors
    that are there already.

    Args:
        config: model and batch; the preset ``quick``'s by default.

    Returns:
        ``samples_per_s`` (median), ``matmul_share`` (median of the rounds), ``gflop_per_sample``,
        ``bare_gflops``, ``parameters``, ``batch_size``, ``threads``.
    """
    process.prepare(0)
    config = dataclasses.replace(quick().diffusion if config is None else config, minutes=None)
    torch.manual_seed(config.seed)
    policy = DiffusionPolicy(config, g1_contract(ControlConfig())).train()
    step = training_step(policy)
    products = _products(policy)
    started = time.monotonic()
    step()
    rates: list[float] = []
    bare: list[float] = []
    while len(rates) < ROUNDS and (not rates or time.monotonic() - started < SECONDS):
        bare.append(_time_products(products))
        begin = time.perf_counter()
        step()
        rates.append(config.batch_size / (time.perf_counter() - begin))
    flop = sum(2.0 * a.shape[:-2].numel() * a.shape[-2] * a.shape[-1] * b.shape[-1] for a, b in products)
    return {
        "samples_per_s": statistics.median(rates),
        "matmul_share": statistics.median(b * r / config.batch_size for b, r in zip(bare, rates)),
        "gflop_per_sample": flop / config.batch_size / 1e9,
        "bare_gflops": flop / statistics.median(bare) / 1e9,
        "rounds": len(rates),
        "parameters": policy.num_parameters(),
        "batch_size": config.batch_size,
        "threads": torch.get_num_threads(),
    }


def training_step(policy: DiffusionPolicy) -> Callable[[], None]:
    """Return one optimiser step on made-up tokens: noise, loss, gradient, optimiser, moving average."""
    config = policy.config
    generator = torch.Generator().manual_seed(config.seed)
    states = torch.rand(config.batch_size, config.window, policy.emphasis.dim_out, generator=generator)
    actions = torch.rand(config.batch_size, config.window, policy.num_joints, generator=generator)
    optimiser = PolicyOptimiser(policy.denoiser, config)
    average = MovingAverage(policy.denoiser, config)

    def step() -> None:
        loss = diffusion_loss(policy, draw_noise(states, actions, config, generator)).total
        loss.backward()
        optimiser.step(config.learning_rate, loss.detach())
        average.update(1)
        optimiser.zero_grad()

    return step


def _products(policy: DiffusionPolicy) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return the operands of every matrix product of a step, forward and backward."""
    config = policy.config
    steps = config.window, horizon(config)
    length = sum(steps)
    states, actions = (config.batch_size * n for n in steps)
    operands = []
    for name, layer in policy.denoiser.named_modules():
        if isinstance(layer, torch.nn.Linear):
            n = states + actions if "blocks" in name else states if "state" in name else actions
            k, m = layer.in_features, layer.out_features
            x, g, w = torch.rand(n, k), torch.rand(n, m), torch.rand(k, m)
            operands += [(x, w), (g, w.T), (x.T, g)]
    heads, width = config.batch_size * config.heads, config.embedding // config.heads
    q, p = torch.rand(heads, length, width), torch.rand(heads, length, length)
    for _ in range(config.layers):
        # Scores and their two gradients, the weighted sum and its two.
        operands += [(q, q.mT), (p, q), (p.mT, q)] * 2
    return operands


def _time_products(products: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """Return the time of all products, s; outputs are reused."""
    outputs: dict[tuple[int, ...], torch.Tensor] = {}
    total = 0.0
    for a, b in products:
        shape = (*a.shape[:-1], b.shape[-1])
        out = outputs.setdefault(shape, torch.empty(shape))
        begin = time.perf_counter()
        torch.matmul(a, b, out=out)
        total += time.perf_counter() - begin
    return total
