"""The diffusion policy that ships: complete, small, described, and only for its own architecture."""

import dataclasses

import pytest

from beyondmimic_data.config import get_preset
from beyondmimic_data.diffusion import shipped
from beyondmimic_data.diffusion.policy import DiffusionPolicy
from beyondmimic_data.errors import StoreError
from beyondmimic_data.files import read_json
from beyondmimic_data.hashing import hash_file
from beyondmimic_data.shipping import CARD

CARD_FIELDS = {"command", "seed", "versions", "dataset", "warm_start"}


def test_the_demos_start_is_whole():
    config = get_preset("quick").diffusion
    found = shipped.shipped_diffusion(config)
    assert found is not None
    assert set(read_json(found.path / CARD)) >= CARD_FIELDS
    assert hash_file(found.path / shipped.FILES[0]) == found.version
    assert sum(path.stat().st_size for path in found.path.iterdir()) < 10e6
    assert DiffusionPolicy.load(found.path).config.embedding == config.embedding
    figures = read_json(found.path / "training.json")
    assert figures["curve"][0]["loss"] > figures["curve"][-1]["loss"]


def test_another_architecture_does_not_start_from_it(policy_folder, tmp_path):
    config = DiffusionPolicy.load(policy_folder).config
    shipped.ship(policy_folder, {"command": "x"}, tmp_path / "shipped")
    found = shipped.shipped_diffusion(config, tmp_path / "shipped")
    assert found is not None
    assert found.version == hash_file(policy_folder / "model.safetensors")
    wider = dataclasses.replace(config, embedding=2 * config.embedding)
    assert shipped.shipped_diffusion(wider, tmp_path / "shipped") is None
    assert shipped.shipped_diffusion(config, tmp_path / "nothing") is None


def test_a_damaged_card_is_one_clear_error(policy_folder, tmp_path):
    shipped.ship(policy_folder, {}, tmp_path)
    (tmp_path / CARD).write_text("{")
    with pytest.raises(StoreError, match="no complete shipped policy"):
        shipped.shipped_diffusion(DiffusionPolicy.load(policy_folder).config, tmp_path)
