"""The closed-loop report: does the diffusion policy keep the robot up and follow commands?"""

from typing import Any

import dagster as dg

from assets import recipes
from assets.building import ALL, Progress, reuse_or_build
from assets.dataset import build_dataset, rolled_out_latency
from assets.diffusion_policy import build_diffusion, diffusion_policy, find_diffusion
from assets.presentation import materialised, picture, plain_failures, progress_of, table
from assets.workspace import Workspace
from beyondmimic_data import versions
from beyondmimic_data.cluster import Cluster
from beyondmimic_data.control.published import PUBLISHED
from beyondmimic_data.files import read_json
from beyondmimic_data.statistics import difference_interval
from storage.artifacts import Artifact, Build, describe
from storage.integrity import opened

KIND = "reports"
REPORT, FIGURES, VIDEO = "report.md", "closed_loop.json", "video.mp4"


def find_report(workspace: Workspace, policy: Artifact) -> Artifact | None:
    """Return the report of a diffusion policy under the present configuration."""
    return workspace.store.find(KIND, ALL, recipes.report_recipe(policy.version, workspace.preset))


def build_report(workspace: Workspace, cluster: Cluster, progress: Progress) -> Artifact:
    """Return the report of the present diffusion policy, running its protocols if there is none.

    Raises:
        GateError: no skill may teach.
        StoreError: the policy is not as it was recorded.
    """
    policy = build_diffusion(workspace, cluster, progress)

    def make(build: Build) -> None:
        from beyondmimic_data.control.evaluate import evaluate_closed_loop

        latency = rolled_out_latency(build_dataset(workspace), workspace)
        result = evaluate_closed_loop(
            opened(policy), workspace.preset, build.path, latency_ms=latency, progress=progress
        )
        build.meta |= {
            "parents": [describe(policy)],
            "video": result["video"],
            "protocols": result["protocols"],
        }

    recipe = recipes.report_recipe(policy.version, workspace.preset)
    return reuse_or_build(workspace.store, KIND, ALL, recipe, make)


def earlier_report(workspace: Workspace, report: Artifact) -> Artifact | None:
    """Return the newest report before this one that is of another policy, or ``None``."""
    others = workspace.store.list(KIND, ALL)
    made = [other for other in others if (other.created, other.recipe) < (report.created, report.recipe)]
    policy = report.meta["parents"]
    return next((other for other in reversed(made) if other.meta["parents"] != policy), None)


def report_verdict(report: Artifact, workspace: Workspace) -> str | None:
    """Return why the policy of a report does not pass its gate, or ``None`` if it does."""
    from beyondmimic_data.control.gate import verdict

    return verdict(report.meta["protocols"], workspace.preset.closed_loop)


@dg.asset(
    deps=[diffusion_policy],
    group_name="stage_2_diffusion",
    kinds={"mujoco", "markdown"},
    owners=["team:diffusion"],
    code_version=versions.CLOSED_LOOP,
    pool="compute",
    description=(
        "Success rates of the diffusion policy in closed loop in MuJoCo, with intervals, pictures and a "
        "video: standing under pushes, following a joystick."
    ),
)
def closed_loop_report(
    context: dg.AssetExecutionContext,
    workspace: dg.ResourceParam[Workspace],
    cluster: dg.ResourceParam[Cluster],
) -> dg.MaterializeResult:
    """Run the protocols and store their report."""
    with plain_failures():
        report = build_report(workspace, cluster, progress_of(context))
        earlier = earlier_report(workspace, report)
    return materialised(report, _shown(report) | _compared(report, earlier))


@dg.asset_check(
    asset=closed_loop_report,
    description="The diffusion policy reaches the preset's success rates in closed loop.",
)
def closed_loop_gate(workspace: dg.ResourceParam[Workspace]) -> dg.AssetCheckResult:
    """Show the gate's verdict; it does not block, because the bundle says by itself that it is unfit."""
    from beyondmimic_data.control.gate import shortfalls

    with plain_failures():
        policy = find_diffusion(workspace, build_dataset(workspace))
        report = find_report(workspace, policy) if policy is not None else None
    if report is None:
        return dg.AssetCheckResult(passed=False, description="there is no report of the present policy")
    why = report_verdict(report, workspace)
    failed = shortfalls(report.meta["protocols"], workspace.preset.closed_loop)
    return dg.AssetCheckResult(
        passed=why is None, description=why or "passed", metadata={"shortfalls": table(failed)}
    )


def _without_pictures(markdown: str) -> str:
    """Leave out pictures by path, which a browser cannot load; they are shown beside the report."""
    return "\n".join(line for line in markdown.splitlines() if not line.startswith("!["))


def _shown(report: Artifact) -> dict[str, Any]:
    figures = read_json(report.path / FIGURES)
    columns = (
        "success_rate",
        "wilson_low",
        "wilson_high",
        "n",
        "falls",
        "mean_seconds_upright",
        "plan_ms_p50",
    )
    rows = [
        {
            "protocol": name,
            **{c: f.get(c) for c in columns},
            "published": "; ".join(map(str, PUBLISHED.get(name, ()))) or None,
            "left_out": f.get("skipped"),
        }
        for name, f in figures["protocols"].items()
    ]
    pictures = {name: picture(report.path / f"{name}.png") for name in figures["protocols"]}
    video = figures["video"]
    return {
        "protocols": table(rows),
        "video": dg.MetadataValue.path(str(report.path / video)) if video else figures["video_skipped"],
        "report": dg.MetadataValue.md(_without_pictures((report.path / REPORT).read_text())),
        **{name: shown for name, shown in pictures.items() if (report.path / f"{name}.png").is_file()},
    }


def _compared(report: Artifact, earlier: Artifact | None) -> dict[str, Any]:
    """Return the success of the last policy beside this one's, with the difference and its interval."""
    if earlier is None:
        return {"compared_with_last_policy": "no other policy has a report yet"}
    rows = []
    for name, now in report.meta["protocols"].items():
        then = earlier.meta["protocols"].get(name, {"skipped": "it was not run"})
        if "skipped" in now or "skipped" in then:
            continue
        low, high = difference_interval(*((round(f["success_rate"] * f["n"]), f["n"]) for f in (now, then)))
        rows.append(
            {
                "protocol": name,
                "now": f"{now['success_rate']:.0%}, n = {now['n']}",
                "last policy": f"{then['success_rate']:.0%}, n = {then['n']}",
                "points gained": f"{100 * (now['success_rate'] - then['success_rate']):+.0f}",
                "95 % interval": f"{100 * low:+.0f} to {100 * high:+.0f}",
            }
        )
    return {
        "compared_with_last_policy": table(rows),
        "last_policy_report": dg.MetadataValue.path(str(earlier.path)),
    }
