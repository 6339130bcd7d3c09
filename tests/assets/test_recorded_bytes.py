"""A stage refuses parents whose bytes are not those that the store recorded, before it uses them."""

import dataclasses
import shutil
from pathlib import Path

import dagster as dg
import pytest

from assets import closed_loop_report, deployment_bundle, diffusion_policy, recipes, rollouts, tracking_policy
from assets import dataset as datasets
from assets.building import ALL
from assets.motion import content_version, wanted_recipe
from assets.workspace import Workspace, open_workspace
from beyondmimic_data.cluster import Cluster
from beyondmimic_data.diffusion import shipped
from beyondmimic_data.errors import ConfigError, StoreError
from beyondmimic_data.files import write_json
from beyondmimic_data.overrides import with_overrides
from beyondmimic_data.shipping import CARD
from storage.artifacts import Artifact

SKILL = "walk"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with one skill that has rollouts and a diffusion policy; no file of them can be read."""
    workspace = open_workspace(root=tmp_path, preset="test")
    workspace.motion_folder.mkdir(parents=True)
    (workspace.motion_folder / f"{SKILL}.csv").write_text("1")
    clips = add_motion(workspace)
    policy = add_policy(workspace, clips, "p")
    recipe = recipes.rollouts_recipe(content_version(clips), policy.version, workspace.preset)
    with workspace.store.build("rollouts", SKILL, recipe) as build:
        (build.path / "steps").write_bytes(b"1")
        build.meta |= {"parents": [], "episodes": 9, "rejected": 1, "hours": 1.0, "max_latency_ms": 40.0}
    with workspace.store.build("datasets", ALL, datasets.survey(workspace).recipe(workspace)) as build:
        (build.path / "dataset.json").write_text("{}")
        build.meta |= {"parents": [], "skills": [SKILL], "hours": 1.0}
    add_diffusion(workspace)
    return workspace


def add_motion(workspace: Workspace) -> Artifact:
    recipe = wanted_recipe(workspace, SKILL)
    with workspace.store.build("motions", SKILL, recipe) as build:
        write_json(build.path / "quality.json", [{"clip": SKILL, "accepted": True, "reason": ""}])
        (build.path / "clips").mkdir()
        (build.path / "clips" / f"{SKILL}.npz").write_bytes(b"clip")
        build.meta |= {"parents": [], "content_version": recipe}
    return found(workspace, "motions", SKILL)


def add_policy(workspace: Workspace, clips: Artifact, recipe: str) -> Artifact:
    base = recipes.policy_base(content_version(clips), workspace.preset)
    gate = {"passed": True, "completion": 1.0, "required": 0.9, "n": 100}
    with workspace.store.build("policies", SKILL, recipe) as build:
        (build.path / "policy.safetensors").write_bytes(b"weights")
        write_json(build.path / "evaluation.json", {**gate, "max_latency_ms": 40.0})
        build.meta |= {"parents": [], "base": base, "gate": gate, "warm_start": None, "minutes": None}
        build.meta["network"] = {
            "hidden_dims": list(workspace.preset.ppo.hidden_dims),
            "state_estimation": workspace.preset.task.state_estimation,
        }
    return found(workspace, "policies", SKILL)


def add_diffusion(workspace: Workspace) -> Artifact:
    data = datasets.find_dataset(workspace)
    assert data is not None
    base = recipes.diffusion_base(data.version, workspace.preset)
    with workspace.store.build("diffusion", ALL, base) as build:
        (build.path / "model.safetensors").write_bytes(b"weights")
        build.meta |= {"parents": [], "base": base}
    return found(workspace, "diffusion", ALL)


def found(workspace: Workspace, kind: str, key: str) -> Artifact:
    artifact = workspace.store.latest(kind, key)
    assert artifact is not None
    return artifact


def damage(workspace: Workspace, kind: str, key: str, name: str) -> None:
    path = found(workspace, kind, key).path / name
    path.write_bytes(bytes(len(path.read_bytes())))


def changed(workspace: Workspace, **overrides: object) -> Workspace:
    fields = {name.replace("__", "."): value for name, value in overrides.items()}
    return dataclasses.replace(workspace, preset=with_overrides(workspace.preset, fields))


OF_A_SKILL = pytest.mark.parametrize(
    ("kind", "name"), [("policies", "policy.safetensors"), ("motions", f"clips/{SKILL}.npz")]
)
"""What a skill's later stages open."""


@OF_A_SKILL
def test_another_policy_or_clip_is_not_rolled_out(workspace, kind, name):
    damage(workspace, kind, SKILL, name)
    other = changed(workspace, rollouts__seed=99)
    with pytest.raises(StoreError, match=rf"{name}: its bytes are not those that were stored"):
        rollouts.build_rollouts(other, SKILL, Cluster(), lambda _: None)
    assert len(other.store.list("rollouts", SKILL)) == 1
    assert datasets.rollouts_or_reason(other, SKILL) == "its policy is not rolled out yet"


def test_another_student_does_not_drive(workspace):
    student = found(workspace, "diffusion", ALL).path
    damage(workspace, "diffusion", ALL, "model.safetensors")
    other = changed(workspace, rollouts__student=str(student))
    with pytest.raises(StoreError, match=r"model\.safetensors: its bytes"):
        rollouts.build_rollouts(other, SKILL, Cluster(), lambda _: None)


def test_a_student_that_ships_under_another_card_does_not_drive(workspace, tmp_path):
    shutil.copytree(shipped.FOLDER, tmp_path / "student")
    (tmp_path / "student" / CARD).write_text('{"version": "of another"}')
    other = changed(workspace, rollouts__student=str(tmp_path / "student"))
    with pytest.raises(StoreError, match=r"model\.safetensors: its bytes are not those that ship"):
        rollouts.build_rollouts(other, SKILL, Cluster(), lambda _: None)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b"\xff", None])
def test_a_skill_whose_evaluation_is_damaged_is_left_out(workspace, data):
    path = found(workspace, "policies", SKILL).path / "evaluation.json"
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    assert "evaluation.json cannot be read" in datasets.survey(workspace).left_out[SKILL]


@OF_A_SKILL
def test_no_training_starts_from_another_policy_or_clip(workspace, kind, name):
    damage(workspace, kind, SKILL, name)
    other = changed(workspace, training__seed=99)
    with pytest.raises(StoreError, match=rf"{name}: its bytes"):
        tracking_policy.build_policy(other, SKILL, Cluster(), lambda _: None)
    assert len(other.store.list("policies", SKILL)) == 1


def test_no_diffusion_training_starts_from_another_policy(workspace):
    damage(workspace, "diffusion", ALL, "model.safetensors")
    other = changed(workspace, diffusion__seed=99)
    with pytest.raises(StoreError, match=r"model\.safetensors: its bytes"):
        diffusion_policy.build_diffusion(other, Cluster(), lambda _: None)
    assert len(other.store.list("diffusion", ALL)) == 1


def test_another_diffusion_policy_gets_no_report(workspace):
    damage(workspace, "diffusion", ALL, "model.safetensors")
    with pytest.raises(StoreError, match=r"model\.safetensors: its bytes"):
        closed_loop_report.build_report(workspace, Cluster(), lambda _: None)
    assert workspace.store.list("reports", ALL) == []


def test_another_diffusion_policy_becomes_no_bundle(workspace):
    policy = found(workspace, "diffusion", ALL)
    recipe = recipes.report_recipe(policy.version, workspace.preset)
    with workspace.store.build("reports", ALL, recipe) as build:
        (build.path / "report.md").write_text("it walks")
        build.meta |= {"parents": [], "protocols": {}, "video": None}
    damage(workspace, "diffusion", ALL, "model.safetensors")
    with pytest.raises(StoreError, match=r"model\.safetensors: its bytes"):
        deployment_bundle.build_deployment(workspace, Cluster(), lambda _: None)
    assert workspace.store.list("bundles", ALL) == []


def test_what_is_intact_comes_through_the_door(workspace):
    """The same doors, without damage: what is found behind them is no policy, and says so."""
    with pytest.raises(StoreError, match="holds no diffusion policy"):
        closed_loop_report.build_report(workspace, Cluster(), lambda _: None)


@pytest.mark.parametrize(("share", "teaches"), [(0.0, True), (0.9, True), (0.91, False), (1.0, False)])
def test_a_skill_that_keeps_too_few_episodes_does_not_teach(workspace, share, teaches):
    asked = changed(workspace, rollouts__min_kept_share=share)
    result = datasets.rollouts_or_reason(asked, SKILL)
    if teaches:
        assert result == found(workspace, "rollouts", SKILL)
        return
    assert isinstance(result, str)
    assert f"90.0% of 10 episodes were kept, {share:.0%} required (rollouts.min_kept_share)" in result
    assert datasets.survey(asked).left_out == {SKILL: result}


@pytest.mark.parametrize("share", [0.9, 0.91])
def test_the_ui_shows_whether_enough_episodes_were_kept(workspace, monkeypatch, share):
    monkeypatch.setattr(rollouts, "_shown", lambda artifact, preset: {})  # there are no steps to draw
    asked = changed(workspace, rollouts__min_kept_share=share)
    resources = {"workspace": asked, "cluster": Cluster()}
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("skills", [SKILL])
        result = dg.materialize(
            [rollouts.rollouts, rollouts.kept_enough],
            instance=instance,
            partition_key=SKILL,
            resources={k: dg.ResourceDefinition.hardcoded_resource(v) for k, v in resources.items()},
        )
    [evaluation] = result.get_asset_check_evaluations()
    [event] = result.asset_materializations_for_node("rollouts")
    assert result.success
    assert evaluation.passed == (share == 0.9)
    for text in (str(evaluation.description), str(event.metadata["gate"].value)):
        assert ("90.0% of 10 episodes were kept" in text) == (share == 0.91)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_that_is_none_is_refused(workspace, share):
    with pytest.raises(ConfigError, match=r"rollouts\.min_kept_share"):
        changed(workspace, rollouts__min_kept_share=share)
