"""Policies that ship: complete, undamaged, described."""

import pytest

from beyondmimic_data.errors import StoreError
from beyondmimic_data.files import read_json
from beyondmimic_data.hashing import hash_file
from beyondmimic_data.shipping import CARD
from beyondmimic_data.tracking import shipped
from beyondmimic_data.tracking.policy import TrackingPolicy
from beyondmimic_data.tracking.policy_files import EVALUATION, WEIGHTS


def policies() -> list[shipped.ShippedPolicy]:
    return shipped.shipped_policies()


def test_the_foundation_ships():
    assert shipped.FOUNDATION in {policy.skill for policy in policies()}


@pytest.mark.parametrize("policy", policies(), ids=lambda policy: policy.skill)
def test_a_shipped_policy_is_whole(policy):
    card = read_json(policy.path / CARD)
    assert {"command", "seed", "versions", "clips", "warm_start", "network"} <= set(card)
    assert hash_file(policy.path / WEIGHTS) == policy.version
    assert (policy.path / WEIGHTS).stat().st_size < 2e6
    actor = TrackingPolicy.load(policy.path)
    assert list(actor.hidden_dims) == policy.network["hidden_dims"]
    evaluation = read_json(policy.path / EVALUATION)
    assert evaluation["n"] >= 100
    assert policy.completion == evaluation["completion"] > 0.8
    assert evaluation["passed"]


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
