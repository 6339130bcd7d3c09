"""A longer budget is for skills that failed with the shorter one."""

import dataclasses
from pathlib import Path

import pytest

from assets import recipes
from assets.motion import content_version
from assets.tracking_policy import KIND, find_policy
from assets.workspace import Workspace
from beyondmimic_data.config import get_preset
from storage.artifacts import Artifact


def with_minutes(workspace: Workspace, minutes: float | None) -> Workspace:
    training = dataclasses.replace(workspace.preset.training, minutes=minutes)
    return dataclasses.replace(workspace, preset=dataclasses.replace(workspace.preset, training=training))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return with_minutes(Workspace(tmp_path / "data", tmp_path / "motions", get_preset("quick")), 6.0)


@pytest.fixture
def motion(workspace: Workspace) -> Artifact:
    with workspace.store.build("motions", "walk", "m") as build:
        build.meta |= {"parents": [], "content_version": "c"}
    found = workspace.store.find("motions", "walk", "m")
    assert found is not None
    return found


def train(workspace: Workspace, motion: Artifact, passed: bool) -> None:
    base = recipes.policy_base(content_version(motion), workspace.preset)
    with workspace.store.build(KIND, "walk", base) as build:
        minutes = workspace.preset.training.minutes
        build.meta |= {"parents": [], "base": base, "gate": {"passed": passed}, "minutes": minutes}


def test_a_policy_that_failed_is_trained_on_when_there_is_more_time(workspace, motion):
    train(workspace, motion, passed=False)
    assert find_policy(workspace, "walk", motion) is not None
    assert find_policy(with_minutes(workspace, 5.0), "walk", motion) is not None
    assert find_policy(with_minutes(workspace, 60.0), "walk", motion) is None
    assert find_policy(with_minutes(workspace, None), "walk", motion) is None


def test_a_policy_that_passed_stays(workspace, motion):
    train(workspace, motion, passed=True)
    assert find_policy(with_minutes(workspace, 60.0), "walk", motion) is not None
