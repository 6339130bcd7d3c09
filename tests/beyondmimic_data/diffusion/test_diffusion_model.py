import pytest
import torch

from beyondmimic_data.config import PlanningConfig
from beyondmimic_data.diffusion.model import attention_mask
from beyondmimic_data.diffusion.plan_first import PlanFirstSampler
from beyondmimic_data.diffusion.rolling import RollingSampler
from beyondmimic_data.diffusion.sampler import FullSampler, gaussian
from beyondmimic_data.errors import ConfigError

WINDOW, CURRENT = 21, 4


@pytest.fixture
def denoiser(make_policy):
    denoiser = make_policy().denoiser
    # Larger weights than at the start of training, so that every path that is open carries something.
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return denoiser


def inputs(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return (
        torch.randn(1, WINDOW, 384, generator=g),
        torch.randn(1, WINDOW, 29, generator=g),
        torch.randint(0, 21, (1, WINDOW), generator=g),
        torch.randint(0, 21, (1, WINDOW), generator=g),
    )


def reach(denoiser, output: int, step: int) -> tuple[list[int], list[int]]:
    """Return which states and actions have a gradient in one output: 0 for a state's, 1 for an action's."""
    states, actions, state_levels, action_levels = inputs()
    states.requires_grad_()
    actions.requires_grad_()
    denoiser(states, actions, state_levels, action_levels)[output][0, step].square().sum().backward()
    assert states.grad is not None
    touched = [states.grad[0].abs().sum(-1), None if actions.grad is None else actions.grad[0].abs().sum(-1)]
    return tuple([] if g is None else g.nonzero().flatten().tolist() for g in touched)  # type: ignore[return-value]


def test_states_see_all_states_and_no_action(denoiser) -> None:
    for step in (0, CURRENT, 20):
        states, actions = reach(denoiser, 0, step)
        assert states == list(range(WINDOW))
        assert actions == []


def test_actions_see_actions_up_to_their_own_step(denoiser) -> None:
    for step in (0, CURRENT, 20):
        _, actions = reach(denoiser, 1, step)
        assert actions == list(range(step + 1))


def test_future_states_reach_the_current_action_from_the_second_layer_on(denoiser, make_policy) -> None:
    states, _ = reach(denoiser, 1, CURRENT)
    assert states == list(range(WINDOW))
    one_layer = make_policy(layers=1).denoiser
    states, _ = reach(one_layer, 1, CURRENT)
    assert states == list(range(CURRENT + 1))


def test_mask_of_three_steps() -> None:
    expected = [
        # s0 a0 s1 a1 s2 a2
        [1, 0, 1, 0, 1, 0],  # s0
        [1, 1, 0, 0, 0, 0],  # a0
        [1, 0, 1, 0, 1, 0],  # s1
        [1, 1, 1, 1, 0, 0],  # a1
        [1, 0, 1, 0, 1, 0],  # s2
        [1, 1, 1, 1, 1, 1],  # a2
    ]
    assert attention_mask(3).int().tolist() == expected


def test_full_attention_reaches_everything_and_needs_every_trained_action(make_policy) -> None:
    assert attention_mask(3, "full").all()
    policy = make_policy(attention="full", action_horizon=8)
    assert policy.acting_tokens == CURRENT + 1 + 8
    assert make_policy().acting_tokens == CURRENT + 1
    noise = gaussian(torch.Generator().manual_seed(0))
    assert FullSampler(policy, noise).table.counts == (CURRENT + 1 + 8,) * 20
    with pytest.raises(ConfigError, match=r"attention.*plan_first"):
        PlanFirstSampler(policy, noise, PlanningConfig())
    with pytest.raises(ConfigError, match=r"attention.*rolling"):
        RollingSampler(policy, noise)


def test_each_token_knows_its_own_noise_level(denoiser) -> None:
    states, actions, state_levels, action_levels = inputs()
    before = denoiser(states, actions, state_levels, action_levels)
    other = action_levels.clone()
    other[0, 10] = (other[0, 10] + 5) % 21
    after = denoiser(states, actions, state_levels, other)
    torch.testing.assert_close(after[0], before[0])
    changed = (after[1] - before[1]).abs().sum(-1)[0]
    assert changed[:10].max() == 0
    assert changed[10:].min() > 0


@pytest.mark.parametrize("kept", [1, CURRENT + 1, 20])
def test_later_actions_may_be_left_out(denoiser, kept) -> None:
    states, actions, state_levels, action_levels = inputs()
    full = denoiser(states, actions, state_levels, action_levels)
    short = denoiser(states, actions[:, :kept], state_levels, action_levels[:, :kept])
    torch.testing.assert_close(short[0], full[0])
    torch.testing.assert_close(short[1], full[1][:, :kept])


def test_paper_size_has_the_paper_s_parameters(make_policy) -> None:
    policy = make_policy(embedding=512, layers=6)
    assert 19e6 < policy.num_parameters() < 20e6


@pytest.mark.parametrize("kept", [1, CURRENT + 1, 20])
def test_actions_beside_states_seen_before_are_those_of_the_whole_window(denoiser, kept) -> None:
    states, actions, state_levels, action_levels = inputs()
    _, expected = denoiser(states, actions, state_levels, action_levels)
    denoiser.eval()
    seen = denoiser.see_states(states, state_levels)
    for _ in range(2):
        found = denoiser.clean_actions(seen, actions[:, :kept], action_levels[:, :kept])
        torch.testing.assert_close(found, expected[:, :kept])
