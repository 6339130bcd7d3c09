"""Units of collection: pure functions of their number, with the bookkeeping that a dataset relies on."""

import dataclasses

import numpy as np
import pytest
import torch

from beyondmimic_data.config import NOISE_KINDS, Preset, RolloutConfig, get_preset
from beyondmimic_data.errors import ConfigError
from beyondmimic_data.motions.clip import Clip, clip_from_qpos
from beyondmimic_data.robots import g1
from beyondmimic_data.rollouts.collect import (
    ROW_SLICES,
    ROW_WIDTH,
    Unit,
    UnitCollector,
    UnitRun,
    units_for_hours,
    usable_ranges,
)
from beyondmimic_data.rollouts.noise import ActionNoise, EpisodeNoise, joint_noise_std
from beyondmimic_data.tracking.policy import NORMALISER_EPS, TrackingPolicy


@pytest.fixture(scope="module")
def clip() -> Clip:
    qpos = np.tile(g1.default_qpos(), (201, 1))
    qpos[:, 2] = 0.785
    return clip_from_qpos("stand", qpos, 50, 50)


@pytest.fixture(scope="module")
def preset() -> Preset:
    base = get_preset("test")
    rollouts = RolloutConfig(
        num_envs=6, chunk_steps=600, drop_before_fall_seconds=0.2, min_episode_seconds=1.0
    )
    return dataclasses.replace(base, rollouts=rollouts)


@pytest.fixture(scope="module")
def unit(teacher, clip, preset):
    return UnitCollector(teacher, [clip], preset, "stand", 40.0).collect(3)


def test_columns_are_the_stores():
    assert ROW_WIDTH == 342


def same(a: Unit, b: Unit) -> bool:
    return b"".join(map(bytes, a.pieces)) == b"".join(map(bytes, b.pieces))


def test_a_unit_is_a_pure_function_of_its_number(teacher, clip, preset, unit):
    collector = UnitCollector(teacher, [clip], preset, "stand", 40.0)
    other = collector.collect(4)
    again = collector.collect(3)
    assert same(again, unit)
    assert again.episodes == unit.episodes
    assert not same(other, unit)


def test_episodes_tile_the_rows_in_order(unit, preset):
    assert unit.episodes
    ends = [0]
    for episode in unit.episodes:
        assert episode["start_row"] == ends[-1]
        assert episode["length"] >= 50
        ends.append(episode["start_row"] + episode["length"])
    assert ends[-1] == unit.kept_steps <= preset.rollouts.chunk_steps
    ids = [e["episode_id"] for e in unit.episodes]
    assert len(set(ids)) == len(ids)
    assert ids == sorted(ids)


def test_rows_hold_states_and_both_actions(unit, clip):
    rows = np.concatenate(unit.pieces)
    assert np.isfinite(rows).all()
    np.testing.assert_allclose(rows[:, ROW_SLICES["root_pos_w"]], rows[:, ROW_SLICES["body_pos_w"]][:, :3])
    np.testing.assert_allclose(np.linalg.norm(rows[:, ROW_SLICES["root_quat_w"]], axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(rows[:, ROW_SLICES["action_clean"]], 0)
    noise = rows[:, ROW_SLICES["action_cmd"]].std(0)
    np.testing.assert_allclose(noise, joint_noise_std(RolloutConfig()).numpy(), rtol=0.25)
    for episode in unit.episodes:
        phase = rows[episode["start_row"] : episode["start_row"] + episode["length"], ROW_SLICES["phase"]][
            :, 0
        ]
        np.testing.assert_allclose(
            phase * (clip.num_frames - 1), episode["start_frame"] + np.arange(len(phase)), atol=1e-3
        )


def test_a_fall_takes_its_last_steps_with_it(unit):
    falls = [e for e in unit.episodes[:-1] if e["termination"].startswith("fall")]
    assert falls
    assert all(e["length"] == e["raw_length"] - 10 for e in falls)


def test_every_parameter_is_recorded_and_latency_stays_usable(unit):
    for episode in unit.episodes:
        assert 0 <= episode["latency_ms"] <= 40
        assert 0.5 <= episode["friction"] <= 2.0
        assert len(episode["mass_scale"]) == 30
        assert len(episode["joint_offset"]) == 29
        assert len(episode["com_offset"]) == 3
        assert 0.9 <= episode["stiffness_scale"] <= 1.1
        assert len(episode["push_seconds"]) == episode["pushes"]
        assert len(episode["push_velocity"]) == 6 * episode["pushes"]
    assert len({e["friction"] for e in unit.episodes}) == len(unit.episodes)


def test_a_recorded_push_is_in_the_states(teacher, clip, preset):
    hard = dataclasses.replace(preset.randomisation, push_interval=(0.5, 0.5), push_linear=(3.0, 3.0, 0.0))
    # Nobody stands for long after such a push: all of an episode is kept.
    rollouts = dataclasses.replace(preset.rollouts, drop_before_fall_seconds=0.0, min_episode_seconds=0.5)
    pushed = dataclasses.replace(preset, randomisation=hard, rollouts=rollouts)
    unit = UnitCollector(teacher, [clip], pushed, "stand", 0.0).collect(0)
    episode = next(e for e in unit.episodes if e["pushes"] and e["push_seconds"][0] * 50 + 1 < e["length"])
    row = episode["start_row"] + round(episode["push_seconds"][0] * 50)
    speed = np.concatenate(unit.pieces)[:, ROW_SLICES["root_lin_vel_w"]]
    np.testing.assert_allclose(speed[row + 1, :2] - speed[row, :2], episode["push_velocity"][:2], atol=0.8)


def test_usable_latency_is_cut_and_never_empty(preset):
    assert usable_ranges(preset.randomisation, 20.0).latency_ms == (0.0, 20.0)
    assert usable_ranges(preset.randomisation, 500.0).latency_ms == preset.randomisation.latency_ms
    assert usable_ranges(preset.randomisation, -1.0).latency_ms == (0.0, 0.0)


def test_units_hold_the_hours_though_each_ends_a_little_early(preset):
    surely_kept = preset.rollouts.chunk_steps - 49
    assert units_for_hours(1.0, preset) == int(np.ceil(3600 * 50 / surely_kept))
    assert units_for_hours(1e-6, preset) == 1


def test_a_unit_is_full_and_starts_no_episode_in_vain(unit, preset):
    assert preset.rollouts.chunk_steps - unit.kept_steps < 50
    recorded = sum(e["raw_length"] for e in unit.episodes)
    assert recorded <= unit.simulated_steps
    assert unit.rejected > 0 or recorded == unit.simulated_steps


def one_kind(kind: str) -> RolloutConfig:
    """Return a configuration whose episodes all have one kind of noise."""
    return RolloutConfig(noise_shares=tuple(float(kind == k) for k in NOISE_KINDS))  # type: ignore[arg-type]


def noise_of(config: RolloutConfig, num_envs: int) -> ActionNoise:
    """Return the noise of environments whose episodes were drawn from a configuration."""
    rng, noise = np.random.default_rng(0), ActionNoise(config, num_envs, seed=0)
    noise.reset(np.arange(num_envs), [EpisodeNoise.draw(config, rng) for _ in range(num_envs)])
    return noise


def test_coloured_noise_has_the_published_memory():
    noise = noise_of(one_kind("ou"), 400)
    series = torch.stack([noise.sample() for _ in range(60)])[10:]
    assert float(series.std()) == pytest.approx(0.102, abs=0.003)
    lag = (series[1:] * series[:-1]).mean() / series.square().mean()
    assert float(lag) == pytest.approx(0.2, abs=0.02)


def test_no_noise_is_silence():
    assert float(noise_of(one_kind("none"), 3).sample().abs().max()) == 0.0


def test_kinds_of_noise_come_in_their_shares_and_sizes_in_their_range():
    config = RolloutConfig(noise_shares=(1.0, 2.0, 1.0), noise_scale=(0.5, 1.5))
    rng = np.random.default_rng(0)
    drawn = [EpisodeNoise.draw(config, rng) for _ in range(4000)]
    shares = [np.mean([e.kind == kind for e in drawn]) for kind in NOISE_KINDS]
    np.testing.assert_allclose(shares, [0.25, 0.5, 0.25], atol=0.03)
    assert {e.scale for e in drawn if e.kind == "none"} == {0.0}
    scales = np.array([e.scale for e in drawn if e.kind == "white"])
    assert 0.5 <= scales.min() < 0.52
    assert 1.48 < scales.max() <= 1.5


def test_an_environment_keeps_the_noise_of_its_own_episode():
    noise = ActionNoise(RolloutConfig(), 3, seed=0)
    noise.reset(
        np.arange(3), [EpisodeNoise("white", 2.0), EpisodeNoise("none", 0.0), EpisodeNoise("ou", 1.0)]
    )
    noise.reset(np.array([0]), [EpisodeNoise("white", 1.0)])
    samples = torch.stack([noise.sample() for _ in range(2000)])
    std = joint_noise_std(RolloutConfig())
    np.testing.assert_allclose(samples[:, 0].std(0).numpy(), std.numpy(), rtol=0.1)
    assert float(samples[:, 1].abs().max()) == 0.0
    assert float(samples[:, 2].std()) == pytest.approx(0.102, rel=0.05)


def test_shares_of_noise_that_are_none_are_refused():
    with pytest.raises(ConfigError, match="noise_shares"):
        RolloutConfig(noise_shares=(0.0, 0.0, 0.0))


def test_the_noise_free_label_is_what_the_policy_asks_for_without_noise(clip, preset):
    """A policy that returns a joint's observed position: the label is exact, the noisy output is not."""
    policy = TrackingPolicy(160, 29, (1,))
    with torch.no_grad():
        for layer in (policy.mlp[0], policy.mlp[-1]):
            layer.weight.zero_()
            layer.bias.zero_()
        # Command 58, anchor position 3 and orientation 6, base velocities 6: then joint positions. Shifted to
        # where ELU is the identity, and back.
        policy.mlp[0].weight[0, 73] = 1.0 + NORMALISER_EPS
        policy.mlp[0].bias[0] = 10.0
        policy.mlp[-1].weight[0, 0] = 1.0
        policy.mlp[-1].bias[0] = -10.0
    unit = UnitCollector(policy.eval(), [clip], preset, "stand", 40.0).collect(0)
    rows = np.concatenate(unit.pieces)
    offset = np.concatenate([[e["joint_offset"][0]] * e["length"] for e in unit.episodes])
    observed = rows[:, ROW_SLICES["joint_pos"]][:, 0] - g1.default_qpos()[7] - offset
    exact, noisy = (rows[:, ROW_SLICES[name]][:, 0] for name in ("action_noise_free", "action_clean"))
    np.testing.assert_allclose(exact, observed, atol=1e-4)
    residual = noisy - exact
    assert 0.004 < residual.std() < 0.008
    assert np.abs(residual).max() <= 0.0101


def test_episodes_that_begin_together_may_be_as_long(teacher, preset):
    qpos = np.tile(g1.default_qpos(), (2001, 1))
    long = clip_from_qpos("stand", qpos, 50, 50)
    run = UnitRun(UnitCollector(teacher, [long], preset, "stand", 0.0), 0)
    run._start(np.arange(run.n))
    steps = [episode.start.steps for episode in run.running if episode is not None]
    assert max(steps) <= preset.rollouts.chunk_steps // run.n
    assert len(steps) == run.n
