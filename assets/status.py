"""What the present motions, configuration and code ask for, and whether the store has it."""

import dataclasses

from assets import closed_loop_report, dataset, deployment_bundle, diffusion_policy, motion, rollouts
from assets import tracking_policy as tracking
from assets.building import ALL, failure
from assets.recipes import diffusion_base, policy_base, report_recipe
from assets.workspace import Workspace
from storage.artifacts import Artifact


@dataclasses.dataclass(frozen=True)
class StageStatus:
    """One asset of one skill, or of all."""

    asset: str
    """Name of the asset."""
    recipe: str | None
    """What Dagster should show as materialised; ``None`` while the stage that decides it is missing."""
    complete: bool
    """The store holds it."""
    failed: str | None = None
    """Why it could not be built; nothing but a person tries the same recipe again."""


def skill_status(workspace: Workspace, skill: str) -> list[StageStatus]:
    """Return the stages that a skill should have, in order; a refused motion has no later ones.

    Raises:
        BeyondMimicError: the skill's files or their ``motions.toml`` cannot be read.
    """
    store = workspace.store
    recipe = motion.wanted_recipe(workspace, skill)
    clips = motion.find_motion(workspace, skill)
    if clips is None:
        why = failure(store, motion.KIND, skill, recipe)
        return [StageStatus("motion", recipe, False, why), *_later("tracking_policy", "rollouts")]
    stages = [StageStatus("motion", recipe, True)]
    if motion.refusal(clips) is not None:
        return stages
    base = policy_base(motion.content_version(clips), workspace.preset)
    policy = tracking.find_policy(workspace, skill, clips)
    if policy is None:
        why = failure(store, tracking.KIND, skill, tracking.wanted_recipe(workspace, skill, clips))
        return [*stages, StageStatus("tracking_policy", base, False, why), *_later("rollouts")]
    stages.append(StageStatus("tracking_policy", base, True))
    if tracking.gate_verdict(policy) is not None:
        return [*stages, StageStatus("rollouts", rollouts.no_rollouts_recipe(policy), True)]
    recipe = rollouts.wanted_recipe(workspace, clips, policy)
    found = rollouts.find_rollouts(workspace, skill, clips, policy)
    return [*stages, _status(workspace, "rollouts", rollouts.KIND, skill, recipe, found)]


def combined_status(workspace: Workspace) -> list[StageStatus]:
    """Return the stages that all skills share; none while no skill may teach."""
    found = dataset.survey(workspace)
    if not found.included:
        return []
    recipe = found.recipe(workspace)
    data = workspace.store.find(dataset.KIND, ALL, recipe)
    stages = [_status(workspace, "dataset", dataset.KIND, ALL, recipe, data)]
    if data is None:
        return [*stages, *_later("diffusion_policy", "closed_loop_report", "deployment_bundle")]
    base = diffusion_base(data.version, workspace.preset)
    policy = diffusion_policy.find_diffusion(workspace, data)
    if policy is None:
        wanted = diffusion_policy.wanted_recipe(workspace, data)
        why = failure(workspace.store, diffusion_policy.KIND, ALL, wanted)
        later = _later("closed_loop_report", "deployment_bundle")
        return [*stages, StageStatus("diffusion_policy", base, False, why), *later]
    report = closed_loop_report.find_report(workspace, policy)
    report_wanted = report_recipe(policy.version, workspace.preset)
    stages += [
        StageStatus("diffusion_policy", base, True),
        _status(workspace, "closed_loop_report", closed_loop_report.KIND, ALL, report_wanted, report),
    ]
    if report is None:
        return [*stages, *_later("deployment_bundle")]
    bundle = deployment_bundle.find_bundle(workspace, policy, report)
    bundle_wanted = deployment_bundle.wanted_recipe(workspace, policy, report)
    return [
        *stages,
        _status(workspace, "deployment_bundle", deployment_bundle.KIND, ALL, bundle_wanted, bundle),
    ]


def _status(
    workspace: Workspace, asset: str, kind: str, key: str, recipe: str, found: Artifact | None
) -> StageStatus:
    """Return the status of an asset whose artifact has the recipe that Dagster shows."""
    if found is not None:
        return StageStatus(asset, recipe, True)
    return StageStatus(asset, recipe, False, failure(workspace.store, kind, key, recipe))


def _later(*assets: str) -> list[StageStatus]:
    return [StageStatus(asset, None, False) for asset in assets]
