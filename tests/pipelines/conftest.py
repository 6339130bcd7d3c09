"""A workspace whose store says what a finished graph would say, without training anything."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from assets import recipes
from assets.motion import content_version, wanted_recipe
from assets.presentation import RECIPE
from assets.status import combined_status, skill_status
from assets.workspace import Workspace, open_workspace
from beyondmimic_data.files import write_json
from storage.artifacts import Artifact


class Stage:
    """Puts artifacts into the store and events into Dagster, as if stages had run."""

    def __init__(self, root: Path, instance: dg.DagsterInstance) -> None:
        self.root, self.instance = root, instance

    @property
    def workspace(self) -> Workspace:
        """The workspace as a new process would see it."""
        return open_workspace(root=self.root, preset="test")

    def motion_file(self, name: str, content: str = "1") -> Path:
        path = self.workspace.motion_folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path

    def import_motion(self, skill: str, *, accepted: bool = True, content: str | None = None) -> Artifact:
        workspace = self.workspace
        report = {"clip": skill, "accepted": accepted, "reason": "" if accepted else "it floats"}
        recipe = wanted_recipe(workspace, skill)
        with workspace.store.build("motions", skill, recipe) as build:
            write_json(build.path / "quality.json", [report])
            build.meta |= {"parents": [], "content_version": content or recipe}
        return self._found("motions", skill, recipe)

    def train(self, skill: str, motion: Artifact, *, completion: float = 1.0) -> Artifact:
        workspace = self.workspace
        base = recipes.policy_base(content_version(motion), workspace.preset)
        result = {"passed": completion >= 0.9, "completion": completion, "required": 0.9, "n": 100}
        errors = {"body_pos_err_m": 0.05, "max_body_pos_err_m": 0.1}
        errors |= {"velocity_err_m_s": 0.1, "max_velocity_err_m_s": 0.2}
        with workspace.store.build("policies", skill, base) as build:
            write_json(build.path / "evaluation.json", {**result, **errors, "max_latency_ms": 40.0})
            build.meta |= {"parents": [], "base": base, "network": {}, "gate": result}
            build.meta |= {"warm_start": None, "minutes": workspace.preset.training.minutes}
        return self._found("policies", skill, base)

    def roll_out(self, skill: str, motion: Artifact, policy: Artifact, *, rejected: int = 0) -> Artifact:
        workspace = self.workspace
        recipe = recipes.rollouts_recipe(content_version(motion), policy.version, workspace.preset)
        with workspace.store.build("rollouts", skill, recipe) as build:
            write_json(build.path / "steps.json", {"skill": skill, "recipe": recipe})
            build.meta |= {"parents": [], "hours": 0.1, "max_latency_ms": 40.0}
            build.meta |= {"episodes": 12, "rejected": rejected}
        return self._found("rollouts", skill, recipe)

    def finish_skill(self, skill: str, *, completion: float = 1.0, content: str | None = None) -> None:
        """Have a skill go through all its stages, in the store and in Dagster."""
        motion = self.import_motion(skill, content=content)
        policy = self.train(skill, motion, completion=completion)
        if completion >= 0.9:
            self.roll_out(skill, motion, policy)
        self.record_skill(skill)

    def finish_combined(self) -> None:
        """Have the shared stages go through, in the store and in Dagster."""
        kinds = {
            "dataset": "datasets",
            "diffusion_policy": "diffusion",
            "closed_loop_report": "reports",
            "deployment_bundle": "bundles",
        }
        for _ in kinds:
            workspace = self.workspace
            for status in combined_status(workspace):
                if status.recipe is not None and not status.complete:
                    with workspace.store.build(kinds[status.asset], "all", status.recipe) as build:
                        write_json(build.path / "content.json", status.recipe)
                        build.meta |= {"parents": [], "base": status.recipe, "skills": [], "video": None}
        stages = combined_status(self.workspace)
        assert [s.asset for s in stages] == list(kinds)
        assert all(s.complete for s in stages)
        for status in stages:
            self.record(status.asset, status.recipe)

    def record_skill(self, skill: str) -> None:
        for status in skill_status(self.workspace, skill):
            self.record(status.asset, status.recipe, skill)

    def record(self, asset: str, recipe: str | None, partition: str | None = None) -> None:
        self.instance.report_runless_asset_event(
            dg.AssetMaterialization(
                asset,
                partition=partition,
                metadata={RECIPE: recipe or ""},
                tags={"dagster/data_version": str(recipe)},
            )
        )

    def record_run(self, tags: dict[str, str], status: dg.DagsterRunStatus) -> None:
        """Record a run that a request led to."""
        self.instance.add_run(dg.DagsterRun(job_name="skill_pipeline", tags=tags, status=status))

    def _found(self, kind: str, key: str, recipe: str) -> Artifact:
        artifact = self.workspace.store.find(kind, key, recipe)
        assert artifact is not None
        return artifact


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Stage(tmp_path, instance)


@pytest.fixture
def stored_stage(tmp_path: Path) -> Iterator[Stage]:
    """A stage whose Dagster instance is on the disk; slower."""
    with dg.instance_for_test() as instance:
        yield Stage(tmp_path, instance)
