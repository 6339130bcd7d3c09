import dataclasses
import json
import time

import numpy as np
import pytest
import safetensors.torch
import torch

from beyondmimic_data.diffusion import train as train_module
from beyondmimic_data.diffusion.loss import diffusion_loss, draw_noise
from beyondmimic_data.diffusion.policy import DiffusionPolicy
from beyondmimic_data.diffusion.train import train
from beyondmimic_data.diffusion.windows import RecordedWindows
from beyondmimic_data.errors import BeyondMimicError, ConfigError, StoreError


def weights(folder) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "model.safetensors")


def tokens(policy, windows, count: int = 8):
    rows = windows.sample("train", count, np.random.default_rng(0))
    features, actions = policy.features_of_rows(rows, windows.columns)
    return policy.encode_states(features), policy.encode_actions(actions)


def test_past_and_current_states_are_clean_and_past_actions_are_not(policy, windows) -> None:
    states, actions = tokens(policy, windows, 64)
    batch = draw_noise(states, actions, policy.config, torch.Generator().manual_seed(0))
    assert (batch.state_levels[:, :5] == 0).all()
    for levels in (batch.state_levels[:, 5:], batch.action_levels[:, :5], batch.action_levels[:, 5:13]):
        assert levels.min() == 0
        assert levels.max() == 20
    assert (batch.state_levels[:, 5] != batch.state_levels[:, 6]).any()
    assert (batch.state_levels[:, 5] != batch.action_levels[:, 5]).any()


def test_shared_levels_are_what_sampling_visits(policy, windows) -> None:
    states, actions = tokens(policy, windows, 400)
    config = dataclasses.replace(policy.config, shared_levels=0.75)
    batch = draw_noise(states, actions, config, torch.Generator().manual_seed(0))
    assert (batch.state_levels[:, :5] == 0).all()
    together = (batch.state_levels[:, 5:] == batch.state_levels[:, 5:6]).all(1)
    assert float(together.float().mean()) == pytest.approx(0.75, abs=0.07)
    levels = batch.action_levels[together]
    assert (levels == levels[:, :1]).all()
    assert float((levels[:, 0] == 20).float().mean()) == pytest.approx(0.5 + 0.5 / 21, abs=0.07)
    assert batch.state_levels[together][:, 5].unique().numel() == 21


def test_past_actions_may_be_clean(policy, windows) -> None:
    states, actions = tokens(policy, windows, 64)
    config = dataclasses.replace(policy.config, past_actions="clean")
    batch = draw_noise(states, actions, config, torch.Generator().manual_seed(0))
    assert (batch.action_levels[:, :4] == 0).all()
    assert batch.action_levels[:, 4].max() == 20


def test_the_weights_that_did_best_in_closed_loop_are_written(
    windows, contract, tiny_config, tmp_path
) -> None:
    config = dataclasses.replace(tiny_config, max_steps=6, check_minutes=0.0)
    scores, tried = iter([0.1, 0.9, 0.2, 0.5, 0.3, 0.4]), []

    def judge(policy: DiffusionPolicy) -> dict[str, float]:
        assert not policy.training
        tried.append(policy.denoiser.position.detach().clone())
        return {"score": next(scores), "upright": 1.0}

    result = train(windows, config, contract, tmp_path, judge=judge)
    assert torch.equal(weights(tmp_path)["denoiser.position"], tried[1])
    assert (result["best_trial"]["step"], result["best_trial"]["score"]) == (2.0, 0.9)
    record = json.loads((tmp_path / "training.json").read_text())
    assert [t["score"] for t in record["trials"]] == [0.1, 0.9, 0.2, 0.5, 0.3, 0.4]


def test_a_warm_start_that_nothing_beats_is_kept(windows, contract, tiny_config, tmp_path) -> None:
    config = dataclasses.replace(tiny_config, max_steps=2, check_minutes=0.0)
    train(windows, config, contract, tmp_path / "start")
    scores = iter([0.9, 0.1, 0.2])
    result = train(
        windows,
        config,
        contract,
        tmp_path / "next",
        warm_start=tmp_path / "start",
        judge=lambda policy: {"score": next(scores)},
    )
    assert result["best_trial"]["step"] == 0.0
    for name, value in weights(tmp_path / "start").items():
        if name.startswith("denoiser."):
            assert torch.equal(weights(tmp_path / "next")[name], value)


def test_a_trial_may_take_the_rest_of_the_minutes(windows, contract, tiny_config, tmp_path) -> None:
    config = dataclasses.replace(tiny_config, max_steps=10**9, minutes=0.005, check_minutes=0.0)

    def judge(policy: DiffusionPolicy) -> dict[str, float]:
        time.sleep(0.4)
        return {"score": 0.5}

    result = train(windows, config, contract, tmp_path, judge=judge)
    assert result["best_trial"]["step"] == result["steps"] == 1
    assert np.isfinite(result["loss"])


def test_a_killed_run_remembers_what_did_best(windows, contract, tiny_config, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(train_module, "LOG_SECONDS", 0.0)
    config = dataclasses.replace(tiny_config, max_steps=4, check_minutes=0.0, checkpoint_minutes=0.0)
    best: list[torch.Tensor] = []

    def judge(policy: DiffusionPolicy) -> dict[str, float]:
        if not best:
            best.append(policy.denoiser.position.detach().clone())
            return {"score": 1.0}
        return {"score": 0.0}

    def kill(point: dict[str, float]) -> None:
        if point["step"] == 3:
            raise Killed

    with pytest.raises(Killed):
        train(windows, config, contract, tmp_path, judge=judge, progress=kill)
    result = train(windows, config, contract, tmp_path, judge=judge)
    assert result["best_trial"]["step"] == 1.0
    assert torch.equal(weights(tmp_path)["denoiser.position"], best[0])


def test_a_bound_on_the_gradient_bounds_the_step(windows, contract, tiny_config, tmp_path) -> None:
    """Adam divides by the gradient's size, so only a bound near its epsilon shows."""
    config = dataclasses.replace(tiny_config, max_steps=1, weight_decay=0.0)
    moved = {}
    torch.manual_seed(config.seed)  # as training does
    start = DiffusionPolicy(config, contract).denoiser.position.detach()
    for bound in (0.0, 1e-9):
        train(windows, dataclasses.replace(config, max_grad_norm=bound), contract, tmp_path / str(bound))
        moved[bound] = float((weights(tmp_path / str(bound))["denoiser.position"] - start).abs().mean())
    assert moved[1e-9] < 0.2 * moved[0.0]


def test_loss_ignores_actions_beyond_the_horizon_and_given_states(policy, windows) -> None:
    states, actions = tokens(policy, windows)
    batch = draw_noise(states, actions, policy.config, torch.Generator().manual_seed(0))
    # Four past actions, the current one and the next eight.
    assert batch.actions.shape == (8, 13, 29)

    class Fixed(torch.nn.Module):
        position = policy.denoiser.position

        def __init__(self) -> None:
            super().__init__()
            self.states, self.actions = states.clone(), torch.zeros_like(batch.actions)

        def forward(self, *_):
            return self.states, self.actions

    policy.denoiser = Fixed()
    batch = dataclasses.replace(batch, actions=torch.zeros_like(batch.actions))
    assert float(diffusion_loss(policy, batch).total) == pytest.approx(0.0, abs=1e-12)
    policy.denoiser.states[:, :5] = 9.0
    assert float(diffusion_loss(policy, batch).total) == pytest.approx(0.0, abs=1e-12)
    policy.denoiser.actions[:, 12] = 1.0
    terms = diffusion_loss(policy, batch)
    # One of thirteen actions is off by one; one of twelve differences is one, weighted 0.1.
    assert float(terms.action) == pytest.approx(1 / 13)
    assert float(terms.total) == pytest.approx(1 / 13 + 0.1 / 12)
    policy.denoiser.states[:, 5] += 1.0
    assert float(diffusion_loss(policy, batch).state) == pytest.approx(1 / 16)


def test_leaving_out_actions_beyond_the_horizon_changes_no_gradient(policy, windows) -> None:
    states, actions = tokens(policy, windows)
    batch = draw_noise(states, actions, policy.config, torch.Generator().manual_seed(0))
    whole = dataclasses.replace(
        batch,
        actions=actions,
        action_levels=torch.cat([batch.action_levels, torch.full((8, 8), 7)], 1),
        action_noise=torch.cat([batch.action_noise, torch.ones(8, 8, 29)], 1),
    )
    gradients = []
    for chosen, count in ((batch, 13), (whole, 13)):
        noisy = [
            policy.schedule.add_noise(x, n, k)
            for x, n, k in (
                (chosen.states, chosen.state_noise, chosen.state_levels),
                (chosen.actions, chosen.action_noise, chosen.action_levels),
            )
        ]
        out = policy.denoiser(*noisy, chosen.state_levels, chosen.action_levels)
        loss = out[0].square().mean() + out[1][:, :count].square().mean()
        gradients.append(torch.autograd.grad(loss, list(policy.denoiser.blocks.parameters())))
    for a, b in zip(*gradients):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_a_few_windows_are_learned_by_heart(windows, contract, tiny_config, tmp_path) -> None:
    few = type(windows)(windows.rows[:2, :24])
    config = dataclasses.replace(tiny_config, mirror=False, max_steps=250)
    result = train(few, config, contract, tmp_path)
    curve = json.loads((tmp_path / "training.json").read_text())
    assert result["steps"] == 250
    assert result["validation"]["by_level"]["20"]["action_rms"] < 0.12
    spread = few.rows[..., few.columns["action_clean"]].std(1).mean()
    assert result["validation"]["by_level"]["20"]["action_rms"] < 0.5 * float(spread)
    assert curve["curve"][-1]["step"] == 250
    assert curve["validation"]["split"] == "train"


def test_a_run_leaves_what_deployment_needs(policy_folder, windows, tiny_config) -> None:
    result = json.loads((policy_folder / "training.json").read_text())
    assert result["steps"] == tiny_config.max_steps
    assert result["stopped_by"] == "steps"
    assert result["validation"]["split"] == "validation"
    assert (policy_folder / "loss.png").stat().st_size > 1000
    recorded = RecordedWindows.load(policy_folder)
    assert recorded.rows.shape == (256, 21, 342)
    assert recorded.columns == windows.columns
    assert not [p for p in policy_folder.rglob("*") if p.suffix in {".pt", ".pth", ".pkl", ".bin"}]


def test_loading_gives_back_the_same_policy(policy_folder, windows) -> None:
    first, second = DiffusionPolicy.load(policy_folder), DiffusionPolicy.load(policy_folder)
    assert not first.training
    states, actions = tokens(first, windows)
    levels = torch.full(states.shape[:2], 3)
    torch.testing.assert_close(
        first.denoiser(states, actions, levels, levels), second.denoiser(states, actions, levels, levels)
    )
    assert first.contract.joint_names == second.contract.joint_names
    document = json.loads((policy_folder / "config.json").read_text())
    assert document["features"]["root_lin_vel"] == [186, 189]
    assert document["contract"]["quaternion_order"] == "wxyz"


class Killed(Exception):
    pass


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_a_killed_run_ends_like_an_undisturbed_one(
    windows, contract, tiny_config, tmp_path, monkeypatch, optimiser
) -> None:
    monkeypatch.setattr(train_module, "LOG_SECONDS", 0.0)
    monkeypatch.setattr(train_module, "VALIDATION_WINDOWS", 8)
    config = dataclasses.replace(
        tiny_config, max_steps=12, dropout=0.1, checkpoint_minutes=0.0, optimiser=optimiser
    )
    train(windows, config, contract, tmp_path / "whole")

    def kill(point: dict[str, float]) -> None:
        if point["step"] == 7:
            raise Killed

    with pytest.raises(Killed):
        train(windows, config, contract, tmp_path / "cut", progress=kill)
    assert not (tmp_path / "cut" / "model.safetensors").exists()
    seen = []
    result = train(windows, config, contract, tmp_path / "cut", progress=lambda p: seen.append(p["step"]))
    assert seen == [7, 8, 9, 10, 11, 12]
    assert result["steps"] == 12
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert whole.keys() == cut.keys()
    for name, value in whole.items():
        assert torch.equal(value, cut[name]), name


def test_a_checkpoint_of_another_configuration_is_refused(windows, contract, tiny_config, tmp_path) -> None:
    config = dataclasses.replace(tiny_config, max_steps=2)
    train(windows, config, contract, tmp_path)
    with pytest.raises(StoreError, match="another configuration"):
        train(windows, dataclasses.replace(config, learning_rate=1e-5), contract, tmp_path)


def test_training_ends_with_its_minutes(windows, contract, tiny_config, tmp_path) -> None:
    config = dataclasses.replace(tiny_config, max_steps=10**9, minutes=0.02)
    result = train(windows, config, contract, tmp_path)
    assert result["stopped_by"] == "minutes"
    assert 0.02 <= result["minutes"] < 0.2
    assert result["steps"] > 2


def test_warm_start_goes_on_from_the_earlier_weights(
    policy_folder, windows, contract, tiny_config, tmp_path
) -> None:
    config = dataclasses.replace(tiny_config, max_steps=1, warm_learning_rate=1e-9)
    result = train(windows, config, contract, tmp_path, warm_start=policy_folder)
    assert result["warm_start"]["used"]
    before, after = weights(policy_folder), weights(tmp_path)
    for name in before:
        if "normaliser" not in name:
            torch.testing.assert_close(after[name], before[name], atol=1e-6, rtol=1e-6)


def test_warm_start_of_another_architecture_is_left_out_visibly(
    policy_folder, windows, contract, tiny_config, tmp_path, caplog
) -> None:
    config = dataclasses.replace(tiny_config, max_steps=1, layers=1)
    result = train(windows, config, contract, tmp_path, warm_start=policy_folder)
    assert result["warm_start"] == {"used": False, "reason": "layers was 2, is 1"}
    assert "no warm start" in caplog.text


def test_training_without_windows_is_one_clear_error(windows, contract, tiny_config, tmp_path) -> None:
    empty = type(windows)(windows.rows[:, :20])
    with pytest.raises(StoreError, match="no training window"):
        train(empty, tiny_config, contract, tmp_path)
    assert not list(tmp_path.iterdir())


def test_padding_rows_in_a_window_are_found(windows, contract, tiny_config, tmp_path) -> None:
    padded = type(windows)(windows.rows.clone())
    padded.rows[:, 30:] = float("nan")
    with pytest.raises(StoreError, match="not finite"):
        train(padded, tiny_config, contract, tmp_path)


def test_a_loss_that_stays_infinite_ends_training(
    windows, contract, tiny_config, tmp_path, monkeypatch
) -> None:
    def broken(policy, batch):
        terms = diffusion_loss(policy, batch)
        return dataclasses.replace(terms, total=terms.total * float("inf"))

    monkeypatch.setattr(train_module, "diffusion_loss", broken)
    with pytest.raises(BeyondMimicError, match="not finite in 10 steps"):
        train(windows, tiny_config, contract, tmp_path)


def test_losses_read_several_at_a_time_change_no_weight(
    windows, contract, tiny_config, tmp_path, monkeypatch
) -> None:
    config = dataclasses.replace(tiny_config, max_steps=7)
    train(windows, config, contract, tmp_path / "each")
    monkeypatch.setitem(train_module.READ_EVERY, "cpu", 3)
    result = train(windows, config, contract, tmp_path / "some")
    assert result["steps"] == 7
    each, some = weights(tmp_path / "each"), weights(tmp_path / "some")
    assert all(torch.equal(value, some[name]) for name, value in each.items())


@pytest.mark.parametrize(("read_every", "optimiser"), [(1, "adamw"), (4, "adamw"), (4, "muon")])
def test_a_step_with_an_infinite_loss_changes_no_weight(
    windows, contract, tiny_config, tmp_path, monkeypatch, read_every, optimiser
) -> None:
    """The broken step is the last: without it the weights are those of the steps before."""
    calls = iter(range(100))

    def broken_at_the_end(policy, batch):
        terms = diffusion_loss(policy, batch)
        return dataclasses.replace(terms, total=terms.total * (float("nan") if next(calls) == 3 else 1.0))

    # A constant rate, and an average that is the present weights.
    config = dataclasses.replace(tiny_config, max_steps=4, ema_max=0.0, optimiser=optimiser)
    monkeypatch.setattr(train_module, "learning_rate", lambda *_, **__: 1e-3)
    monkeypatch.setitem(train_module.READ_EVERY, "cpu", read_every)
    train(windows, dataclasses.replace(config, max_steps=3), contract, tmp_path / "three")
    monkeypatch.setattr(train_module, "diffusion_loss", broken_at_the_end)
    result = train(windows, config, contract, tmp_path / "four")
    assert (result["steps"], result["skipped_steps"]) == (4, 1)
    three, four = weights(tmp_path / "three"), weights(tmp_path / "four")
    assert three.keys() == four.keys()
    assert all(torch.equal(value, four[name]) for name, value in three.items())


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_missing_or_damaged_file_is_named(policy_folder, tmp_path, file) -> None:
    for source in policy_folder.iterdir():
        if source.is_file():
            (tmp_path / source.name).write_bytes(source.read_bytes())
    (tmp_path / file).write_bytes(b"{")
    with pytest.raises(StoreError, match="damaged"):
        DiffusionPolicy.load(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(StoreError, match="holds no diffusion policy"):
        DiffusionPolicy.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"embedding": 30}, "embedding"),
        ({"heads": 5}, "heads"),
        ({"layers": 0}, "layers"),
        ({"past": 0}, "past"),
    ],
)
def test_an_impossible_size_is_named(make_policy, change, field) -> None:
    with pytest.raises(ConfigError, match=f"diffusion.{field}"):
        make_policy(**change)
