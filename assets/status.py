"""What the present motions, configuration and code ask for, and whether the store has it."""

import dataclasses

from assets.building import ALL
from assets.closed_loop_report import find_report
from assets.dataset import KIND as DATASETS
from assets.dataset import survey
from assets.deployment_bundle import find_bundle
from assets.diffusion_policy import find_diffusion
from assets.motion import content_version, find_motion, refusal, wanted_recipe
from assets.recipes import bundle_recipe, diffusion_base, policy_base, report_recipe, rollouts_recipe
from assets.rollouts import find_rollouts, no_rollouts_recipe
from assets.tracking_policy import find_policy, gate_verdict
from assets.workspace import Workspace


@dataclasses.dataclass(frozen=True)
class StageStatus:
    """One asset of one skill, or of all."""

    asset: str
    """Name of the asset."""
    recipe: str | None
    """Recipe that is wanted; ``None`` while an earlier stage, which decides it, is missing."""
    complete: bool
    """The store holds it."""


def skill_status(workspace: Workspace, skill: str) -> list[StageStatus]:
    """Return the stages that a skill should have, in order; a refused motion has no later ones.

    Raises:
        BeyondMimicError: the skill's files or their ``motions.toml`` cannot be read.
    """
    preset = workspace.preset
    clips = find_motion(workspace, skill)
    first = StageStatus("motion", wanted_recipe(workspace, skill), clips is not None)
    if clips is None:
        return [first, _unknown("tracking_policy"), _unknown("rollouts")]
    if refusal(clips) is not None:
        return [first]
    policy = find_policy(workspace, skill, clips)
    second = StageStatus("tracking_policy", policy_base(content_version(clips), preset), policy is not None)
    if policy is None:
        return [first, second, _unknown("rollouts")]
    if gate_verdict(policy) is not None:
        return [first, second, StageStatus("rollouts", no_rollouts_recipe(policy), True)]
    found = find_rollouts(workspace, skill, clips, policy)
    recipe = rollouts_recipe(content_version(clips), policy.version, preset)
    return [first, second, StageStatus("rollouts", recipe, found is not None)]


def combined_status(workspace: Workspace) -> list[StageStatus]:
    """Return the stages that all skills share; none while no skill may teach."""
    found = survey(workspace)
    if not found.included:
        return []
    recipe = found.recipe(workspace)
    data = workspace.store.find(DATASETS, ALL, recipe)
    first = StageStatus("dataset", recipe, data is not None)
    later = ("diffusion_policy", "closed_loop_report", "deployment_bundle")
    if data is None:
        return [first, *(_unknown(name) for name in later)]
    policy = find_diffusion(workspace, data)
    second = StageStatus(
        "diffusion_policy", diffusion_base(data.version, workspace.preset), policy is not None
    )
    if policy is None:
        return [first, second, *(_unknown(name) for name in later[1:])]
    return [
        first,
        second,
        StageStatus(
            "closed_loop_report",
            report_recipe(policy.version, workspace.preset),
            find_report(workspace, policy) is not None,
        ),
        StageStatus(
            "deployment_bundle",
            bundle_recipe(policy.version, workspace.preset),
            find_bundle(workspace, policy) is not None,
        ),
    ]


def _unknown(asset: str) -> StageStatus:
    return StageStatus(asset, None, False)
