import dataclasses
import math

import numpy as np
import pytest
import torch

from beyondmimic_data.diffusion.emphasis import EmphasisProjection
from beyondmimic_data.diffusion.normaliser import RangeNormaliser, central_range
from beyondmimic_data.diffusion.optimisation import MovingAverage, PolicyOptimiser, learning_rate
from beyondmimic_data.diffusion.representation import Representation
from beyondmimic_data.diffusion.schedule import CosineSchedule
from beyondmimic_data.robots import g1


def projection(c: float = 4.0) -> tuple[Representation, EmphasisProjection]:
    representation = Representation("body_pos", g1.JOINT_NAMES, g1.BODY_NAMES)
    emphasised = torch.zeros(192, dtype=torch.bool)
    emphasised[180:186] = True
    return representation, EmphasisProjection(
        representation.state_permutation, representation.state_sign, emphasised, c, seed=3
    )


def test_normaliser_round_trip_and_range() -> None:
    samples = torch.rand(100, 3) * torch.tensor([1.0, 100.0, 0.01]) + torch.tensor([0.0, 5.0, -3.0])
    normaliser = RangeNormaliser(3)
    normaliser.fit(*central_range(samples))
    normalised = normaliser.normalise(samples)
    torch.testing.assert_close(normalised.amin(0), -torch.ones(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(normalised.amax(0), torch.ones(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(normaliser.denormalise(normalised), samples)


def test_a_few_wild_samples_do_not_take_the_resolution_of_all_others() -> None:
    samples = torch.linspace(-1, 1, 10_000)[:, None].clone()
    samples[[3, 5000, 9000], 0] = torch.tensor([300.0, -80.0, 50.0])
    low, high = central_range(samples)
    assert float(low) == pytest.approx(-1.0, abs=0.01)
    assert float(high) == pytest.approx(1.0, abs=0.01)


def test_a_constant_dimension_becomes_zero_and_comes_back() -> None:
    samples = torch.full((10, 1), 0.7)
    normaliser = RangeNormaliser(1)
    normaliser.fit(*central_range(samples))
    assert normaliser.normalise(samples).abs().max() == 0
    torch.testing.assert_close(normaliser.denormalise(torch.zeros(1)), torch.tensor([0.7]))
    assert torch.isfinite(normaliser.normalise(torch.tensor([0.9]))).all()


def test_emphasis_inverse_is_exact_and_its_output_doubles() -> None:
    _, emphasis = projection()
    x = torch.randn(50, 192)
    projected = emphasis.project(x)
    assert projected.shape == (50, 384)
    torch.testing.assert_close(projected[:, 192:], x, atol=1e-6, rtol=0)
    torch.testing.assert_close(emphasis.unproject(projected), x, atol=1e-5, rtol=0)


def test_emphasised_entries_are_four_times_as_loud() -> None:
    _, emphasis = projection()
    gain = emphasis.forward_matrix[:192].square().mean(0).sqrt()
    assert gain[180:186].mean() / gain[:180].mean() == pytest.approx(4.0, rel=0.05)
    variance = emphasis.project(torch.randn(4000, 192))[:, :192].var(0).mean()
    assert float(variance) == pytest.approx(1.0, rel=0.1)


def test_emphasis_commutes_with_the_mirror() -> None:
    representation, emphasis = projection()
    x = torch.randn(7, 192)
    image = emphasis.project(representation.mirror_states(x))
    mixed = emphasis.project(x)[:, :192]
    torch.testing.assert_close(image[:, :192], representation.mirror_states(mixed), atol=1e-5, rtol=1e-5)


def test_no_emphasis_leaves_features_alone() -> None:
    _, emphasis = projection(c=0.0)
    x = torch.randn(4, 192)
    torch.testing.assert_close(emphasis.project(x), x)
    torch.testing.assert_close(emphasis.unproject(x), x)


def test_cosine_schedule_equals_its_formula() -> None:
    schedule = CosineSchedule(20)

    def f(u: float) -> float:
        return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2

    expected = [f(k / 20) / f(0) for k in range(20)]
    np.testing.assert_allclose(schedule.alpha_bar[:20].numpy(), expected, rtol=1e-5)
    # The last step would remove all signal; its beta is bounded by 0.999.
    assert float(schedule.alpha_bar[20] / schedule.alpha_bar[19]) == pytest.approx(0.001, rel=1e-3)


def test_posterior_of_one_step_equals_the_ddpm_formula() -> None:
    schedule = CosineSchedule(20)
    x, clean = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    level = torch.full((2, 3), 8)
    mean, std = schedule.posterior(x, clean, level, level - 1)
    bar, before = float(schedule.alpha_bar[8]), float(schedule.alpha_bar[7])
    alpha = bar / before
    beta = 1 - alpha
    expected = (math.sqrt(before) * beta * clean + math.sqrt(alpha) * (1 - before) * x) / (1 - bar)
    torch.testing.assert_close(mean, expected)
    assert float(std[0, 0, 0]) == pytest.approx(math.sqrt(beta * (1 - before) / (1 - bar)), rel=1e-5)


def test_posterior_ends_at_the_prediction_and_holds_equal_levels() -> None:
    schedule = CosineSchedule(20)
    x, clean = torch.randn(1, 2, 5), torch.randn(1, 2, 5)
    mean, std = schedule.posterior(x, clean, torch.tensor([[1, 6]]), torch.tensor([[0, 6]]))
    torch.testing.assert_close(mean[:, 0], clean[:, 0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(mean[:, 1], x[:, 1])
    assert std.abs().max() < 1e-6


def test_noise_at_level_zero_is_none_and_at_the_top_all() -> None:
    schedule = CosineSchedule(20)
    clean, noise = torch.randn(1, 2, 5), torch.randn(1, 2, 5)
    noisy = schedule.add_noise(clean, noise, torch.tensor([[0, 20]]))
    torch.testing.assert_close(noisy[:, 0], clean[:, 0])
    torch.testing.assert_close(noisy[:, 1], noise[:, 1], atol=0.02, rtol=0)


def test_learning_rate_warms_up_and_ends_at_zero(tiny_config) -> None:
    rates = [learning_rate(tiny_config, step, step / 40) for step in range(41)]
    slower = dataclasses.replace(tiny_config, warm_learning_rate=tiny_config.learning_rate / 4)
    warm = [learning_rate(slower, step, step / 40, warm=True) for step in range(41)]
    np.testing.assert_allclose(warm, np.array(rates) / 4)
    assert rates[0] == pytest.approx(tiny_config.learning_rate / 5)
    assert max(rates) == pytest.approx(tiny_config.learning_rate, rel=0.05)
    assert rates[-1] == pytest.approx(0.0, abs=1e-12)


def test_weight_decay_spares_biases_norms_and_positions(make_policy, tiny_config) -> None:
    denoiser = make_policy().denoiser
    decayed, plain = PolicyOptimiser(denoiser, tiny_config).adamw.param_groups
    assert decayed["weight_decay"] > 0
    assert plain["weight_decay"] == 0
    spared = {id(p) for p in plain["params"]}
    for name, parameter in denoiser.named_parameters():
        assert (id(parameter) in spared) == (parameter.dim() < 2 or name == "position"), name


def test_muon_has_the_matrices_of_blocks_and_adamw_all_else(make_policy, tiny_config) -> None:
    denoiser = make_policy().denoiser
    optimiser = PolicyOptimiser(denoiser, dataclasses.replace(tiny_config, optimiser="muon"))
    adamw, muon = (
        {id(p) for group in part.param_groups for p in group["params"]} for part in optimiser.parts
    )
    for name, parameter in denoiser.named_parameters():
        assert (id(parameter) in muon) == (name.startswith("blocks.") and parameter.dim() == 2), name
        assert (id(parameter) in adamw) != (id(parameter) in muon), name


def test_moving_average_grows_slower_and_is_bounded(tiny_config) -> None:
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(layer.weight)
    average = MovingAverage(layer, tiny_config)
    torch.nn.init.ones_(layer.weight)
    average.update(15)
    # 1 - 16 ** -0.75 = 0.875 of the old value stays.
    assert float(average.values[0]) == pytest.approx(0.125)
    average.update(10**9)
    assert float(average.values[0]) == pytest.approx(0.125 + 0.875 * 1e-4, rel=1e-3)
