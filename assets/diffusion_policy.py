"""Stage 2: one state-action diffusion policy for all skills."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from assets import recipes
from assets.building import ALL, Progress, reuse_or_build
from assets.dataset import build_dataset, dataset, rolled_out_latency
from assets.presentation import materialised, picture, plain_failures, progress_of, table
from assets.warm_start import Start, shipped_start, start_of
from assets.workspace import Workspace
from beyondmimic_data import versions
from beyondmimic_data.cluster import Cluster
from beyondmimic_data.diffusion.policy_files import TRAINING
from beyondmimic_data.diffusion.shipped import shipped_diffusion
from beyondmimic_data.files import read_json
from storage.artifacts import Artifact, Build, describe
from storage.integrity import check_opened

if TYPE_CHECKING:
    from assets.diffusion_windows import DatasetWindows
    from beyondmimic_data.diffusion.train import Judge
    from beyondmimic_data.diffusion.windows import WindowSource

KIND = "diffusion"


def find_diffusion(workspace: Workspace, dataset_artifact: Artifact) -> Artifact | None:
    """Return the newest diffusion policy of a dataset and the present configuration, from whatever start."""
    base = recipes.diffusion_base(dataset_artifact.version, workspace.preset)
    fitting = [a for a in workspace.store.list(KIND, ALL) if a.meta["base"] == base]
    return fitting[-1] if fitting else None


def find_start(workspace: Workspace) -> Start | None:
    """Return the policy to start from: the last one, else the one that ships, if its architecture is ours."""
    last = workspace.store.latest(KIND, ALL)
    if last is not None:
        return start_of(last)
    config = workspace.preset.diffusion
    shipped = shipped_diffusion(config) if config.shipped_start else None
    return shipped_start(shipped.path, shipped.version, ALL) if shipped else None


def wanted_recipe(workspace: Workspace, dataset_artifact: Artifact) -> str:
    """Return the recipe of the diffusion policy that would be trained now."""
    base = recipes.diffusion_base(dataset_artifact.version, workspace.preset)
    start = find_start(workspace)
    return recipes.warm_started(base, start.version if start else None)


def build_diffusion(workspace: Workspace, cluster: Cluster, progress: Progress) -> Artifact:
    """Return the diffusion policy of the present dataset, training it if there is none.

    Training starts from the last diffusion policy, or the one that ships, where its architecture allows.

    Raises:
        GateError: no skill may teach.
        StoreError: the policy or its start is not as it was recorded.
    """
    data = build_dataset(workspace)
    found = find_diffusion(workspace, data)
    if found is not None:
        check_opened(found.path)
        return found
    config = workspace.preset.diffusion
    start = find_start(workspace)
    base = recipes.diffusion_base(data.version, workspace.preset)

    def open_windows() -> "DatasetWindows":
        from assets.diffusion_windows import DatasetWindows

        return DatasetWindows(data, config.window, config.skill_weights)

    def make_judge(windows: "WindowSource") -> "Judge":
        from beyondmimic_data.control.judge import ClosedLoopJudge
        from beyondmimic_data.diffusion.train import recorded_windows

        return ClosedLoopJudge(
            recorded_windows(windows, config.seed),
            workspace.preset,
            runs=config.check_runs,
            latency_ms=rolled_out_latency(data, workspace),
        )

    def make(build: Build) -> None:
        from beyondmimic_data.diffusion.contract import g1_contract
        from beyondmimic_data.diffusion.train import train
        from beyondmimic_data.diffusion.train_together import Job, train_together

        warm_start = start.opened() if start else None
        windows = open_windows()
        contract = g1_contract(workspace.preset.control)
        contract.require_names(windows.joint_names, windows.body_names, str(data.path))

        def show(point: dict[str, float]) -> None:
            progress(_line(point))

        if config.workers > 1:
            job = Job(open_windows, make_judge, config, contract, build.path, warm_start)
            figures = train_together(job, cluster, show)
        else:
            figures = train(
                windows,
                config,
                contract,
                build.path,
                warm_start=warm_start,
                progress=show,
                judge=make_judge(windows),
            )
        build.meta |= {
            "parents": [describe(data)],
            "base": base,
            "warm_start": start.lineage if start and figures["warm_start"]["used"] else None,
            "minutes": config.minutes,
            "figures": figures,
        }

    recipe = recipes.warm_started(base, start.version if start else None)
    return reuse_or_build(workspace.store, KIND, ALL, recipe, make)


@dg.asset(
    deps=[dataset],
    group_name="stage_2_diffusion",
    kinds={"pytorch"},
    owners=["team:diffusion"],
    code_version=versions.DIFFUSION,
    pool="compute",
    description=(
        "A transformer that denoises windows of states and actions together, trained on the dataset's "
        "windows; the policy that costs steer at run time."
    ),
)
def diffusion_policy(
    context: dg.AssetExecutionContext,
    workspace: dg.ResourceParam[Workspace],
    cluster: dg.ResourceParam[Cluster],
) -> dg.MaterializeResult:
    """Train and store the diffusion policy."""
    with plain_failures():
        artifact = build_diffusion(workspace, cluster, progress_of(context))
    return materialised(artifact, _shown(artifact), recipe=artifact.meta["base"])


@dg.asset_check(
    asset=diffusion_policy,
    description="In the trials of its training the policy stayed up; a loss says nothing about that.",
)
def stays_up(workspace: dg.ResourceParam[Workspace]) -> dg.AssetCheckResult:
    """Show what the best trial came to; it does not block, because the report examines the policy itself."""
    with plain_failures():
        policy = find_diffusion(workspace, build_dataset(workspace))
    if policy is None:
        return dg.AssetCheckResult(passed=False, description="there is no policy of the present dataset")
    best, required = policy.meta["figures"]["best_trial"], workspace.preset.diffusion.min_upright
    if best is None:
        why = "it was never tried: diffusion.check_minutes is not set"
        return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN, description=why)
    return dg.AssetCheckResult(
        passed=best["upright"] >= required,
        description=f"up {best['upright']:.0%} of the time in its best trial, {required:.0%} required",
        metadata=dict(best),
    )


def _line(point: dict[str, float]) -> str:
    return (
        f"diffusion: step {point['step']:.0f}, loss {point['loss']:.4f}, "
        f"{point['samples_per_s']:.0f} samples/s, {point['minutes_left']:.1f} min left at most"
    )


def _shown(artifact: Artifact) -> dict[str, Any]:
    figures = artifact.meta["figures"]
    levels = read_json(artifact.path / TRAINING)["validation"]["by_level"]
    return {
        "loss": picture(artifact.path / "loss.png"),
        "validation_loss": figures["validation_loss"],
        "validation_by_level": table([{"noise_level": level, **values} for level, values in levels.items()]),
        "best_trial": dg.MetadataValue.json(figures["best_trial"]),
        "trials": table(read_json(artifact.path / TRAINING)["trials"]),
        "steps": figures["steps"],
        "samples_per_s": figures["samples_per_s"],
        "parameters": figures["parameters"],
        "stopped_by": figures["stopped_by"],
        "warm_start": dg.MetadataValue.json(artifact.meta["warm_start"] or figures["warm_start"]["reason"]),
    }
