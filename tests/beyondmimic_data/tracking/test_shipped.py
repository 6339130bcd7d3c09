"""Policies that ship: complete, undamaged, described."""

from pathlib import Path

import numpy as np
import pytest
import torch

from beyondmimic_data.errors import StoreError
from beyondmimic_data.files import read_json
from beyondmimic_data.hashing import hash_file
from beyondmimic_data.shipping import CARD
from beyondmimic_data.statistics import wilson_interval
from beyondmimic_data.tracking import shipped
from beyondmimic_data.tracking.examination import SHIPPING_SEED
from beyondmimic_data.tracking.policy import TrackingPolicy
from beyondmimic_data.tracking.policy_files import EVALUATION, TRAINING, WEIGHTS


def policies() -> list[shipped.ShippedPolicy]:
    return shipped.shipped_policies()


def test_the_foundation_ships():
    assert shipped.FOUNDATION in {policy.skill for policy in policies()}


@pytest.mark.parametrize("policy", policies(), ids=lambda policy: policy.skill)
def test_a_shipped_policy_is_whole(policy):
    card = read_json(policy.path / CARD)
    assert {"command", "seed", "versions", "clips", "warm_start", "network", "history"} <= set(card)
    assert all({"skill", "version", "command", "steps"} == set(line) for line in card["history"])
    assert hash_file(policy.path / WEIGHTS) == policy.version
    assert (policy.path / WEIGHTS).stat().st_size < 2e6
    actor = TrackingPolicy.load(policy.path)
    assert list(actor.hidden_dims) == policy.network["hidden_dims"]
    record = read_json(policy.path / TRAINING)
    assert record["curve"][-1]["steps"] <= record["steps"]


@pytest.mark.parametrize("policy", policies(), ids=lambda policy: policy.skill)
def test_a_shipped_policy_was_examined_and_passed(policy):
    evaluation = read_json(policy.path / EVALUATION)
    gate = evaluation["gate"]
    assert gate["push"]
    assert gate["latency_ms"] == [0.0, 40.0]
    assert gate["seed_offset"] == SHIPPING_SEED
    assert evaluation["n"] >= 200
    assert evaluation["passed"]
    assert policy.completion == evaluation["completion"] >= gate["completion"] == 0.95
    assert evaluation["body_pos_err_m"] <= gate["max_body_pos_err_m"] == 0.06
    assert evaluation["transfer"]["loss"] <= 0.03
    assert [line["high_ms"] for line in evaluation["latency_bins"]] == [20.0, 40.0, 60.0, 80.0, 100.0]
    assert evaluation["onnx_max_abs_err"] <= 1e-5


def test_the_foundation_walks_for_two_minutes():
    evaluation = read_json(shipped.FOLDER / shipped.FOUNDATION / EVALUATION)
    assert evaluation["gate"]["seconds"] == 120.0
    rows = {line["clip"]: line for line in evaluation["clips"]}
    for name in ("synth__stand", "synth__squat"):
        assert rows[name]["completion"] >= 0.95
        assert rows[name]["body_pos_err_m"] <= 0.06
    walks = [line for name, line in rows.items() if name.startswith("synth__locomotion")]
    n = sum(line["n"] for line in walks)
    done = sum(round(line["completion"] * line["n"]) for line in walks)
    assert n >= 200
    assert wilson_interval(done, n)[0] >= 0.95
    assert np.mean([line["velocity_err_m_s"] for line in walks]) <= 0.12


def test_a_policy_that_was_not_evaluated_does_not_ship(tmp_path):
    (tmp_path / WEIGHTS).write_bytes(b"x")
    with pytest.raises(StoreError, match=r"training\.json: missing"):
        shipped.ship(tmp_path, "hop", {}, {}, tmp_path / "shipped")
    assert not (tmp_path / "shipped").exists()


def test_a_damaged_card_is_one_clear_error(tmp_path):
    (tmp_path / "hop").mkdir()
    (tmp_path / "hop" / CARD).write_text("{")
    with pytest.raises(StoreError, match="hop: no complete shipped policy"):
        shipped.shipped_policies(tmp_path)


OUTPUTS = read_json(Path(__file__).with_name("shipped_outputs.json"))
"""Action of every sixth joint that each policy gives to the observation below."""


def outputs(actor: TrackingPolicy) -> torch.Tensor:
    observation = 0.1 * torch.sin(torch.arange(actor.observation_dim, dtype=torch.float64))
    return actor.act(observation.float()[None])[0, ::6]


def test_every_shipped_policy_has_its_outputs_recorded():
    assert set(OUTPUTS) == {policy.skill for policy in policies()}


@pytest.mark.parametrize("policy", policies(), ids=lambda policy: policy.skill)
def test_a_shipped_policy_says_what_it_said_when_it_shipped(policy):
    actor, wanted = TrackingPolicy.load(policy.path), torch.tensor(OUTPUTS[policy.skill])
    torch.testing.assert_close(outputs(actor), wanted, atol=1e-4, rtol=0)
    with torch.no_grad():
        actor.mlp[0].weight[0, 0] += 0.1
    assert (outputs(actor) - wanted).abs().max() > 1e-4, "these numbers have to tell one weight from another"
