"""The next run finds what was damaged since the last one, whatever stage made it."""

import os
from collections.abc import Callable
from typing import Any

import pytest

from assets.dataset import build_dataset
from assets.diffusion_policy import build_diffusion
from assets.motion import build_motion
from assets.rollouts import build_rollouts
from assets.tracking_policy import build_policy
from beyondmimic_data.errors import StoreError

NOBODY: Any = None
"""Stands for a cluster: what is complete needs none."""


def say(line: str) -> None:
    """Take a line of progress."""


STAGES: dict[str, tuple[str, str, Callable[[Any], object]]] = {
    "motions": ("a", "quality.json", lambda workspace: build_motion(workspace, "a", say)),
    "policies": ("a", "evaluation.json", lambda workspace: build_policy(workspace, "a", NOBODY, say)),
    "rollouts": ("a", "steps.json", lambda workspace: build_rollouts(workspace, "a", NOBODY, say)),
    "datasets": ("all", "content.json", build_dataset),
    "diffusion": ("all", "content.json", lambda workspace: build_diffusion(workspace, NOBODY, say)),
}


@pytest.mark.parametrize("kind", STAGES)
@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_a_stage_does_not_go_on_with_what_is_damaged(stage: Any, kind: str, damage: str) -> None:
    stage.motion_file("a.csv")
    stage.finish_skill("a")
    stage.finish_combined()
    key, name, build = STAGES[kind]
    artifact = stage.workspace.store.latest(kind, key)
    assert build(stage.workspace) == artifact
    manifest = (artifact.path / "manifest.json").stat()
    file = artifact.path / name
    if damage == "gone":
        file.unlink()
    else:
        file.write_text(file.read_text().replace("a", "b", 1) + " ")
    later = manifest.st_mtime + 60  # what this process has compared was another state of the artifact
    os.utime(artifact.path / "manifest.json", (later, later))
    with pytest.raises(StoreError, match=rf"{name}: .*'beyondmimic data verify --heal' takes out") as found:
        build(stage.workspace)
    assert "\n" not in str(found.value)
