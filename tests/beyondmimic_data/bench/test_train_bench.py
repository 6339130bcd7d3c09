import pytest
import torch

from beyondmimic_data.bench import train_bench
from beyondmimic_data.bench.train_bench import bench_train
from beyondmimic_data.diffusion.policy import DiffusionPolicy


def test_figures_of_a_tiny_model(tiny_config, monkeypatch) -> None:
    monkeypatch.setattr(train_bench, "ROUNDS", 2)
    threads = torch.get_num_threads()
    figures = bench_train(tiny_config)
    torch.set_num_threads(threads)
    assert figures["samples_per_s"] > 0
    assert 0 < figures["matmul_share"] < 1.5
    assert figures["rounds"] == 2
    assert figures["batch_size"] == 16


def test_the_products_are_those_of_the_network(make_policy) -> None:
    """Forward products of the linear layers, counted by hooks, are a third of those listed for them."""
    policy: DiffusionPolicy = make_policy()
    listed = train_bench._products(policy)
    config = policy.config
    seen = []

    def count(layer: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        seen.append(inputs[0].shape[:-1].numel() * inputs[0].shape[-1] * output.shape[-1])

    for layer in policy.denoiser.modules():
        if isinstance(layer, torch.nn.Linear):
            layer.register_forward_hook(count)
    states, actions = torch.zeros(16, 21, 384), torch.zeros(16, 13, 29)
    levels = torch.ones(16, 21, dtype=torch.long)
    policy.denoiser(states, actions, levels, levels[:, :13])
    linear = [a.shape[0] * a.shape[1] * b.shape[1] for a, b in listed if a.dim() == 2]
    assert sum(linear) == 3 * sum(seen)
    # Scores and weighted sums of 34 tokens, each with two gradients.
    attention = [a.shape[0] * a.shape[1] * a.shape[2] * b.shape[2] for a, b in listed if a.dim() == 3]
    assert sum(attention) == pytest.approx(6 * config.layers * 16 * 34 * 34 * config.embedding)
