"""How a policy that ships came about, and its file for deployers."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from assets.workspace import Workspace, open_workspace, remember
from beyondmimic_data.errors import ConfigError
from beyondmimic_data.files import read_json, write_json
from beyondmimic_data.motions.clip import clip_from_qpos
from beyondmimic_data.robots import g1
from beyondmimic_data.shipping import CARD
from beyondmimic_data.tracking import shipped
from pipelines import options as o
from pipelines import policy_verbs
from storage.artifacts import Artifact, describe

FOUNDATION = shipped.FOLDER / shipped.FOUNDATION
HEIGHTS = {"high": 0.785, "low": 0.75}
"""Clips of a robot that stands, and the height of its pelvis, m."""


@pytest.fixture
def workspace(tmp_path, monkeypatch) -> Workspace:
    monkeypatch.setenv("BEYONDMIMIC_DATA", str(tmp_path))
    workspace = open_workspace(preset="test")
    remember(workspace)
    return workspace


def clip(name: str, height: float):
    qpos = np.tile(g1.default_qpos(), (61, 1))
    qpos[:, 2] = height
    return clip_from_qpos(name, qpos, 50, 50, {"file": "made here"})


def add(
    workspace: Workspace,
    skill: str,
    recipe: str,
    start: dict | None,
    steps: int,
    heights: dict[str, float] = HEIGHTS,
    **changes: object,
) -> Artifact:
    """Put the foundation's weights into the store as if a training on robots that stand had led to them."""
    motion = workspace.store.latest("motions", skill)
    if motion is None:
        with workspace.store.build("motions", skill, recipe) as build:
            (build.path / "clips").mkdir()
            for name, height in heights.items():
                clip(name, height).save(build.path / "clips" / f"{name}.npz")
            build.meta |= {"parents": []}
        motion = workspace.store.latest("motions", skill)
    with workspace.store.build("policies", skill, recipe) as build:
        for name in shipped.FILES:
            (build.path / name).write_bytes((FOUNDATION / name).read_bytes())
        write_json(build.path / "training.json", {"steps": steps})
        build.meta |= {"parents": [describe(motion)], "warm_start": start, "network": {}}
        build.meta["settings"] = {"preset": "quick", "changes": changes}
    return workspace.store.find("policies", skill, recipe)


def test_a_history_leads_back_to_nothing(workspace):
    first = add(workspace, "hop", "a", None, 1000, **{"training.minutes": 3.0})
    second = add(workspace, "hop", "b", describe(first), 2000, **{"sampling.enabled": True})
    history = policy_verbs._history(workspace, describe(second), [Path("hop.bvh")])
    assert history == [
        {
            "skill": "hop",
            "version": first.version,
            "command": "beyondmimic train --preset quick --motions hop.bvh --training.minutes 3.0",
            "steps": 1000,
        },
        {
            "skill": "hop",
            "version": second.version,
            "command": "beyondmimic train --preset quick --motions hop.bvh --sampling.enabled",
            "steps": 2000,
        },
    ]
    assert policy_verbs._history(workspace, None, []) == []


def test_a_history_goes_on_with_that_of_a_policy_that_ships(workspace):
    card = read_json(FOUNDATION / CARD)
    start = {"kind": "shipped", "key": shipped.FOUNDATION, "version": card["version"]}
    first = add(workspace, "hop", "a", start, 1000)
    history = policy_verbs._history(workspace, describe(first), [])
    assert history[:-2] == card["history"]
    assert [line["version"] for line in history[-2:]] == [card["version"], first.version]
    assert history[-2]["command"] == card["command"]
    gone = {"kind": "shipped", "key": "hop", "version": "of another time"}
    (line,) = policy_verbs._history(workspace, gone, [])
    assert line == {"skill": "hop", "version": "of another time", "command": None, "steps": None}


def test_a_clip_of_choice_travels_inside_the_exported_file(workspace, tmp_path):
    add(workspace, "hop", "a", None, 1000)
    for name, height in HEIGHTS.items():
        path = tmp_path / f"{name}.onnx"
        document = policy_verbs.export(o.Export("hop", path, name)).document
        assert document["clip"] == name
        assert 0 < document["onnx_max_abs_err"] <= 1e-5
        arrays = [onnx.numpy_helper.to_array(a) for a in onnx.load(str(path)).graph.initializer]
        (heights,) = (
            a[:, 0, 2] for a in arrays if a.shape == (61, 14, 3) and np.ptp(a[:, 0, 2]) < 1e-6 < a[0, 0, 2]
        )
        np.testing.assert_allclose(heights, height, atol=1e-6)
    with pytest.raises(ConfigError, match="one of high, low"):
        policy_verbs.export(o.Export("hop", tmp_path / "x.onnx", "middle"))


def test_a_policy_that_fails_its_examination_does_not_ship(workspace, monkeypatch):
    monkeypatch.setattr(shipped, "ship", lambda *_: pytest.fail("shipped"))
    add(workspace, "hop", "a", None, 1000, heights={"floating": 1.2})
    result = policy_verbs.ship(o.Ship("hop", seeds=4, seconds=1.0))
    assert not result.ok
    assert result.document["folder"] is None
    assert result.document["completion"] == 0.0
    assert "hop" not in {policy.skill for policy in shipped.shipped_policies()}
