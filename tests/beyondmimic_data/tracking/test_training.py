"""Training end to end at toy size: files, resume, warm start, evaluation, export."""

import copy
import dataclasses
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors.torch
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from beyondmimic_data.config import Preset, get_preset, paper_25hz
from beyondmimic_data.errors import BeyondMimicError, ConfigError, StoreError
from beyondmimic_data.files import read_json
from beyondmimic_data.hashing import hash_file
from beyondmimic_data.motions.clip import Clip, clip_from_qpos
from beyondmimic_data.robots import g1, g1_facts
from beyondmimic_data.sim.mujoco_backend import MujocoBackend
from beyondmimic_data.tracking import recording, sampling_study, task, train
from beyondmimic_data.tracking.evaluate import (
    CHECK_SEED,
    begin,
    evaluate_gate,
    gate_trial,
    play,
    summarise,
)
from beyondmimic_data.tracking.examination import SHIPPING_SEED, examine, transfer_loss
from beyondmimic_data.tracking.export import PARITY_SEED, export_onnx, recorded_observations
from beyondmimic_data.tracking.policy import (
    NORMALISER_EPS,
    TrackingPolicy,
    load_optimizer,
    load_weights,
)
from beyondmimic_data.tracking.train import CHECKPOINT, train_policy
from beyondmimic_data.tracking.trainer import Trainer
from beyondmimic_data.tracking.workers import SkillTrainer


@pytest.fixture(scope="module")
def preset() -> Preset:
    base = get_preset("test")
    return dataclasses.replace(
        base, training=dataclasses.replace(base.training, num_envs=16, max_iterations=2)
    )


@pytest.fixture(scope="module")
def trained(clip: Clip, preset: Preset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("policy")
    train_policy([clip], preset, folder, num_threads=1)
    return folder


def test_training_leaves_a_policy_and_its_record_and_no_checkpoint(trained, preset):
    record = read_json(trained / "training.json")
    assert record["steps"] == 2 * 16 * preset.ppo.steps_per_env
    assert record["ended"] == "reached its iterations"
    assert [p["iteration"] for p in record["curve"]] == [1, 2]
    assert len(record["checks"]) == 1
    assert record["kept_steps"] == record["steps"]
    assert not (trained / "scratch").exists()
    assert (trained / "policy.safetensors").stat().st_size < 4e6


def test_the_update_moves_the_actor_and_learns_its_normaliser(clip, preset):
    trainer = Trainer([clip], preset, 1)
    before = {k: v.clone() for k, v in trainer.algorithm.save()["actor_state_dict"].items()}
    trainer.iterate()
    after = trainer.algorithm.save()["actor_state_dict"]
    assert float((after["mlp.0.weight"] - before["mlp.0.weight"]).abs().max()) > 0
    assert float(after["obs_normalizer._std"].std()) > 0.01


def test_a_killed_training_goes_on_from_its_checkpoint(clip, preset, tmp_path):
    trainer = Trainer([clip], preset, 1)
    session = train._Session(trainer, tmp_path)
    session.record(trainer.iterate())
    session.checkpoint()
    weights = trainer.algorithm.save()["actor_state_dict"]["mlp.0.weight"].clone()

    resumed = Trainer([clip], preset, 1)
    assert train._Session(resumed, tmp_path).resume()
    assert resumed.counters == trainer.counters
    assert torch.equal(resumed.algorithm.save()["actor_state_dict"]["mlp.0.weight"], weights)
    record = train_policy([clip], preset, tmp_path, num_threads=1)
    assert [p["iteration"] for p in record["curve"]] == [1, 2]
    assert not (tmp_path / CHECKPOINT).exists()


def test_tensorboard_shows_every_iteration_and_check(clip, preset, tmp_path):
    record = train_policy([clip], preset, tmp_path / "policy", num_threads=1, logs=tmp_path / "logs")
    events = EventAccumulator(str(tmp_path / "logs")).Reload()
    rewards = events.Scalars("training/reward_per_step")
    assert [e.step for e in rewards] == [p["steps"] for p in record["curve"]]
    assert [e.value for e in rewards] == pytest.approx([p["reward_per_step"] for p in record["curve"]])
    completion = events.Scalars("check/completion")
    assert [e.value for e in completion] == [c["completion"] for c in record["checks"]]
    shown = set(events.Tags()["scalars"])
    assert {"training/reward/anchor_position", "training/physics_failures", "training/minutes"} <= shown
    assert not any(name.startswith("reward/") for name in record["curve"][0])


def test_a_warm_start_begins_with_its_parents_networks(clip, preset, trained):
    trainer = Trainer([clip], preset, 1)
    trainer.warm_start(trained)
    parent = load_weights(trained)
    for part in ("actor", "critic"):
        for name, value in trainer.algorithm.save()[f"{part}_state_dict"].items():
            assert torch.equal(value, parent[f"{part}.{name}"]), name


def test_a_skill_goes_on_with_its_optimiser_and_another_skill_without(clip, preset, trained):
    own, other = Trainer([clip], preset, 1), Trainer([clip], preset, 1)
    own.warm_start(trained)
    other.warm_start(trained, foreign=True)
    kept = own.algorithm.optimizer.state_dict()["state"]
    assert kept.keys() == load_optimizer(trained).keys()
    for number, values in load_optimizer(trained).items():
        assert torch.equal(kept[number]["exp_avg_sq"], values["exp_avg_sq"])
    assert not other.algorithm.optimizer.state_dict()["state"]
    own.iterate()  # the critic's, which are the last, go on at once
    last = max(kept)
    steps = own.algorithm.optimizer.state_dict()["state"][last]["step"]
    assert steps > load_optimizer(trained)[last]["step"]


def test_a_share_of_a_gpu_that_is_not_there_is_refused(clip, preset, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    shared = dataclasses.replace(preset, training=dataclasses.replace(preset.training, gpus_per_skill=0.5))
    with pytest.raises(ConfigError, match=r"gpus_per_skill.*0\.5, expected 0 .*no CUDA GPU"):
        Trainer([clip], shared, 1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA GPU")
def test_what_a_gpu_learned_goes_on_without_one(clip, preset, trained, tmp_path):
    shared = dataclasses.replace(preset, training=dataclasses.replace(preset.training, gpus_per_skill=1.0))
    with_gpu, without = Trainer([clip], shared, 1), Trainer([clip], preset, 1)
    with_gpu.warm_start(trained)
    with_gpu.iterate()
    torch.save(with_gpu.state(), tmp_path / "state.pt")
    without.load_state(torch.load(tmp_path / "state.pt", map_location="cpu", weights_only=True))
    for mine, other in zip(without.policy().parameters(), with_gpu.policy().parameters()):
        assert torch.equal(mine, other)
    without.iterate()


def test_unstable_simulations_are_counted_through_an_interruption(clip, preset):
    trainer, resumed = (Trainer([clip], preset, 1) for _ in range(2))
    for training in (trainer, resumed):
        # Later than the first step: what is due is pushed before it, and nobody has a latency yet.
        push, steps = training.backend.push, training.env.world._push

        def explode(push=push, steps=steps):
            steps()
            push(np.array([3]), np.array([[np.nan, 0, 0]]), np.zeros((1, 3)))

        training.env.world._push = explode
    figures = trainer.iterate()
    assert figures["physics_failures"] == preset.ppo.steps_per_env
    resumed.load_state(trainer.state())
    assert resumed.iterate()["physics_failures"] == 2 * preset.ppo.steps_per_env
    assert resumed.counters.falls >= 2 * preset.ppo.steps_per_env


def test_latency_is_drawn_anew_for_every_episode(clip, preset):
    env = Trainer([clip], preset, 1).env
    drawn = []
    for _ in range(20):
        env._reset(np.array([5]))
        drawn.append(int(env.world.draw.latency_steps[5]))
        assert env.world.backend._delay._steps[5] == drawn[-1]
        assert float(env.world._latency_s[5]) == pytest.approx(drawn[-1] * preset.control.physics_dt)
    longest = preset.randomisation.latency_ms[1] / 1e3 / preset.control.physics_dt
    assert len(set(drawn)) > 3
    assert 0 <= min(drawn) < max(drawn) <= longest


def test_the_policy_that_checked_best_is_kept():
    def score(completion, body, velocity, seconds):
        names = ("completion", "body_pos_err_m", "velocity_err_m_s", "mean_seconds")
        return train.score_of(dict(zip(names, (completion, body, velocity, seconds))))

    falls_at_once = score(0.0, 0.08, np.nan, 0.9)
    falls_later = score(0.0, 0.12, 1.5, 2.0)
    some_complete = score(0.3, 0.12, 0.4, 3.0)
    most_complete = score(0.9, 0.08, 0.3, 4.0)
    as_many_but_closer = score(0.9, 0.05, 0.1, 4.0)
    order = [falls_at_once, falls_later, some_complete, most_complete, as_many_but_closer]
    assert sorted(order) == order


@pytest.mark.parametrize(("body", "velocity"), [(0.2, 0.1), (0.05, 0.3), (0.05, 0.1), (0.05, np.nan)])
def test_training_ends_early_only_with_what_its_gate_would_pass(clip, preset, tmp_path, body, velocity):
    gate = dataclasses.replace(preset.gate, max_body_pos_err_m=0.1, max_velocity_err_m_s=0.2)
    session = train._Session(Trainer([clip], dataclasses.replace(preset, gate=gate), 1), tmp_path)
    session.checks = [{"completion": 1.0, "body_pos_err_m": body, "velocity_err_m_s": velocity}]
    assert session.finished() == (body < 0.1 and not velocity > 0.2)


def test_the_best_policy_and_what_a_resumed_training_knows_of_it_go_together(clip, preset, tmp_path):
    session = train._Session(Trainer([clip], preset, 1), tmp_path)
    session.check()
    resumed = train._Session(Trainer([clip], preset, 1), tmp_path)
    assert resumed.resume()
    assert (resumed.best, resumed.checks) == (session.best, session.checks)
    assert resumed.seconds >= session.checks[-1]["minutes"] * 60 > 0


def test_a_deep_policy_comes_back_from_its_file(clip, preset, tmp_path):
    deep = dataclasses.replace(preset, ppo=dataclasses.replace(preset.ppo, hidden_dims=(32,) * 6))
    trainer = Trainer([clip], deep, 1)
    trainer.save(tmp_path)
    observations = torch.randn(4, trainer.policy().observation_dim)
    assert torch.equal(TrackingPolicy.load(tmp_path).act(observations), trainer.policy().act(observations))


@pytest.mark.parametrize("state_estimation", [True, False])
def test_25_hz_trains_evaluates_and_exports(state_estimation, tmp_path):
    preset = dataclasses.replace(
        get_preset("test"),
        control=paper_25hz().control,
        task=dataclasses.replace(paper_25hz().task, state_estimation=state_estimation),
    )
    preset = dataclasses.replace(preset, training=dataclasses.replace(preset.training, num_envs=16))
    slow = clip_from_qpos("slow", np.tile(g1.default_qpos(), (31, 1)), 25, 25, {"file": "made here"})
    record = train_policy([slow], preset, tmp_path, num_threads=1)
    assert record["steps"] == 2 * 16 * preset.ppo.steps_per_env
    policy = TrackingPolicy.load(tmp_path)
    assert policy.observation_dim == (160 if state_estimation else 154)
    trial = gate_trial(policy, [slow], preset, num_threads=1)
    assert trial.seconds.max() <= slow.duration
    assert export_onnx(policy, slow, preset, tmp_path / "policy.onnx") <= 1e-5
    entries = {p.key: p.value for p in onnx.load(str(tmp_path / "policy.onnx")).metadata_props}
    assert entries["control_hz"] == "25"
    assert ("base_lin_vel" in entries["observation_names"].split(",")) == state_estimation


def test_a_damaged_checkpoint_is_named(clip, preset, tmp_path):
    (tmp_path / CHECKPOINT).parent.mkdir()
    (tmp_path / CHECKPOINT).write_bytes(b"half of it")
    with pytest.raises(StoreError, match=r"checkpoint\.pt: no readable checkpoint .*remove it"):
        train_policy([clip], preset, tmp_path, num_threads=1)


def test_a_robot_that_drifts_too_far_ends_its_training_episode(clip, preset):
    walk = np.tile(clip.qpos, (1, 1))
    walk[:, 0] = np.arange(len(walk)) * 0.02  # 1 m/s, while the robot stands
    moving = clip_from_qpos("away", walk, 50, 50, {"file": "made here"})
    falls = {}
    for limit in (None, 0.1):
        training = dataclasses.replace(preset.training, drift_limit_m=limit, push=False)
        trainer = Trainer([moving], dataclasses.replace(preset, training=training), 1)
        extras = [trainer.env.step(torch.zeros(16, 29))[3] for _ in range(16)]
        falls[limit] = sum(int(e["fell"].sum()) for e in extras)
    assert falls[0.1] > 0 == falls[None]


def test_after_a_warm_start_the_critic_learns_first(clip, preset, trained):
    patient = dataclasses.replace(preset, ppo=dataclasses.replace(preset.ppo, critic_only_iterations=1))
    trainer = Trainer([clip], patient, 1)
    trainer.warm_start(trained)
    weights, rates = [], []
    for _ in range(3):
        state = trainer.algorithm.save()
        parts = (state[f"{part}_state_dict"]["mlp.0.weight"].clone() for part in ("actor", "critic"))
        weights.append(list(parts))
        trainer.iterate()
        rates.append(trainer.algorithm.learning_rate)
    (actor, critic), (actor_1, critic_1), (actor_2, _) = weights
    assert rates[0] == patient.ppo.warm_learning_rate, "an actor held still says nothing of the step's size"
    assert rates[2] != patient.ppo.warm_learning_rate
    assert torch.equal(actor, actor_1)
    assert not torch.equal(critic, critic_1)
    assert not torch.equal(actor_1, actor_2)


def test_a_warm_start_looks_further_ahead(clip, preset, trained):
    started, resumed = (Trainer([clip], preset, 1) for _ in range(2))
    assert (started.algorithm.gamma, started.algorithm.lam) == (preset.ppo.gamma, preset.ppo.lam)
    started.warm_start(trained)
    resumed.load_state(started.state())
    for trainer in (started, resumed):
        assert (trainer.algorithm.gamma, trainer.algorithm.lam) == (
            preset.ppo.warm_gamma,
            preset.ppo.warm_lam,
        )
    assert preset.ppo.gamma != preset.ppo.warm_gamma


def test_training_refines_after_its_steps_and_goes_on_so_when_resumed(clip, preset):
    batch = preset.training.num_envs * preset.ppo.steps_per_env
    ppo = dataclasses.replace(preset.ppo, refine_steps=batch, refine_kl=0.001, critic_only_iterations=2)
    trainer, resumed = (Trainer([clip], dataclasses.replace(preset, ppo=ppo), 1) for _ in range(2))

    def settings(trainer: Trainer) -> tuple[float, ...]:
        algorithm = trainer.algorithm
        return algorithm.desired_kl, algorithm.entropy_coef, algorithm.gamma, algorithm.lam

    trainer.iterate()
    assert settings(trainer) == (ppo.desired_kl, ppo.entropy_coef, ppo.gamma, ppo.lam)
    trainer.iterate()
    refined = (0.001, 0.0, ppo.warm_gamma, ppo.warm_lam)
    assert settings(trainer) == refined
    assert trainer.counters.critic_only == 1, "once, the critic learns the new discount first"
    resumed.load_state(trainer.state())
    resumed.iterate()
    assert settings(resumed) == refined
    assert resumed.counters.critic_only == 0


def test_a_joint_that_earlier_clips_held_still_may_move(clip, preset, trained):
    joint, qpos = 26, clip.qpos.copy()  # a wrist
    qpos[:, 7 + joint] = 0.5 * np.sin(np.arange(len(qpos)))
    waving = clip_from_qpos("waving", qpos, 50, 50, {"file": "made here"})
    trainer = Trainer([waving], preset, 1)
    trainer.warm_start(trained, foreign=True)
    parent, state = load_weights(trained), trainer.algorithm.save()
    for part in ("actor", "critic"):
        before, after = (
            weights[f"{name}obs_normalizer._std"][0] + NORMALISER_EPS
            for weights, name in ((parent, f"{part}."), (state[f"{part}_state_dict"], ""))
        )
        changed = (before != after).nonzero().flatten().tolist()
        assert changed == [joint, 29 + joint]  # its position and its velocity, which begin an observation
        for column, motion in zip(changed, (waving.joint_pos, waving.joint_vel)):
            largest = np.abs(motion[:, joint]).max()
            assert largest > 10 * before[column]
            assert largest < 2 * after[column]


def test_another_skills_policy_explores_anew_and_its_own_when_asked(
    clip, preset, trained, tmp_path, monkeypatch
):
    weights = load_weights(trained)
    parent = weights["actor.distribution.std_param"]
    assert preset.ppo.warm_std != preset.ppo.init_std
    assert not torch.any(parent == preset.ppo.warm_std)
    for foreign, again in ((True, False), (False, False), (False, True)):
        asked = dataclasses.replace(preset, ppo=dataclasses.replace(preset.ppo, explore_again=again))
        session = train._Session(Trainer([clip], asked, 1), tmp_path / f"{foreign} {again}")
        result = {"completion": 0.8, "body_pos_err_m": 0.1, "velocity_err_m_s": 0.1, "n": 10}
        tries = [result | {"mean_seconds": seconds} for seconds in ((0.3, 0.9) if foreign else (0.9,))]
        monkeypatch.setattr(session, "_try", iter(tries).__next__)
        assert session.begin_from(trained, foreign=foreign)
        actor = session.trainer.algorithm.save()["actor_state_dict"]
        for name in ("mlp.0.weight", "obs_normalizer._mean"):
            assert torch.equal(actor[name], weights[f"actor.{name}"])
        std = actor["distribution.std_param"]
        explores = foreign or again
        assert torch.equal(std, torch.full_like(std, preset.ppo.warm_std) if explores else parent)


def test_a_start_of_another_skill_that_falls_at_once_is_dropped(clip, preset, trained, tmp_path):
    weights = load_weights(trained)
    last = max(name for name in weights if name.startswith("actor.mlp.") and name.endswith("bias"))
    weights[last] = weights[last] + 3.0  # throws the robot over
    useless = tmp_path / "useless"
    useless.mkdir()
    safetensors.torch.save_file(weights, useless / "policy.safetensors")
    for foreign, folder in ((True, tmp_path / "other"), (False, tmp_path / "own")):
        folder.mkdir()
        record = train_policy([clip], preset, folder, warm_start=useless, foreign=foreign, num_threads=1)
        assert (record["warm_start"] is None) == foreign
        # Its own weights are checked and kept, whatever they can; those of another skill leave no trace.
        assert [check["steps"] > 0 for check in record["checks"]] == ([True] if foreign else [False, True])


def test_no_start_is_used_twice():
    """Training's checks, gates with their latency bins, shipping and recordings draw from seeds apart."""
    gate = get_preset("paper").gate
    firsts = sorted([CHECK_SEED, gate.seed_offset, sampling_study.FIRST_SEED, recording.SEED, SHIPPING_SEED])
    firsts.append(PARITY_SEED)
    assert np.diff(firsts).min() >= 500_000
    assert 2 * gate.seeds < 500_000


def test_seeds_decide_a_trial(clip, preset, trained):
    policy = TrackingPolicy.load(trained)
    first, again, other = (
        play(policy, [clip], preset, seeds, preset.randomisation, 1.0, num_threads=1)
        for seeds in (range(6), range(6), range(10, 16))
    )
    np.testing.assert_array_equal(first.errors["body_pos_err_m"], again.errors["body_pos_err_m"])
    assert not np.array_equal(first.errors["body_pos_err_m"], other.errors["body_pos_err_m"])
    report = summarise(first, [clip])
    (row,) = report["clips"]
    assert row == {"clip": "stand", **{name: report[name] for name in row if name != "clip"}}
    assert report["n"] == 6
    assert report["wilson_low"] <= report["completion"] <= report["wilson_high"]
    assert sum(report["falls"].values()) == 6 - round(6 * report["completion"])


def test_a_start_is_pushed_as_its_seed_says_whatever_others_do(clip, preset, trained):
    ranges = dataclasses.replace(preset.randomisation, push=True, push_interval=(0.1, 0.2))
    pushes = []
    for seeds in ([7, 8, 9], [9, 3]):
        backend = MujocoBackend(len(seeds), preset.control, num_threads=1)
        world = begin(backend, [clip], preset, seeds, ranges)
        for _ in range(40):
            world.advance(torch.zeros(len(seeds), 29))
        pushes.append(dict(zip(seeds, world.pushes)))
    assert len(pushes[0][9]) > 3
    for mine, other in zip(pushes[0][9], pushes[1][9], strict=True):
        assert mine.seconds == other.seconds
        np.testing.assert_array_equal(mine.lin_vel, other.lin_vel)
    assert pushes[0][8][0].seconds != pushes[0][9][0].seconds or not np.array_equal(
        pushes[0][8][0].lin_vel, pushes[0][9][0].lin_vel
    )


def test_a_policy_that_throws_the_robot_over_fails_and_one_bin_bounds_its_latency(clip, preset, trained):
    policy = TrackingPolicy.load(trained)
    with torch.no_grad():
        policy.mlp[-1].bias.fill_(8.0)
    strict = dataclasses.replace(preset, gate=dataclasses.replace(preset.gate, completion=0.9))
    report = evaluate_gate(policy, [clip], strict, num_threads=1)
    assert report["completion"] == 0.0
    assert not report["passed"]
    assert report["max_latency_ms"] == 0.0
    assert [b["high_ms"] for b in report["latency_bins"]] == [20.0, 40.0]


def test_a_policy_with_bodies_too_far_off_fails(clip, preset, trained):
    policy = TrackingPolicy.load(trained)
    for limit, passed in ((1.0, True), (0.001, False)):
        gate = dataclasses.replace(preset.gate, max_body_pos_err_m=limit)
        report = evaluate_gate(policy, [clip], dataclasses.replace(preset, gate=gate), num_threads=1)
        assert report["passed"] == passed


def test_a_policy_that_steps_on_the_spot_beside_a_walk_fails(clip, preset, trained):
    policy = TrackingPolicy.load(trained)
    gate = dataclasses.replace(preset.gate, max_velocity_err_m_s=0.2)
    trial = gate_trial(policy, [clip], preset, num_threads=1)
    for error, passed in ((0.1, True), (np.nan, True), (0.3, False)):
        errors = trial.errors | {"velocity_err_m_s": np.full(preset.gate.seeds, error)}
        report = evaluate_gate(
            policy,
            [clip],
            dataclasses.replace(preset, gate=gate),
            trial=dataclasses.replace(trial, errors=errors),
            num_threads=1,
        )
        assert report["passed"] == passed


def test_an_examination_covers_all_latencies_and_a_second_contact_model(clip, preset, trained):
    report = examine(TrackingPolicy.load(trained), [clip], preset, num_threads=1)
    assert [b["high_ms"] for b in report["latency_bins"]] == [20.0, 40.0, 60.0, 80.0, 100.0]
    transfer = report["transfer"]
    assert transfer["n"] == report["n"] == preset.gate.seeds
    assert transfer["loss"] == pytest.approx(report["completion"] - transfer["completion"])
    assert transfer["loss_low"] <= transfer["loss"] <= transfer["loss_high"]


def test_the_second_contact_model_is_another(clip, preset, trained):
    policy = TrackingPolicy.load(trained)
    first, second = (
        play(policy, [clip], preset, range(4), preset.randomisation, 1.0, feet=feet, num_threads=1)
        for feet in ("spheres", "capsules")
    )
    difference = np.abs(first.errors["body_pos_err_m"] - second.errors["body_pos_err_m"])
    assert 1e-6 < difference.max() < 0.2


def test_what_transfer_loses_is_counted_on_the_same_starts(clip, preset, trained):
    trial = play(
        TrackingPolicy.load(trained), [clip], preset, range(4), preset.randomisation, 1.0, num_threads=1
    )
    first = dataclasses.replace(trial, completed=np.array([True, True, True, False]))
    second = dataclasses.replace(trial, completed=np.array([True, False, False, True]))
    assert transfer_loss(first, second)["loss"] == 0.25
    assert transfer_loss(first, second)["completion"] == 0.5


def test_the_onnx_file_says_what_the_policy_says_and_carries_the_contract(clip, preset, trained, tmp_path):
    policy = TrackingPolicy.load(trained)
    path = tmp_path / "policy.onnx"
    export_onnx(policy, clip, preset, path)
    assert [p.name for p in tmp_path.iterdir()] == ["policy.onnx"]
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    obs = torch.randn(5, policy.observation_dim)
    obs[:, 58:61] = torch.tensor([0.1, -0.2, 0.05])
    actions = session.run(["actions"], {"obs": obs.numpy(), "time_step": np.zeros((1, 1), np.float32)})[0]
    np.testing.assert_allclose(actions, policy.act(obs).numpy(), atol=1e-5)
    far = obs.clone()
    far[:, 58] = 3.0
    limit = far.clone()
    limit[:, 58] = preset.task.anchor_offset_limit
    drifted = session.run(["actions"], {"obs": far.numpy(), "time_step": np.zeros((1, 1), np.float32)})[0]
    np.testing.assert_allclose(drifted, policy.act(limit).numpy(), atol=1e-5)
    frame = session.run(["joint_pos"], {"obs": obs[:1].numpy(), "time_step": np.full((1, 1), 7, np.float32)})[
        0
    ]
    np.testing.assert_allclose(frame[0], clip.joint_pos[7])
    entries = {p.key: p.value for p in onnx.load(str(path)).metadata_props}
    table = g1.joint_table()
    for name, values in (
        ("joint_stiffness", table.stiffness),
        ("joint_damping", table.damping),
        ("default_joint_pos", table.default_pos),
        ("action_scale", table.action_scale),
    ):
        np.testing.assert_allclose([float(x) for x in entries[name].split(",")], values, rtol=1e-6)
    assert entries["joint_names"].split(",") == list(g1.JOINT_NAMES)
    assert entries["command_names"] == "motion"
    assert entries["observation_names"].split(",") == list(task.ACTOR_TERMS)
    assert entries["anchor_body_name"] == "torso_link"
    assert entries["body_names"].split(",") == list(g1_facts.TRACKED_BODIES)


def test_a_file_that_says_something_else_is_not_written(clip, preset, trained, tmp_path, monkeypatch):
    policy, path = TrackingPolicy.load(trained), tmp_path / "policy.onnx"
    seen = recorded_observations(policy, clip, preset)
    assert seen.shape == (16 * 60, policy.observation_dim)
    assert 0 <= export_onnx(policy, clip, preset, path) <= 1e-5
    before, write = path.read_bytes(), torch.onnx.export

    def exports_another(module, *args, **options):
        other = copy.deepcopy(module)
        with torch.no_grad():
            other.policy.mlp[-1].bias[4] += 1e-3
        write(other, *args, **options)

    monkeypatch.setattr(torch.onnx, "export", exports_another)
    with pytest.raises(BeyondMimicError, match=r"policy\.onnx: not written: .*1\.0\de-03 on 960 recorded"):
        export_onnx(policy, clip, preset, path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("lost", [True, False])
def test_a_policy_whose_weights_were_taken_out_is_trained_again(clip, preset, trained, tmp_path, lost):
    """As ``data verify --heal`` leaves it; one that only lacks its evaluation is not."""
    clip.save(tmp_path / "clip.npz")
    folder = tmp_path / "policy"
    shutil.copytree(trained, folder)
    before = hash_file(folder / "training.json")
    if lost:
        (folder / "policy.safetensors").unlink()
    SkillTrainer().run([tmp_path / "clip.npz"], preset, folder, None, False, None)
    TrackingPolicy.load(folder)
    assert (folder / "evaluation.json").exists()
    assert (hash_file(folder / "training.json") != before) == lost


def test_a_damaged_policy_is_named(tmp_path):
    (tmp_path / "policy.safetensors").write_bytes(b"not tensors")
    with pytest.raises(StoreError, match=r"policy\.safetensors: no readable policy"):
        TrackingPolicy.load(tmp_path)
