"""Where a training starts: its own last policy, one that ships, else the most complete there is."""

import dataclasses
from pathlib import Path

import pytest

from assets.warm_start import KIND, find_start
from assets.warm_start import network as network_of
from assets.workspace import Workspace
from beyondmimic_data.config import Preset, get_preset
from beyondmimic_data.errors import ConfigError
from beyondmimic_data.tracking import shipped


def with_shipped(preset: Preset, use: bool) -> Preset:
    return dataclasses.replace(preset, training=dataclasses.replace(preset.training, shipped_start=use))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "data", tmp_path / "motions", with_shipped(get_preset("test"), False))


def add(workspace: Workspace, skill: str, recipe: str, completion: float, network: object = None) -> None:
    with workspace.store.build(KIND, skill, recipe) as build:
        (build.path / "policy.safetensors").write_text(recipe)
        build.meta |= {
            "network": network or network_of(workspace.preset),
            "gate": {"completion": completion},
            "parents": [],
        }


def recipe_of_start(workspace: Workspace, skill: str) -> str | None:
    start = find_start(workspace, skill)
    return start.lineage["recipe"] if start else None


def test_the_first_skill_starts_from_nothing(workspace):
    assert find_start(workspace, "squat") is None


def test_a_new_skill_starts_from_the_most_complete_of_the_others(workspace):
    add(workspace, "stand", "a", 0.95)
    add(workspace, "wave", "b", 0.40)
    assert recipe_of_start(workspace, "squat") == "a"


def test_a_skill_prefers_its_own_last_policy(workspace):
    add(workspace, "stand", "a", 0.95)
    add(workspace, "squat", "c", 0.10)
    add(workspace, "squat", "d", 0.20)
    assert recipe_of_start(workspace, "squat") == "d"


def test_weights_of_another_shape_are_no_start(workspace):
    add(workspace, "stand", "a", 0.95, network={"hidden_dims": [8], "state_estimation": True})
    assert find_start(workspace, "squat") is None


def ship(workspace: Workspace, skill: str, completion: float, folder: Path) -> None:
    policy = folder.parent / skill
    policy.mkdir()
    for name in shipped.FILES:
        (policy / name).write_text(f'{{"completion": {completion}}}')
    card = {"network": network_of(workspace.preset), "seed": 1}
    shipped.ship(policy, skill, card, {"completion": completion}, folder)


@pytest.fixture
def shipping(workspace, tmp_path, monkeypatch) -> Workspace:
    """A workspace that may start from the two policies of its own shipped folder."""
    folder = tmp_path / "shipped"
    for skill, completion in (("stand", 0.99), ("squat", 0.92)):
        ship(workspace, skill, completion, folder)
    monkeypatch.setattr("assets.warm_start.shipped_policies", lambda: shipped.shipped_policies(folder))
    return dataclasses.replace(workspace, preset=with_shipped(workspace.preset, True))


def test_a_skill_without_a_policy_starts_from_the_shipped_one_of_its_name(shipping):
    add(shipping, "stand", "a", 1.0)
    start = find_start(shipping, "squat")
    assert start is not None
    assert start.lineage["kind"] == "shipped"
    assert start.path.name == "squat"


def test_a_skill_that_does_not_ship_starts_from_the_most_complete_of_all(shipping):
    start = find_start(shipping, "walk")
    assert start is not None
    assert start.path.name == "stand"
    add(shipping, "stand", "a", 1.0)
    assert recipe_of_start(shipping, "walk") == "a"


def test_a_skill_that_does_not_ship_starts_from_the_foundation(shipping, tmp_path):
    ship(shipping, shipped.FOUNDATION, 0.5, tmp_path / "shipped")
    add(shipping, "stand", "a", 1.0)
    for skill, name in (("walk", shipped.FOUNDATION), ("squat", "squat")):
        start = find_start(shipping, skill)
        assert start is not None
        assert start.path.name == name


def test_the_skills_own_policy_comes_before_the_shipped_one(shipping):
    add(shipping, "squat", "c", 0.10)
    assert recipe_of_start(shipping, "squat") == "c"


def test_what_ships_is_left_alone_when_asked(shipping):
    assert (
        find_start(dataclasses.replace(shipping, preset=with_shipped(shipping.preset, False)), "squat")
        is None
    )


def test_a_shipped_policy_of_another_shape_is_no_start(shipping):
    ppo = dataclasses.replace(shipping.preset.ppo, hidden_dims=(8,))
    other = dataclasses.replace(shipping, preset=dataclasses.replace(shipping.preset, ppo=ppo))
    assert find_start(other, "squat") is None


def test_a_named_start_comes_before_the_skills_own(shipping):
    add(shipping, "squat", "c", 0.99)
    training = dataclasses.replace(shipping.preset.training, start="stand")
    named = dataclasses.replace(shipping, preset=dataclasses.replace(shipping.preset, training=training))
    start = find_start(named, "squat")
    assert start is not None
    assert (start.lineage["kind"], start.path.name) == ("shipped", "stand")
    add(named, "stand", "a", 0.10)
    assert recipe_of_start(named, "squat") == "a"


def test_a_named_start_that_is_not_there_is_one_clear_error(workspace):
    training = dataclasses.replace(workspace.preset.training, start="hop")
    named = dataclasses.replace(workspace, preset=dataclasses.replace(workspace.preset, training=training))
    with pytest.raises(ConfigError, match=r"training\.start.*hop"):
        find_start(named, "squat")
