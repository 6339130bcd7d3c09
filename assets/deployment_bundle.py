"""The deployment bundle: what a robot needs, with proof that it computes what was trained."""

from typing import Any

import dagster as dg

from assets import recipes
from assets.building import ALL, Progress, reuse_or_build
from assets.closed_loop_report import build_report, closed_loop_report, report_verdict
from assets.diffusion_policy import build_diffusion, diffusion_policy
from assets.presentation import materialised, plain_failures, progress_of, table
from assets.workspace import Workspace
from beyondmimic_data import versions
from beyondmimic_data.cluster import Cluster
from beyondmimic_data.files import read_json
from storage.artifacts import Artifact, ArtifactStore, Build, describe
from storage.integrity import opened

KIND = "bundles"
PARITY = "parity.json"


def wanted_recipe(workspace: Workspace, policy: Artifact, report: Artifact) -> str:
    """Return the recipe of the bundle of a diffusion policy with its report."""
    return recipes.bundle_recipe(policy.version, report.version, workspace.preset)


def find_bundle(workspace: Workspace, policy: Artifact, report: Artifact) -> Artifact | None:
    """Return the bundle of a diffusion policy with its report under the present configuration."""
    return workspace.store.find(KIND, ALL, wanted_recipe(workspace, policy, report))


def build_deployment(workspace: Workspace, cluster: Cluster, progress: Progress) -> Artifact:
    """Return the bundle of the present diffusion policy, exporting it if there is none.

    Raises:
        GateError: no skill may teach.
        StoreError: the policy is not as it was recorded.
        BeyondMimicError: the export computes something else than the policy.
    """
    report = build_report(workspace, cluster, progress)
    policy = build_diffusion(workspace, cluster, progress)

    def make(build: Build) -> None:
        from beyondmimic_data.deploy.bundle import ClosedLoopVerdict, build_bundle

        why = report_verdict(report, workspace)
        success = {name: f.get("success_rate") for name, f in report.meta["protocols"].items()}
        verdict = ClosedLoopVerdict(why is None, why, success)
        progress(f"bundle: {verdict.sentence}")
        lineage = ancestry(workspace.store, policy)
        result = build_bundle(opened(policy), build.path, workspace.preset.deploy, lineage, verdict)
        progress(f"bundle: ONNX equals torch within {result['parity']['max_abs_err']:.1e}")
        build.meta |= {
            "parents": [describe(policy), describe(report)],
            "engines": result["engines"],
            "closed_loop": verdict.sentence,
        }

    return reuse_or_build(workspace.store, KIND, ALL, wanted_recipe(workspace, policy, report), make)


def ancestry(store: ArtifactStore, artifact: Artifact) -> list[dict[str, str]]:
    """Return the lineage lines of an artifact and of all it was made of, children first."""
    lines: list[dict[str, str]] = []
    waiting = [describe(artifact)]
    while waiting:
        line = waiting.pop(0)
        if line in lines:
            continue
        lines.append(line)
        found = store.find(line["kind"], line["key"], line["recipe"])
        waiting += found.meta["parents"] if found is not None else []
    return lines


@dg.asset(
    deps=[diffusion_policy, closed_loop_report],
    group_name="deployment",
    kinds={"onnx", "tensorrt"},
    owners=["team:deployment"],
    code_version=versions.DEPLOYMENT,
    description=(
        "ONNX denoiser with its contract, normaliser, lineage and a player without torch; TensorRT for RTX "
        "engines where that package is installed. The ONNX file computes what torch computes. A policy that "
        "failed its closed-loop gate is marked as unfit."
    ),
)
def deployment_bundle(
    context: dg.AssetExecutionContext,
    workspace: dg.ResourceParam[Workspace],
    cluster: dg.ResourceParam[Cluster],
) -> dg.MaterializeResult:
    """Export the diffusion policy and prove the export."""
    with plain_failures():
        bundle = build_deployment(workspace, cluster, progress_of(context))
    return materialised(bundle, _shown(bundle))


@dg.asset_check(
    asset=deployment_bundle,
    blocking=True,
    description="onnxruntime computes what torch computes on recorded windows, over whole denoising loops.",
)
def onnx_parity(workspace: dg.ResourceParam[Workspace]) -> dg.AssetCheckResult:
    """Show the largest difference between torch and onnxruntime."""
    bundle = workspace.store.latest(KIND, ALL)
    if bundle is None:
        return dg.AssetCheckResult(passed=False, description="there is no bundle")
    parity = read_json(bundle.path / PARITY)
    return dg.AssetCheckResult(
        passed=bool(parity["passed"]),
        description=f"largest difference {parity['max_abs_err']:.1e}, {parity['tolerance']:.1e} allowed",
        metadata={"max_abs_err": parity["max_abs_err"], "windows": parity["windows"]},
    )


def _shown(bundle: Artifact) -> dict[str, Any]:
    engines = [
        {"target": e["target"], "engine": e.get("file"), "left_out": e.get("skipped")}
        for e in bundle.meta["engines"]
    ]
    files = [
        {"file": str(p.relative_to(bundle.path)), "bytes": p.stat().st_size}
        for p in sorted(bundle.path.rglob("*"))
        if p.is_file()
    ]
    return {
        "closed_loop": bundle.meta["closed_loop"],
        "parity": dg.MetadataValue.json(read_json(bundle.path / PARITY)),
        "engines": table(engines),
        "files": table(files),
        "lineage": dg.MetadataValue.json(read_json(bundle.path / "lineage.json")),
    }
