"""Domain-randomised rollouts of each skill that passed its gate."""

from pathlib import Path
from typing import Any

import dagster as dg

from assets import recipes
from assets.building import Progress, reuse_or_build
from assets.motion import accepted_clips, build_motion, content_version, find_motion
from assets.partitions import skills
from assets.presentation import RECIPE, materialised, picture, plain_failures, progress_of, table
from assets.tracking_policy import build_policy, find_policy, gate_verdict, tracking_policy
from assets.unit_sink import UnitStore
from assets.workspace import Workspace
from beyondmimic_data import versions
from beyondmimic_data.cluster import Cluster
from beyondmimic_data.config import Preset
from beyondmimic_data.errors import GateError
from beyondmimic_data.files import read_json
from beyondmimic_data.tracking.policy_files import EVALUATION
from storage.artifacts import Artifact, Build, describe, require_free_space
from storage.integrity import check_opened, opened

KIND = "rollouts"
OVERVIEW, RANDOMISATION = "overview.png", "randomisation.png"
"""Pictures of what the episodes cover, why they ended, and what was drawn for them."""


def wanted_recipe(workspace: Workspace, motion_artifact: Artifact, policy: Artifact) -> str:
    """Return the recipe of a policy's rollouts."""
    return recipes.rollouts_recipe(content_version(motion_artifact), policy.version, workspace.preset)


def find_rollouts(
    workspace: Workspace, skill: str, motion_artifact: Artifact, policy: Artifact
) -> Artifact | None:
    """Return the complete rollouts of a policy, if there are any."""
    return workspace.store.find(KIND, skill, wanted_recipe(workspace, motion_artifact, policy))


def kept_verdict(rollouts: Artifact, preset: Preset) -> str | None:
    """Return why rollouts may not teach, or ``None`` if they may: enough of their episodes were kept."""
    kept, rejected = rollouts.meta["episodes"], rollouts.meta["rejected"]
    share, required = kept / max(kept + rejected, 1), preset.rollouts.min_kept_share
    if share >= required:
        return None
    return (
        f"its rollouts fail their gate: {share:.1%} of {kept + rejected} episodes were kept, {required:.0%} "
        "required (rollouts.min_kept_share); train the skill longer or collect with less noise"
    )


def build_rollouts(workspace: Workspace, skill: str, cluster: Cluster, progress: Progress) -> Artifact:
    """Return the rollouts of a skill, collecting what is missing of them.

    Raises:
        GateError: the policy may not teach.
        StoreError: clips or policies are not as they were recorded, or the disk has not enough room.
    """
    clips = build_motion(workspace, skill, progress)
    policy = build_policy(workspace, skill, cluster, progress)
    reason = gate_verdict(policy)
    if reason is not None:
        raise GateError(f"{skill}: {reason}")

    def make(build: Build) -> None:
        from beyondmimic_data.diffusion.policy import DiffusionPolicy
        from beyondmimic_data.motions.clip import Clip
        from beyondmimic_data.rollouts.collect import units_for_hours
        from beyondmimic_data.rollouts.student_source import student_folder
        from beyondmimic_data.rollouts.workers import CollectionJob, collect_units

        preset = workspace.preset
        opened(clips)
        teacher, student = opened(policy), student_folder(preset.rollouts)
        if student is not None:
            check_opened(student, again=True)
            DiffusionPolicy.load(student)  # one that cannot be loaded would take one worker after the other
        usable = read_json(teacher / EVALUATION)["max_latency_ms"]
        paths = tuple(accepted_clips(clips))
        job = CollectionJob(skill, paths, teacher, usable, preset, student)
        names, units = [path.stem for path in paths], units_for_hours(preset.rollouts.hours, preset)
        sink = UnitStore.create(build.path, names, preset.control.control_hz, preset.rollouts, units)
        missing = sink.missing_units()
        if len(missing) < units:
            progress(f"{skill}: going on with {units - len(missing)} of {units} units that are there")
        require_free_space(build.path, len(missing) * sink.unit_bytes)
        with cluster.session():
            workers = cluster.workers(preset.rollouts.cpus_per_worker)
            collect_units(job, sink, missing, workers=workers, progress=progress)
        build.digests |= sink.finish()
        totals = sink.totals()
        frames = {name: Clip.load(path).num_frames for name, path in zip(names, paths, strict=True)}
        _draw(build.path, frames, preset, usable)
        build.meta |= {
            "parents": [describe(clips), describe(policy)],
            "max_latency_ms": usable,
            "hours": totals["kept_steps"] / preset.control.control_hz / 3600,
            "clip_frames": frames,
            **totals,
        }

    return reuse_or_build(workspace.store, KIND, skill, wanted_recipe(workspace, clips, policy), make)


@dg.asset(
    deps=[tracking_policy],
    partitions_def=skills,
    group_name="rollouts_and_dataset",
    kinds={"mujoco", "zarr", "parquet"},
    owners=["team:tracking"],
    code_version=versions.ROLLOUTS,
    pool="compute",
    description=(
        "The skill's policy, rolled out under randomised friction, mass, damping, latency and pushes, with "
        "noise on its actions. A skill that failed its gate has none, and says why; one that could keep too "
        "few episodes does not teach."
    ),
)
def rollouts(
    context: dg.AssetExecutionContext,
    workspace: dg.ResourceParam[Workspace],
    cluster: dg.ResourceParam[Cluster],
) -> dg.MaterializeResult:
    """Collect and store the rollouts of one skill, or say why it has none."""
    skill = context.partition_key
    with plain_failures():
        policy = build_policy(workspace, skill, cluster, progress_of(context))
        reason = gate_verdict(policy)
        if reason is not None:
            context.log.warning(f"{skill} is not rolled out: {reason}")
            return _none(policy, reason)
        artifact = build_rollouts(workspace, skill, cluster, progress_of(context))
    why = kept_verdict(artifact, workspace.preset)
    if why is not None:
        context.log.warning(f"{skill} does not teach: {why}")
    return materialised(artifact, _shown(artifact, workspace.preset) | {"gate": why or "passed"})


@dg.asset_check(
    asset=rollouts,
    partitions_def=skills,
    description="Enough episodes were kept; the dataset leaves a skill out where they were not.",
)
def kept_enough(
    context: dg.AssetCheckExecutionContext, workspace: dg.ResourceParam[Workspace]
) -> dg.AssetCheckResult:
    """Show the verdict; it does not block, because the dataset leaves the skill out by itself."""
    skill = context.partition_key
    with plain_failures():
        clips = find_motion(workspace, skill)
        policy = clips and find_policy(workspace, skill, clips)
        found = clips and policy and find_rollouts(workspace, skill, clips, policy)
    if not found:
        return dg.AssetCheckResult(passed=False, description="there are no rollouts of the present policy")
    why = kept_verdict(found, workspace.preset)
    metadata = {name: found.meta[name] for name in ("episodes", "rejected")}
    return dg.AssetCheckResult(passed=why is None, description=why or "may teach", metadata=metadata)


def no_rollouts_recipe(policy: Artifact) -> str:
    """Return what stands for the rollouts of a policy that failed its gate."""
    return f"none:{policy.version}"


def _none(policy: Artifact, reason: str) -> dg.MaterializeResult:
    recipe = no_rollouts_recipe(policy)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(recipe),
        metadata={"left_out": reason, "episodes": 0, "hours": 0.0, RECIPE: recipe},
    )


def _draw(folder: Path, clip_frames: dict[str, int], preset: Preset, max_latency_ms: float) -> None:
    """Draw what a person looks at first, into the artifact: equal episodes give equal pictures."""
    from beyondmimic_data.rollouts import overview
    from storage.episode_index import read_episodes
    from storage.layout import EPISODES

    episodes = read_episodes(folder / EPISODES).select(overview.COLUMNS).to_pylist()
    hz = preset.control.control_hz
    passes = overview.coverage(episodes, clip_frames, hz)
    overview.plot_overview(episodes, passes, hz, "clip", folder / OVERVIEW)
    quantities = overview.drawn(episodes, preset.randomisation, preset.rollouts, max_latency_ms)
    overview.plot_drawn(quantities, folder / RANDOMISATION)


def _shown(artifact: Artifact, preset: Preset) -> dict[str, Any]:
    from beyondmimic_data.rollouts.overview import coverage
    from storage.episode_index import read_episodes
    from storage.layout import EPISODES

    episodes = read_episodes(artifact.path / EPISODES)
    lengths, errors = (episodes[name].to_numpy() for name in ("length", "body_pos_err_m"))
    meta, rows = artifact.meta, episodes.select(["clip", "start_frame", "length"]).to_pylist()
    passes = coverage(rows, meta["clip_frames"], preset.control.control_hz)
    return {
        "episodes": episodes.num_rows,
        "hours": float(lengths.sum()) / preset.control.control_hz / 3600,
        "rejected_episodes": meta["rejected"],
        "kept_share": meta["kept_steps"] / meta["simulated_steps"],
        "fewest_passes_of_a_second": float(min(one.min(initial=float("inf")) for one in passes.values())),
        "body_pos_err_m": float(errors.mean()),
        "max_latency_ms": meta["max_latency_ms"],
        "coverage": picture(artifact.path / OVERVIEW),
        "randomisation": picture(artifact.path / RANDOMISATION),
        "first_episodes": table(_head(episodes)),
    }


def _head(episodes: Any, rows: int = 8) -> list[dict[str, Any]]:
    columns = [
        "episode_id",
        "clip",
        "length",
        "termination",
        "latency_ms",
        "friction",
        "pushes",
        "body_pos_err_m",
    ]
    return episodes.select(columns).slice(0, rows).to_pylist()
