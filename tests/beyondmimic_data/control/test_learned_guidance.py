import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from beyondmimic_data.config import GuidanceConfig, LearnedGuidanceConfig, get_preset
from beyondmimic_data.control.closed_loop import ClosedLoop, Steering
from beyondmimic_data.control.learned_guidance import comparison
from beyondmimic_data.control.learned_guidance.environment import FALL_PENALTY, GuidanceEnv, reward
from beyondmimic_data.control.learned_guidance.observation import (
    FEATURES,
    GuidanceObserver,
    found_velocity,
)
from beyondmimic_data.control.learned_guidance.policy import Bounds, GuidancePolicy, LearnedGuidance
from beyondmimic_data.control.learned_guidance.training import train_guidance
from beyondmimic_data.control.pilot import CommandTrack, JoystickPilot
from beyondmimic_data.control.protocols import PROTOCOLS, get_protocol
from beyondmimic_data.control.settings import SETTINGS, GuidanceSettings
from beyondmimic_data.diffusion.windows import RecordedWindows
from beyondmimic_data.errors import ConfigError, StoreError
from beyondmimic_data.tracking.policy import TrackingPolicy

HZ = 50.0
LIMITS = (1.1, 0.7, 0.7, 1.1)
TINY = LearnedGuidanceConfig(
    num_envs=3, hold=2, steps_per_env=2, max_iterations=2, mini_batches=2, learning_epochs=1, hidden_dims=(8,)
)
PRESET = get_preset("test")


@pytest.fixture
def history(setting):
    return setting(3).windows.time(slice(0, 5))


@pytest.fixture
def guidance() -> GuidancePolicy:
    torch.manual_seed(0)
    actor = TrackingPolicy(len(FEATURES), len(SETTINGS), (8, 8)).eval()
    actor.mean.uniform_(-1, 1)
    return GuidancePolicy(actor, Bounds.around(GuidanceConfig(), LIMITS), hold=3, control_hz=HZ)


@pytest.fixture
def env(policy, policy_folder) -> GuidanceEnv:
    return GuidanceEnv(policy, RecordedWindows.load(policy_folder), PRESET, TINY, num_threads=1)


WIDE = GuidanceConfig(
    acceleration=1e3, turn_acceleration=1e3, forward=(-9.0, 9.0), sideways=(-9.0, 9.0), turn=(-9.0, 9.0)
)
"""Commands are asked for at once and without a bound."""


def pilot(n: int, config: GuidanceConfig = WIDE) -> JoystickPilot:
    velocity = torch.tensor([[0.5, 0.1], [-0.3, 0.0], [0.2, -0.2]])[:n]
    return JoystickPilot(CommandTrack(velocity[None], torch.tensor([[0.4, 0.0, -0.8]])[:, :n]), config, HZ)


def test_action_0_is_exactly_the_fixed_guidance(policy, history) -> None:
    settings = Bounds.around(GuidanceConfig(), LIMITS).settings(torch.zeros(3, 4))
    fixed = GuidanceSettings.of(GuidanceConfig())
    for name in SETTINGS:
        assert getattr(settings, name).tolist() == [getattr(fixed, name)] * 3
    steering = pilot(3).steer(0, history)
    plans = []
    for chosen in (steering.guidance, steering.adjusted(settings)):
        loop = ClosedLoop(policy, history, PRESET.control, num_threads=1)
        loop.step(Steering(chosen), None)
        loop.step(Steering(chosen), None)
        plans.append(loop.plan)
    assert torch.equal(plans[0].features, plans[1].features)
    assert torch.equal(plans[0].actions, plans[1].actions)


def test_settings_stay_within_their_bounds_and_are_in_the_middle_of_their_logarithms() -> None:
    bounds = Bounds((6.0, 2.0, 2.0, 3.0), LIMITS)
    ends = [bounds.settings(torch.full((1, 4), a)) for a in (-50.0, 50.0)]
    for name, fixed, limit in zip(SETTINGS, bounds.fixed, LIMITS):
        low, high = (float(getattr(end, name)) for end in ends)
        assert (low, high) == pytest.approx((fixed * math.exp(-limit), fixed * math.exp(limit)))


def test_gains_act_on_the_command_and_not_on_what_feedback_adds(history) -> None:
    steering = pilot(3).steer(0, history)
    gains = torch.tensor([1.0, 2.0, 4.0])
    doubled = steering.adjusted(GuidanceSettings(6.0, gains, 2 * gains, 3.0)).cost
    fixed = steering.guidance.cost
    command = steering.command
    torch.testing.assert_close(doubled.velocity - fixed.velocity, (gains - 1.0)[:, None] * command[:, :2])
    torch.testing.assert_close(doubled.yaw_rate - fixed.yaw_rate, (2 * gains - 1.0) * command[:, 2])


def test_an_observation_has_every_feature_in_its_place(policy, history) -> None:
    loop = ClosedLoop(policy, history, PRESET.control, num_threads=1)
    observer = GuidanceObserver(3, HZ)
    command = torch.tensor([[0.5, 0.1, 0.4]]).expand(3, 3)
    found = found_velocity(loop.history)
    for _ in range(200):
        observer.look(command, loop.history)
    observer.last = torch.full((3, 4), 0.25)
    seen = observer.observe(loop)
    assert seen.shape == (3, len(FEATURES)) == (3, 20)
    torch.testing.assert_close(seen[:, :3], command)
    torch.testing.assert_close(seen[:, 3:6], found)
    torch.testing.assert_close(seen[:, 6:9], command - found, atol=1e-3, rtol=0)
    torch.testing.assert_close(seen[:, 9], loop.history.root_pos_w[:, -1, 2])
    torch.testing.assert_close(seen[:, 10:13].norm(dim=-1), torch.ones(3))
    assert (seen[:, 12] < -0.9).all()
    torch.testing.assert_close(seen[:, 13:16], found)  # before the first plan
    assert (seen[:, 16:] == 0.25).all()
    loop.step(Steering(), None)
    ahead = loop.plan.features[:, 5:, policy.representation.slices["root_lin_vel"]].mean(1)
    torch.testing.assert_close(observer.observe(loop)[:, 13:15], ahead[:, :2])
    observer.forget(torch.tensor([1]))
    assert (observer.observe(loop)[1, [6, 7, 8, 16, 17, 18, 19]] == 0).all()
    assert (observer.observe(loop)[[0, 2], 16:] == 0.25).all()


def test_a_reward_is_the_mean_error_until_a_fall_and_the_penalty_once() -> None:
    errors = torch.zeros(4, 3, 3)
    errors[:, 0] = torch.tensor([0.3, 0.4, -1.0])
    errors[:, 1, 0] = torch.tensor([0.1, 0.3, torch.nan, torch.nan])
    up = torch.ones(4, 3, dtype=torch.bool)
    up[2:, 1] = False
    up[:, 2] = False
    assert reward(errors, up).tolist() == pytest.approx([-0.8, -0.2 - FALL_PENALTY, -FALL_PENALTY])


def test_a_decision_holds_and_is_rewarded_for_what_the_robots_did(env, monkeypatch) -> None:
    """Robots that a test moves: the first obeys, the second stands still, the third falls."""
    scales = []

    def step(steering, push) -> float:
        scales.append(steering.guidance.scale)
        command, history = env._command, env.loop.history
        yaw = torch.atan2(*(2 * x for x in _sine_and_cosine(history.root_quat_w[:, -1])))
        wanted = command * torch.tensor([1.0, 0.0, 0.0])[:, None]
        c, s, (x, y, turn) = torch.cos(yaw), torch.sin(yaw), wanted.T
        linear = torch.stack([c * x - s * y, s * x + c * y, 0 * x], -1)
        angular = torch.stack([0 * x, 0 * x, turn], -1)
        env.loop.history = dataclasses.replace(
            history,
            root_lin_vel_w=linear[:, None].expand(-1, 5, -1),
            root_ang_vel_w=angular[:, None].expand(-1, 5, -1),
        )
        height = env.loop.state.body_pos_w.clone()
        height[2, :, 2] = -1.0
        env.loop.state = dataclasses.replace(env.loop.state, body_pos_w=height)
        return 0.0

    env._pilot.track = CommandTrack(torch.tensor([[[0.3, 0.4]] * 3] * 9), torch.tensor([[0.5] * 3] * 9))
    env._look()
    env.episode_length_buf[:] = 0
    monkeypatch.setattr(env.loop, "step", step)
    action = torch.tensor([[0.0] * 4, [1.0] * 4, [-1.0] * 4])
    observed, rewards, dones, extras = env.step(action)
    assert rewards.tolist() == pytest.approx([0.0, -0.5 - 0.3 * 0.5, -FALL_PENALTY], abs=1e-5)
    assert dones.tolist() == [0, 0, 1]
    assert not extras["time_outs"].any()
    assert len(scales) == TINY.hold
    assert (scales[0] == scales[1]).all()
    assert float(scales[0][0]) == GuidanceConfig().scale
    last = observed["actor"][:, 16:]
    torch.testing.assert_close(last[:2], torch.tanh(action[:2]))
    assert (last[2] == 0).all()
    figures = env.figures()
    assert figures["decisions"] == 3
    assert figures["falls_per_hour"] == pytest.approx(3600 * HZ / (3 * TINY.hold))


def _sine_and_cosine(quat: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    w, x, y, z = quat.unbind(-1)
    return w * z + x * y, 0.5 - (y * y + z * z)


def test_robots_are_restarted_at_time_outs_and_the_others_go_on(env) -> None:
    env.episode_length_buf[:] = torch.tensor([env.max_episode_length - 1, 0, 0])
    with torch.inference_mode():  # as rsl-rl collects
        _, rewards, dones, extras = env.step(torch.zeros(3, 4))
    assert isinstance(env.get_observations(), TensorDict)
    assert torch.equal(extras["time_outs"], dones.bool())
    assert dones.tolist() == [1, 0, 0]
    assert env.loop.planned.tolist() == [False, True, True]
    assert env.episode_length_buf.tolist() == [0, 1, 1]
    assert (rewards > -FALL_PENALTY).all()


def test_a_saved_policy_decides_as_before(guidance, tmp_path) -> None:
    guidance.save(tmp_path)
    loaded = GuidancePolicy.load(tmp_path)
    seen = torch.randn(5, len(FEATURES), generator=torch.Generator().manual_seed(1))
    assert torch.equal(loaded.act(seen), guidance.act(seen))
    assert loaded.bounds == guidance.bounds
    assert (loaded.hold, loaded.control_hz) == (3, HZ)
    low, high = json.loads((tmp_path / "guidance.json").read_text())["settings"]["scale"]["range"]
    assert low < 6.0 < high


def test_a_missing_damaged_or_foreign_policy_is_named(guidance, tmp_path) -> None:
    with pytest.raises(StoreError, match="no readable learned guidance"):
        GuidancePolicy.load(tmp_path)
    guidance.save(tmp_path)
    description = tmp_path / "guidance.json"
    found = json.loads(description.read_text())
    description.write_text(json.dumps({**found, "features": ["mood"]}))
    with pytest.raises(StoreError, match="features: found mood, expected command_forward"):
        GuidancePolicy.load(tmp_path)
    description.write_text(json.dumps(found)[:40])
    with pytest.raises(StoreError, match="train it again"):
        GuidancePolicy.load(tmp_path)


def test_a_policy_decides_every_so_many_steps_and_needs_commands(policy, history, guidance) -> None:
    loop = ClosedLoop(policy, history, PRESET.control, num_threads=1)
    learned, drive = LearnedGuidance(guidance), pilot(3)
    scales = [learned(loop, drive.steer(t, loop.history)).guidance.scale for t in range(7)]
    assert len(learned.chosen) == 3
    assert [s is learned.chosen[i // 3].scale for i, s in enumerate(scales)] == [True] * 7
    assert set(learned.mean_settings()) == set(SETTINGS)
    with pytest.raises(ConfigError, match="follow a commanded velocity"):
        learned(loop, Steering())
    slower = GuidancePolicy(guidance.actor, guidance.bounds, hold=3, control_hz=25.0)
    with pytest.raises(ConfigError, match="25, as it was trained at"):
        LearnedGuidance(slower)(loop, drive.steer(0, loop.history))


def test_a_training_writes_policy_record_and_picture(policy_folder, tmp_path) -> None:
    lines: list[str] = []
    record = train_guidance(policy_folder, PRESET, TINY, tmp_path / "out", progress=lines.append)
    assert len(lines) == len(record["curve"]) == 2
    assert record["decisions"] == 2 * TINY.num_envs * TINY.steps_per_env
    assert {"minutes", "decisions", "mean_reward", "falls_per_hour", *SETTINGS} <= record["curve"][0].keys()
    assert json.loads((tmp_path / "out" / "training.json").read_text()) == json.loads(json.dumps(record))
    assert (tmp_path / "out" / "training.png").stat().st_size > 500
    loaded = GuidancePolicy.load(tmp_path / "out")
    assert loaded.hold == TINY.hold
    # Training began next to the fixed settings, and an update or two has not led far from them.
    settings = loaded.bounds.settings(loaded.act(torch.zeros(1, len(FEATURES))))
    assert float(settings.scale) == pytest.approx(GuidanceConfig().scale, rel=0.2)
    with pytest.raises(StoreError, match="expected no folder or an empty one"):
        train_guidance(policy_folder, PRESET, TINY, tmp_path / "out", progress=lines.append)


def test_an_interrupted_training_leaves_nothing(policy_folder, tmp_path) -> None:
    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_guidance(policy_folder, PRESET, TINY, tmp_path / "out", progress=interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("minutes", 0.0),
        ("num_envs", 0),
        ("hold", 0),
        ("limits", (1.0, 0.0, 1.0, 1.0)),
        ("mini_batches", 5000),
    ],
)
def test_an_impossible_training_is_named(field, value) -> None:
    with pytest.raises(ConfigError, match=f"learned_guidance.{field}"):
        LearnedGuidanceConfig(**{field: value})


def test_plans_that_cannot_restart_are_refused_before_training(policy_folder, tmp_path) -> None:
    planning = dataclasses.replace(PRESET.closed_loop.planning, sampler="rolling")
    closed_loop = dataclasses.replace(PRESET.closed_loop, planning=planning)
    preset = dataclasses.replace(PRESET, closed_loop=closed_loop)
    with pytest.raises(ConfigError, match=r"planning\.sampler"):
        train_guidance(policy_folder, preset, TINY, tmp_path / "out", progress=print)
    assert list(tmp_path.iterdir()) == []


def test_at_action_0_a_comparison_finds_no_difference(policy_folder, guidance, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(PROTOCOLS, "forest", dataclasses.replace(get_protocol("forest"), seconds=0.6))
    torch.nn.init.zeros_(guidance.actor.mlp[-1].weight)
    torch.nn.init.zeros_(guidance.actor.mlp[-1].bias)
    guidance.save(tmp_path)
    lines: list[str] = []
    (row,) = comparison.compare(policy_folder, tmp_path, PRESET, ["forest"], seeds=4, progress=lines.append)
    assert row["fixed"] == row["learned"]
    assert row["success_difference"] == 0
    assert row["velocity_error_difference"] == 0
    assert row["pairs_up"] == 4
    assert row["mean_settings"] == vars(GuidanceSettings.of(GuidanceConfig()))
    json.dumps(row, allow_nan=False)
    assert [len(line) for line in comparison.table([row])] == [6, 6]
    assert len(lines) == 1
    with pytest.raises(ConfigError, match="moonwalk"):
        comparison.compare(policy_folder, tmp_path, PRESET, ["moonwalk"], seeds=4, progress=lines.append)


def test_a_difference_counts_the_pairs_that_changed(policy_folder, guidance, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(PROTOCOLS, "joystick", dataclasses.replace(get_protocol("joystick"), seconds=0.6))
    guidance.save(tmp_path)
    done = []
    real = comparison.run_protocol
    monkeypatch.setattr(comparison, "run_protocol", lambda *a, **k: done.append(real(*a, **k)) or done[-1])
    comparison.compare(policy_folder, tmp_path, PRESET, ["joystick"], seeds=4, progress=lambda _: None)
    assert not np.array_equal(done[0].recording.qpos, done[1].recording.qpos)
    np.testing.assert_array_equal(done[0].recording.qpos[0], done[1].recording.qpos[0])
    np.testing.assert_array_equal(done[0].recording.latency_ms, done[1].recording.latency_ms)
    fixed, learned = (dataclasses.replace(run, figures=dict(run.figures)) for run in done)
    fixed.figures["success"], learned.figures["success"] = (
        [True, False, False, True],
        [True, True, True, False],
    )
    row = comparison.difference(fixed, learned)
    assert (row["only_learned_succeeds"], row["only_fixed_succeeds"]) == (2, 1)
    assert row["success_difference"] == 25.0
    low, high = row["success_difference_interval"]
    assert low < 0 < high
