"""Stage 1: one tracking policy a skill, and the gate that decides whether it may teach."""

import dataclasses
import math
from typing import Any

import dagster as dg

from assets import recipes
from assets.building import Progress, reuse_or_build
from assets.motion import accepted_clips, build_motion, content_version, find_motion, motion
from assets.partitions import skills
from assets.presentation import materialised, picture, plain_failures, progress_of, table
from assets.warm_start import KIND, Start, find_start, network
from assets.workspace import Workspace
from beyondmimic_data import versions
from beyondmimic_data.cluster import Cluster
from beyondmimic_data.config import get_preset
from beyondmimic_data.files import path_below, read_json
from beyondmimic_data.overrides import differences
from beyondmimic_data.tracking.policy_files import EVALUATION, TRAINING
from storage.artifacts import Artifact, Build, describe
from storage.integrity import check_opened, opened

SHOWN = ("clip", "completion", "wilson_low", "n", "body_pos_err_m", "velocity_err_m_s")
"""What a policy's page says of each clip."""
LOGS = "tensorboard"
"""Folder of the data root with the curves of every training, by skill and recipe."""


def find_policy(workspace: Workspace, skill: str, motion_artifact: Artifact) -> Artifact | None:
    """Return the newest policy trained on these clips with this configuration, from whatever start.

    One that failed its gate within fewer minutes than there are now does not count: it is trained on.
    """
    base = recipes.policy_base(content_version(motion_artifact), workspace.preset)
    minutes = _minutes(workspace.preset.training.minutes)
    fitting = [
        a
        for a in workspace.store.list(KIND, skill)
        if a.meta["base"] == base and (a.meta["gate"]["passed"] or _minutes(a.meta["minutes"]) >= minutes)
    ]
    return fitting[-1] if fitting else None


def _minutes(budget: float | None) -> float:
    return math.inf if budget is None else budget


def wanted_recipe(workspace: Workspace, skill: str, motion_artifact: Artifact) -> str:
    """Return the recipe of the policy that would be trained now."""
    base = recipes.policy_base(content_version(motion_artifact), workspace.preset)
    return _recipe(base, find_start(workspace, skill))


def _recipe(base: str, start: Start | None) -> str:
    return recipes.warm_started(base, start.version if start else None)


def build_policy(workspace: Workspace, skill: str, cluster: Cluster, progress: Progress) -> Artifact:
    """Return the policy of a skill, training it if there is none for its clips and configuration.

    Raises:
        GateError: no clip of the skill passed its quality check.
        StoreError: the policy, the clips or the start are not as they were recorded.
        BeyondMimicError: training failed.
    """
    clips = build_motion(workspace, skill, progress)
    found = find_policy(workspace, skill, clips)
    if found is not None:
        check_opened(found.path)
        return found
    preset, paths = workspace.preset, accepted_clips(clips)
    start = find_start(workspace, skill)
    base = recipes.policy_base(content_version(clips), preset)
    recipe = _recipe(base, start)
    logs = path_below(workspace.root, LOGS, skill, recipe)

    def make(build: Build) -> None:
        from beyondmimic_data.tracking.workers import train_skill

        opened(clips)
        warm_start = start.opened() if start else None
        with cluster.session():
            cluster.check_gpus(preset.training.gpus_per_skill)
            cpus = cluster.fit(preset.training.cpus_per_skill)
            training = dataclasses.replace(preset.training, cpus_per_skill=cpus)
            fitting = dataclasses.replace(preset, training=training)
            evaluation = train_skill(
                skill,
                paths,
                fitting,
                build.path,
                warm_start=warm_start,
                foreign=start is not None and start.lineage["key"] != skill,
                logs=logs,
                progress=progress,
            )
        # Training drops a start that is of no use.
        used = start if read_json(build.path / TRAINING)["warm_start"] is not None else None
        build.meta |= {
            "parents": [describe(clips)],
            "base": base,
            "warm_start": used.lineage if used else None,
            "network": network(preset),
            "minutes": preset.training.minutes,
            "settings": {"preset": preset.name, "changes": differences(get_preset(preset.name), preset)},
            "gate": {k: evaluation[k] for k in ("passed", "completion", "required", "n")},
        }

    return reuse_or_build(workspace.store, KIND, skill, recipe, make)


def gate_verdict(policy: Artifact) -> str | None:
    """Return why a policy may not teach, or ``None`` if it may; one whose evaluation is damaged may not."""
    path = policy.path / EVALUATION
    try:
        result = read_json(path)
        passed = result["passed"]
    except (KeyError, OSError, TypeError, ValueError) as error:
        return (
            f"{path} cannot be read ({error!r}); restore it, or remove {policy.path} to train the skill again"
        )
    if passed:
        return None
    return (
        f"its policy fails its gate: {result['completion']:.0%} of {result['n']} starts complete, "
        f"{result['required']:.0%} required; its bodies are {100 * result['body_pos_err_m']:.1f} cm off, "
        f"{100 * result['max_body_pos_err_m']:.0f} cm allowed, its velocity "
        f"{result['velocity_err_m_s']:.2f} m/s, {result['max_velocity_err_m_s']:.2f} m/s allowed"
    )


@dg.asset(
    deps=[motion],
    partitions_def=skills,
    group_name="stage_1_tracking",
    kinds={"pytorch", "mujoco"},
    owners=["team:tracking"],
    code_version=versions.TRACKING,
    pool="compute",
    description=(
        "A policy that tracks the skill's clips, trained with PPO and held against its gate on seeds that "
        "training never used. It starts from the skill's last policy, from one that ships with the project, "
        "or from the best of the other skills'."
    ),
)
def tracking_policy(
    context: dg.AssetExecutionContext,
    workspace: dg.ResourceParam[Workspace],
    cluster: dg.ResourceParam[Cluster],
) -> dg.MaterializeResult:
    """Train, evaluate and store the policy of one skill."""
    with plain_failures():
        policy = build_policy(workspace, context.partition_key, cluster, progress_of(context))
    return materialised(policy, _shown(policy), recipe=policy.meta["base"])


@dg.asset_check(
    asset=tracking_policy,
    partitions_def=skills,
    description="Enough starts complete for the policy to teach; one that fails is left out of the dataset.",
)
def gate(
    context: dg.AssetCheckExecutionContext, workspace: dg.ResourceParam[Workspace]
) -> dg.AssetCheckResult:
    """Show the gate's verdict; it does not block, because the dataset leaves the skill out by itself."""
    with plain_failures():
        clips = find_motion(workspace, context.partition_key)
        policy = clips and find_policy(workspace, context.partition_key, clips)
    if not policy:
        return dg.AssetCheckResult(passed=False, description="there is no policy for the present motion")
    reason = gate_verdict(policy)
    return dg.AssetCheckResult(
        passed=reason is None, description=reason or "may teach", metadata=dict(policy.meta["gate"])
    )


def _shown(policy: Artifact) -> dict[str, Any]:
    result = read_json(policy.path / EVALUATION)
    return {
        "training": picture(policy.path / "curve.png"),
        "completion": result["completion"],
        "gate": "passed" if result["passed"] else gate_verdict(policy),
        "body_pos_err_m": result["body_pos_err_m"],
        "velocity_err_m_s": result["velocity_err_m_s"],
        "clips": table([{name: row[name] for name in SHOWN} for row in result["clips"]]),
        "completion_by_latency": table(result["latency_bins"]),
        "max_latency_ms": result["max_latency_ms"],
        "warm_start": dg.MetadataValue.json(policy.meta["warm_start"]),
        "tensorboard": f"tensorboard --logdir {policy.root / LOGS}",
        "onnx_max_abs_err": result["onnx_max_abs_err"],
        "onnx": dg.MetadataValue.path(str(policy.path / "policy.onnx")),
    }
