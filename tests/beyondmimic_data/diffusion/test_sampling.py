import numpy as np
import pytest
import torch

from beyondmimic_data.diffusion.frames import frames_from_rows
from beyondmimic_data.diffusion.representation import CharacterFrame
from beyondmimic_data.diffusion.rolling import RollingSampler, first_table, rolling_table, trim
from beyondmimic_data.diffusion.sampler import (
    Cost,
    FullSampler,
    Guidance,
    Keyframes,
    Prediction,
    Window,
    denoise,
    full_table,
    gaussian,
)

WINDOW, CURRENT, STEPS = 21, 4, 20
SPREAD, RANGE = 0.3, 2.0


class GaussianDenoiser(torch.nn.Module):
    """The exact denoiser of independent tokens with mean m and deviation s."""

    def __init__(self, policy, mean: float, std: float) -> None:
        super().__init__()
        self.policy, self.mean, self.std = policy, mean, std
        self.position = policy.denoiser.position
        self.calls = 0

    def _clean(self, noisy: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        signal = self.policy.schedule.alpha_bar[levels][..., None]
        gain = signal.sqrt() * self.std**2 / (signal * self.std**2 + 1 - signal)
        return self.mean + gain * (noisy - signal.sqrt() * self.mean)

    def forward(self, states, actions, state_levels, action_levels):
        self.calls += 1
        return self._clean(states, state_levels), self._clean(actions, action_levels)

    def see_states(self, states, state_levels):
        return None

    def clean_actions(self, seen, actions, action_levels):
        self.calls += 1
        return self._clean(actions, action_levels)


def spread_of_ddpm(policy) -> list[float]:
    """Deviation of a Gaussian token at each level of a loop that starts from noise, by linear recursion.

    The small posterior variance of the method loses some of it over twenty steps.
    """
    bar = policy.schedule.alpha_bar.double().tolist()
    variance = [1.0]
    for k in range(STEPS, 0, -1):
        gain = bar[k] ** 0.5 * SPREAD**2 / (bar[k] * SPREAD**2 + 1 - bar[k])
        ratio = bar[k] / bar[k - 1]
        on_clean = bar[k - 1] ** 0.5 * (1 - ratio) / (1 - bar[k])
        on_noisy = ratio**0.5 * (1 - bar[k - 1]) / (1 - bar[k])
        noise = (1 - ratio) * (1 - bar[k - 1]) / (1 - bar[k])
        variance.append((on_clean * gain + on_noisy) ** 2 * variance[-1] + noise)
    return [v**0.5 for v in reversed(variance)]


@pytest.fixture
def gaussian_policy(make_policy):
    """A policy without projection whose world is one Gaussian; features are normalised by RANGE."""
    policy = make_policy(emphasis=0.0, representation="joint_rot")
    policy.state_normaliser.fit(-RANGE * torch.ones(70), RANGE * torch.ones(70))
    policy.denoiser = GaussianDenoiser(policy, mean=0.1, std=SPREAD)
    return policy


@pytest.fixture
def history(windows):
    rows = windows.sample("train", 3, np.random.default_rng(1))
    return frames_from_rows(rows, windows.columns).time(slice(0, CURRENT + 1))


def repeat(history, count: int):
    return history.select(torch.zeros(count, dtype=torch.long))


def source(seed: int = 0):
    return gaussian(torch.Generator().manual_seed(seed))


def test_sampling_reproduces_the_distribution(gaussian_policy, history) -> None:
    plan = FullSampler(gaussian_policy, source()).plan(repeat(history, 400))
    future = plan.features[:, CURRENT + 1 :] / RANGE
    assert float(future.mean()) == pytest.approx(0.1, abs=0.01)
    assert float(future.std()) == pytest.approx(spread_of_ddpm(gaussian_policy)[0], rel=0.02)
    assert float(plan.actions.mean()) == pytest.approx(0.1, abs=0.01)
    assert plan.calls == STEPS


def test_history_stands_in_the_plan_unchanged(gaussian_policy, history) -> None:
    plan = FullSampler(gaussian_policy, source()).plan(history)
    observed = gaussian_policy.representation.encode(history, CURRENT)
    torch.testing.assert_close(
        plan.features[:, : CURRENT + 1], observed.clamp(-RANGE, RANGE), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("sampler", [FullSampler, RollingSampler])
def test_equal_noise_gives_equal_plans(sampler, policy, history) -> None:
    first, second, other = sampler(policy, source(1)), sampler(policy, source(1)), sampler(policy, source(2))
    for _ in range(2):
        a, b, c = first.plan(history), second.plan(history), other.plan(history)
        assert torch.equal(a.actions, b.actions)
        assert torch.equal(a.features, b.features)
        assert not torch.equal(a.actions, c.actions)


def test_dropping_later_actions_changes_nothing_but_the_noise_drawn(policy, history) -> None:
    """With the same numbers for the tokens that both have, the executed action is the same."""
    states = torch.randn(3, WINDOW, 384, generator=torch.Generator().manual_seed(0))
    actions = torch.randn(3, WINDOW, 29, generator=torch.Generator().manual_seed(1))

    def zeros(shape: tuple[int, ...]) -> torch.Tensor:
        return torch.zeros(shape)

    plans = [
        denoise(
            policy,
            Window(states.clone(), actions[:, :n].clone()),
            full_table(WINDOW, STEPS, n),
            history,
            zeros,
        )
        for n in (CURRENT + 1, WINDOW)
    ]
    torch.testing.assert_close(
        plans[0].actions[:, CURRENT], plans[1].actions[:, CURRENT], atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(plans[0].features, plans[1].features, atol=1e-5, rtol=1e-5)


def speed_cost(target: float):
    def cost(prediction: Prediction) -> torch.Tensor:
        return 0.5 * (prediction.field("root_lin_vel")[..., 0] - target).square().sum(1)

    return cost


def test_guidance_drives_a_gaussian_world_to_the_goal(gaussian_policy, history) -> None:
    """Forward speed is 0.2 m/s unguided; towards 0.8 it gets closer with the scale, the rest stays."""
    batch = repeat(history, 100)
    layout = gaussian_policy.representation.slices
    speeds = []
    for scale in (0.0, 0.5, 1.0, 2.0, 4.0):
        guidance = Guidance(speed_cost(0.8), scale=scale)
        plan = FullSampler(gaussian_policy, source()).plan(batch, guidance)
        velocity = plan.features[:, CURRENT + 1 :, layout["root_lin_vel"]].mean((0, 1))
        speeds.append(float(velocity[0]))
        assert float(velocity[1]) == pytest.approx(0.2, abs=0.03)
    assert speeds[0] == pytest.approx(0.2, abs=0.03)
    assert speeds == sorted(speeds)
    # The guidance fades with the noise, so the last, clean steps pull back towards the data.
    assert 0.7 < speeds[-1] <= 0.82


def test_guided_gradient_is_bounded(gaussian_policy, history) -> None:
    def violent(prediction: Prediction) -> torch.Tensor:
        return 1e9 * prediction.field("root_lin_vel")[..., 0].sum(1)

    plan = FullSampler(gaussian_policy, source()).plan(history, Guidance(violent))
    assert torch.isfinite(plan.features).all()
    assert plan.features[:, CURRENT + 1 :].abs().max() <= RANGE + 1e-4


def test_guidance_stops_where_it_is_told_to(policy, history) -> None:
    """Levels above ``until_level`` are guided: at 20 none is, at 19 the first call alone."""

    def counting(calls: list[int]) -> Cost:
        def cost(prediction: Prediction) -> torch.Tensor:
            calls.append(1)
            return prediction.features.square().sum((1, 2))

        return cost

    steps, called = policy.config.denoise_steps, {}
    for until in (0, 5, steps - 1, steps):
        calls: list[int] = []
        FullSampler(policy, source()).plan(history, Guidance(counting(calls), until_level=until))
        called[until] = len(calls)
    assert called == {0: steps, 5: steps - 5, steps - 1: 1, steps: 0}


def test_settings_of_each_robot_s_own_are_those_of_robots_sampled_alone(policy, history) -> None:
    scale, bound = torch.tensor([0.5, 2.0, 8.0]), torch.tensor([0.2, 1.0, 3.0])
    robots = repeat(history, 3)

    def plan(rows: slice, scale, bound):
        """Sample some robots with the noise that each of them has among all."""
        draw = source(3)
        noise = lambda shape: draw((3, *shape[1:]))[rows]  # noqa: E731
        guidance = Guidance(speed_cost(3.0), scale=scale, max_norm=bound)
        return FullSampler(policy, noise).plan(robots.select(rows), guidance)

    together = plan(slice(None), scale, bound)
    for i in range(3):
        alone = plan(slice(i, i + 1), float(scale[i]), float(bound[i]))
        torch.testing.assert_close(together.features[i], alone.features[0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(together.actions[i], alone.actions[0], atol=1e-4, rtol=1e-4)
    assert (together.features[0] - together.features[2]).abs().max() > 0.05


def test_keyframes_stand_clean_in_every_call(gaussian_policy, history) -> None:
    mask = torch.zeros(3, WINDOW, dtype=torch.bool)
    mask[:, 14] = True
    states = torch.full((3, WINDOW, 70), 0.42)
    seen = []

    def observer(window: Window, state_levels: torch.Tensor, action_levels: torch.Tensor) -> None:
        seen.append(window.states[:, 14].clone())

    table = full_table(WINDOW, STEPS, CURRENT + 1)
    window = Window(torch.randn(3, WINDOW, 70), torch.randn(3, CURRENT + 1, 29))
    plan = denoise(
        gaussian_policy,
        window,
        table,
        history,
        source(),
        keyframes=Keyframes(mask, states),
        observer=observer,
    )
    assert len(seen) == STEPS + 1
    assert all(torch.equal(x, states[:, 14]) for x in seen)
    torch.testing.assert_close(plan.features[:, 14], torch.full((3, 70), 0.42 * RANGE))


def t_rows(levels: torch.Tensor) -> list[list[int]]:
    """Return rows of t as the published tables count: one below the level that a call starts from."""
    return (levels[:-1] - 1).clamp_min(0).tolist()


def test_first_call_table_is_the_published_one() -> None:
    table = first_table(WINDOW, CURRENT, STEPS)
    states, actions = t_rows(table.states), t_rows(table.actions)
    assert table.calls == 20
    assert states[0] == [19] * 21
    assert states[-1] == [0] * 21
    assert actions[0] == [19] * 21
    assert actions[-1] == [0, 0, 0, 0, *range(17)]


def test_later_call_table_is_the_published_one() -> None:
    table = rolling_table(WINDOW, CURRENT, STEPS)
    states, actions = t_rows(table.states), t_rows(table.actions)
    assert table.calls == 15
    assert states[0] == [14] * 20 + [19]
    assert states[-1] == [0] * 20 + [10]
    assert actions[0] == [11] * 5 + [12, 13, 14, 15, 16, 17, 18] + [19] * 9
    assert actions[11] == [0, 0, 0, 0, *range(17)]
    # Twelve calls bring the current action to clean; then all actions are held.
    assert table.actions[12][CURRENT] == 0
    assert all(torch.equal(row, table.actions[12]) for row in table.actions[12:])


@pytest.mark.parametrize("steps", [5, 10, 20, 50])
def test_tables_fall_by_at_most_one_level_and_leave_the_current_action_clean(steps) -> None:
    for table in (first_table(WINDOW, CURRENT, steps), rolling_table(WINDOW, CURRENT, steps)):
        for rows in (table.states, table.actions):
            falls = -rows.diff(dim=0)
            assert falls.min() >= 0
            assert falls.max() <= 1
            assert rows[0].max() == steps
        assert (table.actions[-1][: CURRENT + 1] == 0).all()
        assert (table.states[-1][:-1] == 0).all()


def test_rolling_picks_tokens_up_at_the_level_they_were_kept_at(gaussian_policy, history) -> None:
    """Every token of a later call's start has the spread that its level asks for."""
    batch = repeat(history, 300)
    sampler = RollingSampler(gaussian_policy, source())
    table = sampler.later
    for _ in range(3):
        sampler.plan(batch)
        assert sampler._kept is not None
        keeper, last = sampler._kept
        start = keeper.shifted(gaussian_policy, last, last.frame, source(5))
        for tokens, levels in ((start.states, table.states[0]), (start.actions, table.actions[0])):
            expected = torch.tensor(spread_of_ddpm(gaussian_policy))[levels]
            spread = tokens[:, CURRENT + 1 :].std((0, 2))
            torch.testing.assert_close(spread, expected[CURRENT + 1 :], rtol=0.05, atol=0)


def test_rolling_costs_twelve_calls_after_the_first(gaussian_policy, history) -> None:
    sampler = RollingSampler(gaussian_policy, source())
    counts = []
    for _ in range(3):
        before = gaussian_policy.denoiser.calls
        sampler.plan(history)
        counts.append(gaussian_policy.denoiser.calls - before)
    assert counts == [20, 12, 12]
    sampler.reset()
    sampler.plan(history)
    assert gaussian_policy.denoiser.calls == 20 + 12 + 12 + 20


def test_what_trimming_leaves_out_does_not_reach_the_robot(policy, history) -> None:
    """Three plans with and without the calls and tokens that cannot matter, with equal noise a token."""
    base = {d: torch.randn(3, WINDOW, d, generator=torch.Generator().manual_seed(d)) for d in (384, 29)}

    def noise(shape: tuple[int, ...]) -> torch.Tensor:
        return base[shape[2]][:, : shape[1]]

    trimmed, whole = RollingSampler(policy, noise), RollingSampler(policy, noise)
    whole.first = first_table(WINDOW, CURRENT, STEPS)
    whole.later = rolling_table(WINDOW, CURRENT, STEPS)
    assert sum(trimmed.later.counts) < 0.3 * sum(whole.later.counts)
    for _ in range(3):
        a, b = trimmed.plan(history), whole.plan(history)
        torch.testing.assert_close(a.actions[:, CURRENT], b.actions[:, CURRENT], atol=1e-5, rtol=1e-5)
        assert a.calls <= b.calls


def test_kept_tokens_move_with_the_character_frame(gaussian_policy, history) -> None:
    """A step of 0.3 m ahead takes 0.3 m of signal from the kept base positions, at their level's share."""
    sampler = RollingSampler(gaussian_policy, source())
    plan = sampler.plan(history)
    assert sampler._kept is not None
    keeper, last = sampler._kept
    heading = torch.stack([torch.cos(last.frame.yaw), torch.sin(last.frame.yaw)], -1)
    ahead = CharacterFrame(last.frame.xy + 0.3 * heading, last.frame.yaw)
    still = keeper.shifted(gaussian_policy, plan, last.frame, source(5))
    moved = keeper.shifted(gaussian_policy, plan, ahead, source(5))
    difference = (moved.states - still.states)[:, :-1]
    x = gaussian_policy.representation.slices["root_pos"].start
    share = gaussian_policy.schedule.alpha_bar[sampler.later.states[0][:-1]].sqrt()
    torch.testing.assert_close(difference[..., x], (-0.3 / RANGE * share).expand(3, -1), atol=1e-5, rtol=0)
    others = [i for i in range(70) if i != x]
    assert difference[..., others].abs().max() < 1e-5


@pytest.mark.parametrize("steps", [5, 10, 20, 50])
def test_trimmed_tables_still_finish_the_executed_action(steps) -> None:
    later = rolling_table(WINDOW, CURRENT, steps)
    for table in (first_table(WINDOW, CURRENT, steps), later):
        short = trim(table, later, CURRENT)
        assert short.actions[short.calls][CURRENT] == 0
        assert min(short.counts) >= 1


def test_rolling_reproduces_the_distribution(gaussian_policy, history) -> None:
    sampler = RollingSampler(gaussian_policy, source())
    sampler.first = first_table(WINDOW, CURRENT, STEPS)
    sampler.later = rolling_table(WINDOW, CURRENT, STEPS)
    for _ in range(25):
        plan = sampler.plan(repeat(history, 100))
    future = plan.features[:, CURRENT + 1 : -1] / RANGE
    action = plan.actions[:, CURRENT]
    assert float(future.mean()) == pytest.approx(0.1, abs=0.02)
    assert float(future.std()) == pytest.approx(spread_of_ddpm(gaussian_policy)[0], rel=0.05)
    assert float(action.mean()) == pytest.approx(0.1, abs=0.02)
    assert float(action.std()) == pytest.approx(spread_of_ddpm(gaussian_policy)[0], rel=0.05)
