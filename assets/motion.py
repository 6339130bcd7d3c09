"""Motions: the clips of a skill, imported, retargeted or made from the files of the motion folder."""

from pathlib import Path
from typing import Any

import dagster as dg

from assets import recipes
from assets.building import Progress, reuse_or_build
from assets.partitions import skills
from assets.presentation import materialised, picture, plain_failures, progress_of, table
from assets.workspace import Workspace
from beyondmimic_data.errors import GateError, MissingToolError, MotionError
from beyondmimic_data.files import read_json, write_json
from beyondmimic_data.hashing import hash_value
from beyondmimic_data.motions.folder import SkillSource
from beyondmimic_data.motions.formats import IMPORTER_VERSION
from storage.artifacts import Artifact, Build

KIND = "motions"
QUALITY = "quality.json"


def wanted_recipe(workspace: Workspace, skill: str) -> str:
    """Return the recipe of a skill's clips for the bytes and facts of its files now.

    Raises:
        MotionError: the motion folder has no such skill.
    """
    return recipes.motion_recipe(_source(workspace, skill).signature, workspace.preset)


def find_motion(workspace: Workspace, skill: str) -> Artifact | None:
    """Return the clips of a skill's present files, if they are imported."""
    return workspace.store.find(KIND, skill, wanted_recipe(workspace, skill))


def build_motion(workspace: Workspace, skill: str, progress: Progress) -> Artifact:
    """Return the clips of a skill, importing them if its files or facts changed.

    A clip that fails its quality check is kept, with its verdict, for a person to look at.

    Raises:
        MotionError: a file is refused, or changed while it was read; nothing is stored.
    """
    source, preset = _source(workspace, skill), workspace.preset

    def make(build: Build) -> None:
        from beyondmimic_data.motions.made_clip import make_clip
        from beyondmimic_data.motions.pictures import contact_sheet, plot_clip
        from beyondmimic_data.motions.quality import check_clip

        reports = []
        for clip_source in source.clips:
            clip = make_clip(clip_source, preset)
            report = check_clip(clip, preset.quality)
            clip.save(build.path / "clips" / f"{clip.name}.npz")
            plot_clip(clip, report, build.path / f"{clip.name}.png")
            try:
                contact_sheet(clip, build.path / f"{clip.name}_sheet.png")
            except MissingToolError as error:
                progress(f"{skill}: no contact sheet: {error}")
            reports.append({**report.to_dict(), "clip_version": clip.version, "source": clip.source})
            progress(f"{skill}: {clip.name}, {clip.duration:.1f} s, {report.reason or 'accepted'}")
        write_json(build.path / QUALITY, reports)
        if workspace.scan().skills.get(skill) != source:
            raise MotionError(
                source.clips[0].files[0], "file", "other bytes than a moment ago", "a file at rest"
            )
        content = [[report["clip"], report["clip_version"], report["accepted"]] for report in reports]
        build.meta |= {"parents": [], "content_version": hash_value(content)}

    return reuse_or_build(workspace.store, KIND, skill, wanted_recipe(workspace, skill), make)


def content_version(clips: Artifact) -> str:
    """Return the version of what is trained on: clips and verdicts, not what their files said beside that."""
    return str(clips.meta["content_version"])


def verdicts(clips: Artifact) -> list[dict[str, Any]]:
    """Return the quality report of each clip of a motion artifact."""
    return read_json(clips.path / QUALITY)


def refusal(clips: Artifact) -> str | None:
    """Return why no clip of a skill may be trained on, or ``None`` if one may."""
    reports = verdicts(clips)
    if any(report["accepted"] for report in reports):
        return None
    return "; ".join(f"{report['clip']}: {report['reason']}" for report in reports)


def accepted_clips(clips: Artifact) -> list[Path]:
    """Return the files of the clips that passed their quality check.

    Raises:
        GateError: there is none.
    """
    reason = refusal(clips)
    if reason is not None:
        raise GateError(f"{clips.key}: no clip passes its quality check: {reason}")
    return [
        clips.path / "clips" / f"{report['clip']}.npz" for report in verdicts(clips) if report["accepted"]
    ]


@dg.asset(
    partitions_def=skills,
    group_name="motions",
    kinds={"mujoco", "numpy"},
    owners=["team:motions"],
    code_version=IMPORTER_VERSION,
    description=(
        "The skill's clips: imported from G1 CSV or NPZ or retargeted from BVH, at the control rate, with "
        "joint and body names, quality figures and pictures. Its files lie in the motion folder."
    ),
)
def motion(context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]) -> dg.MaterializeResult:
    """Import the files of one skill."""
    with plain_failures():
        clips = build_motion(workspace, context.partition_key, progress_of(context))
    return materialised(clips, _shown(clips), version=content_version(clips))


@dg.asset_check(
    asset=motion,
    partitions_def=skills,
    blocking=True,
    description="At least one clip stays within the limits of joints, floor, skating and speed.",
)
def quality(
    context: dg.AssetCheckExecutionContext, workspace: dg.ResourceParam[Workspace]
) -> dg.AssetCheckResult:
    """Stop a skill here whose clips the robot could not follow."""
    with plain_failures():
        clips = build_motion(workspace, context.partition_key, context.log.info)
    reason, reports = refusal(clips), verdicts(clips)
    return dg.AssetCheckResult(
        passed=reason is None,
        description=reason or "accepted",
        metadata={
            "clips": len(reports),
            "refused": table(
                [{"clip": r["clip"], "reason": r["reason"]} for r in reports if not r["accepted"]]
            ),
        },
    )


def _source(workspace: Workspace, skill: str) -> SkillSource:
    source = workspace.motions.skills.get(skill)
    if source is None:
        raise MotionError(workspace.motion_folder, "skill", f"no '{skill}'", "a file or group of that name")
    return source


def _shown(clips: Artifact) -> dict[str, Any]:
    reports = verdicts(clips)
    rows = [
        {
            "clip": r["clip"],
            "accepted": "yes" if r["accepted"] else r["reason"],
            **r["metrics"],
            "edits": "; ".join(r["edits"]),
            "repairs": "; ".join(r["repairs"]),
            "version": r["clip_version"],
        }
        for r in reports
    ]
    first = reports[0]["clip"]
    return {
        "clips": table(rows),
        "seconds": sum(r["metrics"]["duration_s"] for r in reports),
        "contact_sheet": picture(clips.path / f"{first}_sheet.png"),
        "plot": picture(clips.path / f"{first}.png"),
    }
