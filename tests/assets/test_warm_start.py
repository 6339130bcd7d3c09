"""Where a training starts: its own last policy, else the most complete of the other skills'."""

from pathlib import Path

import pytest

from assets.tracking_policy import KIND, _network, _warm_parent
from assets.workspace import Workspace
from beyondmimic_data.config import get_preset


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "data", tmp_path / "motions", get_preset("test"))


def add(workspace: Workspace, skill: str, recipe: str, completion: float, network: object = None) -> None:
    with workspace.store.build(KIND, skill, recipe) as build:
        (build.path / "policy.safetensors").write_text(recipe)
        build.meta |= {
            "network": network or _network(workspace.preset),
            "gate": {"completion": completion},
            "parents": [],
        }


def test_the_first_skill_starts_from_nothing(workspace):
    assert _warm_parent(workspace, "squat") is None


def test_a_new_skill_starts_from_the_most_complete_of_the_others(workspace):
    add(workspace, "stand", "a", 0.95)
    add(workspace, "wave", "b", 0.40)
    assert _warm_parent(workspace, "squat").recipe == "a"


def test_a_skill_prefers_its_own_last_policy(workspace):
    add(workspace, "stand", "a", 0.95)
    add(workspace, "squat", "c", 0.10)
    add(workspace, "squat", "d", 0.20)
    assert _warm_parent(workspace, "squat").recipe == "d"


def test_weights_of_another_shape_are_no_start(workspace):
    add(workspace, "stand", "a", 0.95, network={"hidden_dims": [8], "state_estimation": True})
    assert _warm_parent(workspace, "squat") is None
