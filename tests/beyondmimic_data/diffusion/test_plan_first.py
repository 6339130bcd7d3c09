"""States are planned first, by themselves; then the action is told from them."""

import numpy as np
import pytest
import torch

from beyondmimic_data.config import PlanningConfig
from beyondmimic_data.diffusion.frames import frames_from_rows
from beyondmimic_data.diffusion.plan_first import PlanFirstSampler, state_table
from beyondmimic_data.diffusion.representation import character_frame
from beyondmimic_data.diffusion.sampler import Guidance, Prediction, gaussian
from beyondmimic_data.errors import ConfigError

WINDOW, CURRENT, STEPS = 21, 4, 20


class Watched(torch.nn.Module):
    """Passes calls on, and keeps what they were given and gave."""

    def __init__(self, denoiser: torch.nn.Module) -> None:
        super().__init__()
        self.denoiser, self.position = denoiser, denoiser.position
        self.calls: list[tuple[torch.Tensor, ...]] = []

    def forward(self, *inputs):
        self.calls.append(inputs)
        return self.denoiser(*inputs)

    def see_states(self, *states_and_levels):
        self.seen = states_and_levels
        return self.denoiser.see_states(*states_and_levels)

    def clean_actions(self, seen, actions, levels):
        self.calls.append((self.seen[0], actions, self.seen[1], levels))
        return self.denoiser.clean_actions(seen, actions, levels)


@pytest.fixture
def history(windows):
    rows = windows.sample("train", 3, np.random.default_rng(1))
    return frames_from_rows(rows, windows.columns).time(slice(0, CURRENT + 1))


@pytest.fixture
def watched(policy):
    policy.denoiser = Watched(policy.denoiser)
    return policy


def sampler(policy, **config) -> PlanFirstSampler:
    noise = gaussian(torch.Generator().manual_seed(0))
    return PlanFirstSampler(policy, noise, PlanningConfig(**config))


def test_levels_of_states_fall_before_those_of_actions(watched, history) -> None:
    table = state_table(WINDOW, STEPS, 3, start=15, fresh=1)
    assert table.states[:, 0].tolist() == [15, 10, 5, 0]
    assert table.states[:, -1].tolist() == [20, 13, 7, 0]
    planner = sampler(watched, state_calls=3, start_level=15, action_calls=2)
    planner.plan(history)
    watched.denoiser.calls.clear()
    plan = planner.plan(history)
    levels = [(int(call[2][0, CURRENT + 1]), call[3][0].tolist()) for call in watched.denoiser.calls]
    acting = [[20] * (CURRENT + 1), [10] * (CURRENT + 1)]
    assert levels == [(15, []), (10, []), (5, []), (0, acting[0]), (0, acting[1])]
    assert plan.calls == 5


def test_no_action_takes_part_until_the_states_are_planned(watched, history) -> None:
    plan = sampler(watched, state_calls=3, action_calls=1).plan(history)
    calls = watched.denoiser.calls
    assert [actions.shape[1] for _, actions, _, _ in calls] == [0, 0, 0, CURRENT + 1]
    states, _, state_levels, action_levels = calls[-1]
    assert (state_levels == 0).all()
    assert (action_levels == STEPS).all()
    torch.testing.assert_close(watched.decode_states(states), plan.features, atol=1e-5, rtol=1e-5)


def test_the_action_is_told_from_the_guided_plan(policy, history) -> None:
    """Guidance moves the plan, and with it the action: the same network on the guided states gives it."""

    def fast(prediction: Prediction) -> torch.Tensor:
        return 0.5 * (prediction.field("root_lin_vel")[..., 0] - 1.0).square().sum(1)

    free = sampler(policy, action_calls=1).plan(history)
    guided = sampler(policy, action_calls=1).plan(history, Guidance(fast, scale=1.0))
    speed = policy.representation.slices["root_lin_vel"].start
    assert (
        guided.features[:, CURRENT + 1 :, speed] > free.features[:, CURRENT + 1 :, speed]
    ).float().mean() > 0.9
    assert not torch.equal(guided.actions, free.actions)
    noise = gaussian(torch.Generator().manual_seed(0))
    noise((3, WINDOW, policy.emphasis.dim_out))
    noisy = noise((3, CURRENT + 1, 29))
    levels = torch.zeros(3, WINDOW, dtype=torch.long)
    with torch.no_grad():
        _, clean = policy.denoiser(
            policy.constrain_states(guided.features), noisy, levels, torch.full((3, CURRENT + 1), STEPS)
        )
    torch.testing.assert_close(
        guided.actions, policy.decode_actions(clean.clamp(-1, 1)), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("execute", [1, 3])
def test_a_later_plan_starts_from_the_last_one_moved_on(watched, history, execute) -> None:
    planner = sampler(watched, execute=execute, start_level=1, state_calls=1)
    first = planner.plan(history)
    watched.denoiser.calls.clear()
    planner.plan(history)
    started = watched.denoiser.calls[0][0]
    moved = watched.representation.rebase(first.features, first.frame, character_frame(history, CURRENT))
    expected = watched.encode_states(moved[:, execute:])
    deviation = (1 - watched.schedule.alpha_bar[1]).sqrt()
    kept = slice(CURRENT + 1, WINDOW - execute)
    error = started[:, kept] - watched.schedule.alpha_bar[1].sqrt() * expected[:, kept]
    assert float(error.std()) == pytest.approx(float(deviation), rel=0.1)
    assert float(started[:, -execute:].std()) == pytest.approx(1.0, rel=0.1)
    planner.reset()
    watched.denoiser.calls.clear()
    planner.plan(history)
    assert (watched.denoiser.calls[0][2][:, CURRENT + 1 :] == STEPS).all()


def test_forgotten_robots_begin_anew_and_the_others_plans_stay_bit_identical(watched, history) -> None:
    def second(forgotten: list[int]):
        planner = sampler(watched)
        planner.plan(history)
        planner.forget(forgotten)
        watched.denoiser.calls.clear()
        return planner, planner.plan(history), list(watched.denoiser.calls)

    _, kept, calls = second([])
    planner, plan, anew = second([1])
    others = torch.tensor([0, 2])
    assert torch.equal(plan.features[others], kept.features[others])
    assert torch.equal(plan.actions[others], kept.actions[others])
    assert plan.calls == kept.calls
    # What a first plan starts from: noise alone, at the top level.
    first = sampler(watched)
    watched.denoiser.calls.clear()
    first.plan(history)
    for before, after, begun in zip(calls, anew, watched.denoiser.calls, strict=True):
        assert torch.equal(after[2][others], before[2][others])
        assert torch.equal(after[2][1], begun[2][1])
        assert torch.equal(after[3], before[3])
    assert (anew[0][2][1, CURRENT + 1 :] == STEPS).all()
    started = anew[0][0][1, CURRENT + 1 :]
    assert float(started.std()) == pytest.approx(1.0, rel=0.1)
    watched.denoiser.calls.clear()
    planner.plan(history)
    assert (watched.denoiser.calls[0][2][1] == watched.denoiser.calls[0][2][0]).all()


def test_so_many_actions_are_planned_as_are_executed(policy, history) -> None:
    assert sampler(policy, execute=4).plan(history).actions.shape == (3, CURRENT + 4, 29)


@pytest.mark.parametrize(
    ("field", "value"),
    [("start_level", 21), ("state_calls", 0), ("action_calls", 21), ("execute", 10)],
)
def test_an_impossible_level_is_named(policy, field, value) -> None:
    with pytest.raises(ConfigError, match=f"planning.{field}"):
        sampler(policy, **{field: value})


def test_bfloat16_plans_nearly_the_same_and_leaves_the_policy_as_it_was(policy, history) -> None:
    exact = sampler(policy).plan(history)
    coarse = sampler(policy.in_precision("bfloat16", 1)).plan(history)
    assert coarse.actions.dtype == torch.float32
    difference = float((coarse.actions - exact.actions).abs().max())
    assert 0 < difference < 0.05 * float(exact.actions.abs().max())
    assert torch.equal(sampler(policy).plan(history).actions, exact.actions)


def test_bfloat16_is_for_many_robots_where_there_are_units_for_it(policy, monkeypatch) -> None:
    for units in ("amx_bf16", "avx512_bf16", None):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda units=units: {units: True})
        assert policy.in_precision("auto", 100).plans_in_bfloat16 == (units is not None)
        assert not policy.in_precision("auto", 1).plans_in_bfloat16
        assert not policy.in_precision("float32", 100).plans_in_bfloat16
