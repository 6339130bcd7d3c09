"""How a policy that ships came about, and its file for deployers."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file, save_file

from assets.workspace import Workspace, open_workspace, remember
from beyondmimic_data.control import examination
from beyondmimic_data.control.protocols import PROTOCOLS
from beyondmimic_data.diffusion import shipped as shipped_diffusion
from beyondmimic_data.diffusion.policy import DiffusionPolicy
from beyondmimic_data.diffusion.windows import RecordedWindows
from beyondmimic_data.errors import BeyondMimicError, ConfigError, StoreError
from beyondmimic_data.files import read_json, write_json
from beyondmimic_data.hashing import hash_file
from beyondmimic_data.motions.clip import clip_from_qpos
from beyondmimic_data.robots import g1
from beyondmimic_data.shipping import CARD
from beyondmimic_data.tracking import shipped
from pipelines import options as o
from pipelines import policy_verbs
from pipelines.verbs import diffusion_policy
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


DOORS = {
    "evaluate": lambda folder: policy_verbs.evaluate_tracking(o.EvaluateTracking("hop")),
    "film": lambda folder: policy_verbs.evaluate_tracking(o.EvaluateTracking("hop", video=folder / "x.mp4")),
    "export": lambda folder: policy_verbs.export(o.Export("hop", folder / "x.onnx")),
    "ship": lambda folder: policy_verbs.ship(o.Ship("hop")),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("kind", "name"), [("policies", "policy.safetensors"), ("motions", "clips/high.npz")]
)
def test_bytes_that_the_store_did_not_record_go_nowhere(workspace, tmp_path, door, kind, name):
    add(workspace, "hop", "a", None, 1000)
    path = workspace.store.latest(kind, "hop").path / name
    if kind == "policies":
        zeroed(path)
    else:
        path.write_bytes(path.read_bytes()[:-1])
    (tmp_path / "out").mkdir()
    with pytest.raises(
        StoreError, match=rf"{name}: (its bytes are not those that were stored|found \d+ bytes)"
    ):
        DOORS[door](tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
    assert "hop" not in {policy.skill for policy in shipped.shipped_policies()}


def zeroed(path: Path) -> None:
    """Replace the weights of a file by zeros that load as well as they did."""
    save_file({name: torch.zeros_like(values) for name, values in load_file(path).items()}, path)


@pytest.mark.parametrize(("asked", "passed"), [(0.0, True), (0.5, False)])
def test_evaluating_a_policy_that_fails_its_gate_is_not_ok(workspace, asked, passed):
    remember(open_workspace(preset="test", overrides={"gate.completion": asked, "gate.seeds": 2}))
    add(workspace, "hop", "a", None, 1000, heights={"floating": 1.2})
    result = policy_verbs.evaluate_tracking(o.EvaluateTracking("hop"))
    assert result.document["completion"] == 0.0
    assert (result.ok, result.document["passed"]) == (passed, passed)
    assert f"passed: {passed}" in result.text


@pytest.fixture
def diffusion(workspace) -> Artifact:
    """The diffusion policy that ships, as if it had been trained here."""
    with workspace.store.build("diffusion", "all", "d") as build:
        for name in shipped_diffusion.FILES:
            (build.path / name).write_bytes((shipped_diffusion.FOLDER / name).read_bytes())
        build.meta |= {"parents": [], "warm_start": None, "minutes": 1.0, "figures": {"validation_loss": 0.1}}
    return workspace.store.find("diffusion", "all", "d")


@pytest.mark.parametrize("by", ["latest", "folder", "shipped"])
def test_the_diffusion_policy_that_is_asked_for_is_the_one_that_was_recorded(
    workspace, diffusion, tmp_path, monkeypatch, by
):
    copy = tmp_path / "copy"
    shutil.copytree(shipped_diffusion.FOLDER, copy)
    monkeypatch.setattr(shipped_diffusion, "FOLDER", copy)
    folder = copy if by == "shipped" else diffusion.path
    asked = {"latest": None, "folder": str(folder), "shipped": "shipped"}[by]
    assert diffusion_policy(asked, workspace)[0] == folder
    zeroed(folder / "model.safetensors")
    with pytest.raises(StoreError, match=r"model\.safetensors: its bytes are not those"):
        diffusion_policy(asked, workspace)


def test_a_shipped_policy_without_its_card_is_refused(workspace, tmp_path, monkeypatch):
    shutil.copytree(shipped_diffusion.FOLDER, tmp_path / "copy")
    monkeypatch.setattr(shipped_diffusion, "FOLDER", tmp_path / "copy")
    (tmp_path / "copy" / CARD).unlink()
    with pytest.raises(StoreError, match=r"card\.json"):
        diffusion_policy("shipped", workspace)


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """Folder that the diffusion policy ships to; the policy before is there."""
    shutil.copytree(shipped_diffusion.FOLDER, tmp_path / "place")
    monkeypatch.setattr(shipped_diffusion, "FOLDER", tmp_path / "place")
    return tmp_path / "place"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def store_diffusion(workspace: Workspace, make) -> None:
    """Store the diffusion policy that ships with other weights; the manifest is theirs."""
    with workspace.store.build("diffusion", "all", "made") as build:
        for name in shipped_diffusion.FILES:
            (build.path / name).write_bytes((shipped_diffusion.FOLDER / name).read_bytes())
        weights = build.path / "model.safetensors"
        save_file({name: make(values) for name, values in load_file(weights).items()}, weights)
        build.meta |= {"parents": [], "warm_start": None, "minutes": 1.0, "figures": {"validation_loss": 0.1}}


def lasts(monkeypatch, name: str, seconds: float) -> None:
    monkeypatch.setitem(PROTOCOLS, name, dataclasses.replace(PROTOCOLS[name], seconds=seconds))


def test_a_diffusion_policy_that_is_not_finite_does_not_ship(workspace, place):
    store_diffusion(workspace, lambda values: torch.full_like(values, torch.nan))
    before = contents(place)
    with pytest.raises(StoreError, match=r"model\.safetensors: .* not finite"):
        policy_verbs.ship(o.Ship(protocols=("stand_perturb",), seeds=1))
    assert contents(place) == before


def test_a_diffusion_policy_that_falls_does_not_ship(workspace, place, monkeypatch, capfd):
    lasts(monkeypatch, "stand_perturb", 3.0)
    store_diffusion(workspace, torch.zeros_like)
    before = contents(place)
    result = policy_verbs.ship(o.Ship(protocols=("stand_perturb",), seeds=2))
    assert not result.ok
    assert result.document["folder"] is None
    assert result.document["why"] == "stand_perturb: 0% of 2 succeed, 95% required"
    assert result.document["protocols"]["stand_perturb"]["falls"] == 2
    assert "why: stand_perturb" in result.text
    assert contents(place) == before


def test_a_diffusion_policy_that_no_start_fits_does_not_ship(workspace, place, monkeypatch):
    monkeypatch.setattr("beyondmimic_data.control.evaluate.pick_starts", lambda *args: None)
    store_diffusion(workspace, lambda values: values)
    result = policy_verbs.ship(o.Ship(seeds=2))
    assert not result.ok
    assert all(f"{name} was not run" in result.document["why"] for name in examination.PROTOCOLS)


def test_a_diffusion_policy_that_passes_ships_with_what_it_showed(workspace, place, monkeypatch):
    lasts(monkeypatch, "stand_perturb", 0.5)
    store_diffusion(workspace, lambda values: 1.001 * values if values.ndim == 2 else values)
    result = policy_verbs.ship(o.Ship(protocols=("stand_perturb",), seeds=2))
    assert result.ok
    assert result.document["folder"] == str(place)
    assert not (place / "run.json").exists(), "what made the policy before"
    version = hash_file(place / "model.safetensors")
    assert version == hash_file(workspace.store.latest("diffusion", "all").path / "model.safetensors")
    assert read_json(place / CARD)["version"] == version
    evaluation = read_json(place / shipped_diffusion.EVALUATION)
    assert list(evaluation) == ["stand_perturb"]
    entry = evaluation["stand_perturb"]
    assert entry["command"].endswith("--policy shipped --protocol stand_perturb --seeds 2 --seed 9000000")
    assert entry["policy"] == version
    assert (entry["success_rate"], entry["n"], entry["required"]) == (1.0, 2, 0.95)
    assert "success" not in entry
    assert len(RecordedWindows.load(place).rows) == shipped_diffusion.SHIPPED_WINDOWS
    DiffusionPolicy.load(place)


@pytest.mark.parametrize(
    "options",
    [
        o.Ship(protocols=("moonwalk",)),
        o.Ship(seeds=0),
        o.Ship(seeds=-1),
        o.Ship("hop", protocols=("joystick",)),
    ],
)
def test_an_examination_that_makes_no_sense_is_refused(workspace, place, diffusion, options):
    before = contents(place)
    with pytest.raises(ConfigError):
        policy_verbs.ship(options)
    assert contents(place) == before


def test_shipping_without_a_diffusion_policy_says_so(workspace):
    with pytest.raises(BeyondMimicError, match="run the graph first"):
        policy_verbs.ship(o.Ship())
