"""The dataset version: which skills teach, which do not and why, and how episodes are split."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from assets import recipes
from assets.building import ALL, failure, reuse_or_build
from assets.motion import find_motion, refusal
from assets.motion import wanted_recipe as motion_recipe
from assets.presentation import RECIPE, materialised, picture, plain_failures, table
from assets.rollouts import OVERVIEW, find_rollouts, kept_verdict, rollouts
from assets.rollouts import wanted_recipe as rollouts_recipe
from assets.tracking_policy import find_policy, gate_verdict
from assets.tracking_policy import wanted_recipe as policy_recipe
from assets.workspace import Workspace
from beyondmimic_data import versions
from beyondmimic_data.errors import GateError
from storage.artifacts import Artifact, Build, describe

KIND = "datasets"


@dataclasses.dataclass(frozen=True)
class Survey:
    """What the store holds for the present motions, configuration and code."""

    included: dict[str, Artifact]
    """Rollouts by skill."""
    left_out: dict[str, str]
    """Reason by skill."""

    def recipe(self, workspace: Workspace) -> str:
        """Return the recipe of the dataset of these skills."""
        parents = [(skill, artifact.version) for skill, artifact in self.included.items()]
        return recipes.dataset_recipe(parents, workspace.preset)

    def reasons(self) -> str:
        """Return why skills are left out, in one line."""
        return "; ".join(f"{skill}: {why}" for skill, why in self.left_out.items()) or "there are no motions"


def survey(workspace: Workspace) -> Survey:
    """Look up every skill of the motion folder; what is missing or failed is left out with its reason."""
    included: dict[str, Artifact] = {}
    left_out: dict[str, str] = {}
    for skill in workspace.motions.skills:
        found = rollouts_or_reason(workspace, skill)
        if isinstance(found, str):
            left_out[skill] = found
        else:
            included[skill] = found
    return Survey(included, left_out)


def rollouts_or_reason(workspace: Workspace, skill: str) -> Artifact | str:
    """Return the rollouts of a skill that may teach, or why it may not."""
    store = workspace.store
    clips = find_motion(workspace, skill)
    if clips is None:
        why = failure(store, "motions", skill, motion_recipe(workspace, skill))
        return f"its motion is refused: {why}" if why else "its motion is not imported yet"
    reason = refusal(clips)
    if reason is not None:
        return f"its motion is refused: {reason}"
    policy = find_policy(workspace, skill, clips)
    if policy is None:
        why = failure(store, "policies", skill, policy_recipe(workspace, skill, clips))
        return f"training failed: {why}" if why else "it has no policy for its motion and configuration yet"
    reason = gate_verdict(policy)
    if reason is not None:
        return reason
    found = find_rollouts(workspace, skill, clips, policy)
    if found is not None:
        return kept_verdict(found, workspace.preset) or found
    why = failure(store, "rollouts", skill, rollouts_recipe(workspace, clips, policy))
    return f"its rollouts failed: {why}" if why else "its policy is not rolled out yet"


def find_dataset(workspace: Workspace) -> Artifact | None:
    """Return the complete dataset of what the store holds now."""
    return workspace.store.find(KIND, ALL, survey(workspace).recipe(workspace))


def build_dataset(workspace: Workspace) -> Artifact:
    """Return the dataset of all skills that may teach.

    Raises:
        GateError: there is none.
    """
    found = survey(workspace)
    if not found.included:
        raise GateError(f"the dataset would be empty: {found.reasons()}")

    def make(build: Build) -> None:
        from storage.datasets import write_dataset

        config = workspace.preset.dataset
        description = write_dataset(
            build.path,
            list(found.included.items()),
            found.left_out,
            validation_fraction=config.validation_fraction,
            split_seed=config.split_seed,
        )
        _draw(build.path, list(found.included.values()), workspace.preset.control.control_hz)
        build.meta |= {
            "parents": [describe(artifact) for artifact in found.included.values()],
            "skills": sorted(found.included),
            "hours": description["statistics"]["hours"],
        }

    return reuse_or_build(workspace.store, KIND, ALL, found.recipe(workspace), make)


def _draw(folder: Path, included: Sequence[Artifact], control_hz: float) -> None:
    """Draw what the episodes of all skills cover, into the artifact."""
    from beyondmimic_data.rollouts import overview
    from storage.episode_index import read_episodes
    from storage.layout import EPISODES

    columns = ["skill", "clip", "start_frame", "length", "termination"]
    episodes = read_episodes(folder / EPISODES).select(columns).to_pylist()
    frames = {clip: n for rollouts in included for clip, n in rollouts.meta["clip_frames"].items()}
    passes = overview.coverage(episodes, frames, control_hz)
    overview.plot_overview(episodes, passes, control_hz, "skill", folder / OVERVIEW)


def rolled_out_latency(data: Artifact, workspace: Workspace) -> tuple[float, float]:
    """Return the range of latency, ms, that the rollouts of every skill of a dataset cover."""
    found = survey(workspace).included
    highest = min(found[skill].meta["max_latency_ms"] for skill in data.meta["skills"])
    low, high = workspace.preset.randomisation.latency_ms
    return low, max(min(high, highest), low)


@dg.asset(
    deps=[rollouts],
    group_name="rollouts_and_dataset",
    kinds={"parquet"},
    owners=["team:diffusion"],
    code_version=versions.DATASET,
    description=(
        "The rollouts of all skills that passed, as one version with statistics and a split by episode. It "
        "looks skills up in the store itself: one that failed is listed with its reason and stops none."
    ),
)
def dataset(
    context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]
) -> dg.MaterializeResult:
    """Write the dataset version, or show that nothing may teach."""
    found = survey(workspace)
    for skill, reason in found.left_out.items():
        context.log.warning(f"{skill} is left out: {reason}")
    if not found.included:
        recipe = found.recipe(workspace)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(f"empty:{recipe}"),
            metadata={RECIPE: recipe, "hours": 0.0, "left_out": _left_out(found)},
        )
    with plain_failures():
        artifact = build_dataset(workspace)
    return materialised(artifact, _shown(artifact, found))


@dg.asset_check(
    asset=dataset, blocking=True, description="At least one skill teaches; nothing is trained on nothing."
)
def not_empty(workspace: dg.ResourceParam[Workspace]) -> dg.AssetCheckResult:
    """Stop the graph here when no skill passed."""
    found = survey(workspace)
    return dg.AssetCheckResult(
        passed=bool(found.included),
        description=", ".join(found.included) if found.included else f"empty: {found.reasons()}",
        metadata={"skills": len(found.included), "left_out": len(found.left_out)},
    )


def _left_out(found: Survey) -> dg.MetadataValue:
    return table([{"skill": skill, "reason": reason} for skill, reason in found.left_out.items()])


def _shown(artifact: Artifact, found: Survey) -> dict[str, Any]:
    from storage.datasets import read_dataset

    description = read_dataset(artifact.path)
    columns = ("skill", "episodes", "validation_episodes", "steps", "hours")
    return {
        "hours": description["statistics"]["hours"],
        "episodes": description["statistics"]["episodes"],
        "skills": table([{c: entry[c] for c in columns} for entry in description["skills"]]),
        "coverage": picture(artifact.path / OVERVIEW),
        "left_out": _left_out(found),
    }
