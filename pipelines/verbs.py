"""What each verb of the command line does: options in, a document and its text out."""

import contextlib
import dataclasses
import logging
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.building import ALL
from assets.motion_folder import SYNTHESISED
from assets.workspace import Workspace, open_workspace, remember
from beyondmimic_data.config import GateConfig, Preset, RandomisationConfig, TaskConfig, get_preset
from beyondmimic_data.errors import BeyondMimicError, ConfigError
from beyondmimic_data.motions.folder import ClipSource
from beyondmimic_data.overrides import differences
from beyondmimic_data.text_table import aligned
from pipelines import benches
from pipelines import options as o
from storage.artifacts import Artifact

if TYPE_CHECKING:
    from beyondmimic_data.motions.clip import Clip

log = logging.getLogger("beyondmimic.cli")


@dataclasses.dataclass(frozen=True)
class Result:
    """What a verb came to."""

    document: Any
    """For machines: plain JSON values."""
    text: str
    """For people."""
    ok: bool = True
    """False ends the process with 1."""
    then: Callable[[], None] | None = None
    """What goes on after the document is printed."""


def run(options: o.Run) -> Result:
    """Run the whole graph."""
    from beyondmimic_data.cluster import Cluster
    from pipelines.run_graph import run_graph

    document = run_graph(_workspace_of(options), _paths_of(options), Cluster())
    return Result(document, _run_text(document))


def train(options: o.Train) -> Result:
    """Train skills as far as their gates."""
    from beyondmimic_data.cluster import Cluster
    from pipelines.run_graph import train_skills

    lines = train_skills(_workspace_of(options), _paths_of(options), Cluster(), options.skills)
    text = "\n".join(_training_text(line) for line in lines)
    return Result(lines, text, ok=all(line["completion"] is not None for line in lines))


def collect(options: o.Collect) -> Result:
    """Collect the rollouts of skills, and make a dataset version of all that may teach."""
    from beyondmimic_data.cluster import Cluster
    from pipelines.run_graph import collect_skills

    document = collect_skills(_workspace_of(options), _paths_of(options), Cluster(), options.skills)
    lines = document["skills"]
    return Result(document, _collection_text(document), ok=all(line["problem"] is None for line in lines))


def ui(options: o.Ui) -> Result:
    """Run the UI until it is interrupted."""
    from pipelines.ui import HOST, running_ui

    if options.preset is not None:
        remember(open_workspace(preset=options.preset))
    workspace = open_workspace()
    stack = contextlib.ExitStack()
    process = stack.enter_context(running_ui(options.port))

    def wait() -> None:
        with stack:
            process.wait()

    url = f"http://{HOST}:{options.port}"
    document = {"url": url, "preset": workspace.preset.name, "motion_folder": str(workspace.motion_folder)}
    text = f"{url}, preset {workspace.preset.name}; motions go into {workspace.motion_folder}; Ctrl-C ends it"
    return Result(document, text, then=wait)


def motions_check(options: o.MotionsCheck) -> Result:
    """Import motions and report on each clip."""
    from beyondmimic_data.motions.check import check_paths

    reports = check_paths(options.paths, open_workspace().preset, options.fps, options.quat)
    return Result(
        reports, "\n".join(map(_check_text, reports)), ok=all(report["accepted"] for report in reports)
    )


def motions_synth(options: o.MotionsSynth) -> Result:
    """Write the project's own motions as files."""
    from beyondmimic_data.motions.synth import write_skills

    control_hz = open_workspace().preset.control.control_hz
    files = [str(path) for path in write_skills(options.synth, control_hz, options.out)]
    return Result(files, "\n".join(files))


def motions_gait(options: o.MotionsGait) -> Result:
    """Compare how motions walk."""
    from beyondmimic_data.motions.gait import compare_gaits

    rows = compare_gaits(options.paths, open_workspace().preset, options.fps, options.quat)
    return Result(rows, _gait_text(rows))


def bench(options: o.Bench) -> Result:
    """Run one benchmark."""
    if options.name == "retarget":
        return _bench_retarget(options)
    if options.motions is not None:
        raise ConfigError("motions", str(options.motions), f"nothing: bench {options.name} reads no motions")
    figures = benches.run(options.name)
    return Result(figures, _figures_text(figures))


def _bench_retarget(options: o.Bench) -> Result:
    from beyondmimic_data.bench import retarget_bench

    if options.motions is None:
        raise ConfigError("motions", None, "--motions PATH, a BVH file or a folder with some")
    clips = retarget_bench.bench_retarget(options.motions)
    document = retarget_bench.document(clips)
    return Result(document, retarget_bench.table(clips), ok=document["ok"])


def study_sampling(options: o.StudySampling) -> Result:
    """Compare ways of drawing starts on one clip."""
    from beyondmimic_data.motions.folder import clip_name
    from beyondmimic_data.motions.importer import import_motion
    from beyondmimic_data.motions.motion_config import facts_of
    from beyondmimic_data.tracking import sampling_study

    preset, motion = get_preset(options.preset), options.motion
    training = dataclasses.replace(preset.training.on_cores(os.cpu_count() or 1), push=False)
    preset = dataclasses.replace(preset, training=training)
    clip = import_motion(motion, name=clip_name(motion, motion.parent), facts=facts_of(motion), preset=preset)
    seeds = range(1, options.seeds + 1)
    document = sampling_study.study(
        clip, preset, round(options.steps), seeds, options.folder, progress=log.info
    )
    return Result(document, sampling_study.table(document))


def evaluate_tracking(options: o.EvaluateTracking) -> Result:
    """Examine the last policy of a skill."""
    workspace = open_workspace()
    asked: dict[str, Any] = {
        "seeds": options.seeds,
        "seed_offset": options.first_seed,
        "push": options.push,
        "seconds": options.seconds,
    }
    gate = dataclasses.replace(
        workspace.preset.gate, **{name: value for name, value in asked.items() if value is not None}
    )
    policy = _last_policy(workspace, options.skill)
    document = {"skill": options.skill, "policy": policy.version}
    if options.video is not None:
        from beyondmimic_data.tracking.policy import TrackingPolicy
        from beyondmimic_data.tracking.recording import write_recording

        clips = _clips_of(workspace, policy, options.skill, options.clips)
        preset = _examined(workspace, gate)
        write_recording(TrackingPolicy.load(policy.path), clips, preset, gate.seconds, options.video)
        document["video"] = str(options.video)
    else:
        document |= _examine(workspace, policy, options.skill, gate, options.clips)
    return Result(document, _figures_text(document))


def _examine(
    workspace: Workspace, policy: Artifact, skill: str, gate: GateConfig, names: Sequence[str] = ()
) -> dict[str, Any]:
    """Examine a policy on its clips or the named ones of them."""
    from beyondmimic_data.tracking.examination import examine
    from beyondmimic_data.tracking.policy import TrackingPolicy

    clips = _clips_of(workspace, policy, skill, names)
    return examine(TrackingPolicy.load(policy.path), clips, _examined(workspace, gate))


def _examined(workspace: Workspace, gate: GateConfig) -> Preset:
    """Return the preset with a gate, METHOD's resets and its pushes: a training may have had harder ones."""
    observed = workspace.preset.task.state_estimation
    return dataclasses.replace(
        workspace.preset,
        gate=gate,
        task=dataclasses.replace(TaskConfig(), state_estimation=observed),
        randomisation=RandomisationConfig(),
    )


def _clips_of(workspace: Workspace, policy: Artifact, skill: str, names: Sequence[str]) -> "list[Clip]":
    """Return the clips that a policy was trained on, or the named ones of them.

    Raises:
        BeyondMimicError: the clips are gone.
        ConfigError: a name that is none of theirs.
    """
    from beyondmimic_data.motions.clip import Clip

    parents = [parent["version"] for parent in policy.meta["parents"]]
    motions = workspace.store.list("motions", skill)
    motion = next((m for m in reversed(motions) if m.version in parents), None)
    if motion is None:
        raise BeyondMimicError(f"{policy.path}: the clips it was trained on are gone; run the graph again")
    clips = [Clip.load(path) for path in sorted((motion.path / "clips").glob("*.npz"))]
    known = [clip.name for clip in clips]
    for name in set(names) - set(known):
        raise ConfigError("clips", name, "one of " + ", ".join(known))
    if names:
        clips = [clip for clip in clips if clip.name in names]
    return clips


def evaluate_closed_loop(options: o.EvaluateClosedLoop) -> Result:
    """Run a protocol on the last diffusion policy."""
    from beyondmimic_data.control import evaluate

    workspace = open_workspace()
    policy = workspace.store.latest("diffusion", ALL)
    if policy is None:
        raise BeyondMimicError("there is no diffusion policy yet: run the graph first")
    figures = evaluate.evaluate_closed_loop(
        policy.path, workspace.preset, protocols=[options.protocol], seeds=options.seeds, progress=log.info
    )["protocols"][options.protocol]
    document = {"protocol": options.protocol, "policy": policy.version, **figures}
    return Result(document, _figures_text(document), ok="skipped" not in figures)


def ship(options: o.Ship) -> Result:
    """Copy a skill's last policy, or the last diffusion policy, into the project with how it came about."""
    workspace = open_workspace()
    if options.skill is None:
        document = _ship_diffusion(workspace)
    else:
        document = _ship_skill(workspace, options.skill, options.seeds, options.seconds)
    return Result(document, _figures_text(document))


def _ship_skill(workspace: Workspace, skill: str, seeds: int | None, seconds: float) -> dict[str, Any]:
    from beyondmimic_data.tracking import shipped
    from beyondmimic_data.tracking.examination import SHIPPING_SEED

    policy, preset = _last_policy(workspace, skill), workspace.preset
    source = workspace.motions.skills.get(skill)
    clips = () if source is None else source.clips
    folder = workspace.motion_folder
    grouped = {"name": skill, "clips": [clip.place.relative_to(folder).as_posix() for clip in clips]}
    made_clips = [clip.as_table(folder) for clip in clips if clip.table is not None]
    card = {
        **({"skills_of_motions_toml": [grouped]} if len(clips) > 1 else {}),
        **({"clips_of_motions_toml": made_clips} if made_clips else {}),
        "command": _command(
            workspace, "train", _files_of(workspace, clips), {"training.minutes": policy.meta["minutes"]}
        ),
        "seed": preset.training.seed,
        "network": policy.meta["network"],
        "clips": policy.meta["parents"],
        "warm_start": policy.meta["warm_start"],
    }
    gate = get_preset("paper").gate
    each = seeds or math.ceil(gate.seeds / max(len(clips), 1))
    gate = dataclasses.replace(gate, seeds=each, seconds=seconds, seed_offset=SHIPPING_SEED)
    evaluation = _examine(workspace, policy, skill, gate)
    made = shipped.ship(policy.path, skill, card, evaluation)
    return {"skill": made.skill, "folder": str(made.path), **evaluation}


def _ship_diffusion(workspace: Workspace) -> dict[str, Any]:
    from beyondmimic_data.diffusion import shipped

    policy = workspace.store.latest("diffusion", ALL)
    if policy is None:
        raise BeyondMimicError("there is no diffusion policy yet: run the graph first")
    clips = [clip for skill in workspace.motions.skills.values() for clip in skill.clips]
    card = {
        "command": _command(
            workspace, "run", _files_of(workspace, clips), {"diffusion.minutes": policy.meta["minutes"]}
        ),
        "seed": workspace.preset.diffusion.seed,
        "dataset": policy.meta["parents"],
        "warm_start": policy.meta["warm_start"],
    }
    shipped.ship(policy.path, card)
    return {"folder": str(shipped.FOLDER), "validation_loss": policy.meta["figures"]["validation_loss"]}


def _files_of(workspace: Workspace, clips: Sequence[ClipSource]) -> list[Path]:
    """Return the motion files of clips, relative to the motion folder, each once."""
    files = dict.fromkeys(file for clip in clips for file in clip.files)
    return [file.relative_to(workspace.motion_folder) for file in files]


def _command(workspace: Workspace, verb: str, files: list[Path], changes: dict[str, Any]) -> str:
    """Return the command that does what the workspace's settings say, with the given ones of its motions."""
    preset = workspace.preset
    changed = differences(get_preset(preset.name), preset) | changes
    words = [_option(name, value) for name, value in changed.items()]
    motions = sorted(path.name for path in files if path.parts[0] != SYNTHESISED)
    given = ["--motions " + ",".join(motions)] if motions else []
    return " ".join([f"beyondmimic {verb} --preset {preset.name}", *given, *words])


def _workspace_of(options: o.Run) -> Workspace:
    """Return the workspace with the numbers that were asked for."""
    preset = o.chosen_preset(options)
    changes = differences(get_preset(preset.name), preset)
    return open_workspace(preset=preset.name, overrides=changes)


def _paths_of(options: o.Run) -> list[Path]:
    return [Path(part) for entry in options.motions for part in entry.split(",") if part]


def _check_text(report: dict[str, Any]) -> str:
    verdict = "accepted" if report["accepted"] else f"refused: {report['reason']}"
    return "\n    ".join([f"{report['clip']}: {verdict}", *report["edits"]])


GAIT_COLUMNS = {
    "steps": ("steps", 1, "{:d}"),
    "speed_m_s": ("speed m/s", 1, "{:.2f}"),
    "step_length_m": ("step length m", 1, "{:.2f}"),
    "step_time_s": ("step time s", 1, "{:.2f}"),
    "clearance_m": ("clearance cm", 100, "{:.1f}"),
    "double_support_share": ("double support %", 100, "{:.0f}"),
    "stance_skate_m_s": ("skate cm/s", 100, "{:.1f}"),
}
"""Header, factor and format of each figure of a gait."""


def _gait_text(rows: list[dict[str, Any]]) -> str:
    cells = [["clip", *(header for header, _, _ in GAIT_COLUMNS.values())]]
    for row in rows:
        if row["problem"]:
            cells.append([row["clip"], row["problem"]])
            continue
        figures = (form.format(row[name] * factor) for name, (_, factor, form) in GAIT_COLUMNS.items())
        cells.append([row["clip"], *figures])
    return "\n".join(aligned(cells))


def _training_text(line: dict[str, Any]) -> str:
    if line["completion"] is None:
        return f"{line['skill']}: no policy: {line['problem']}"
    verdict = "passed" if line["passed"] else "failed"
    return f"{line['skill']}: {line['completion']:.0%} of starts complete, gate {verdict}"


def _collection_text(document: dict[str, Any]) -> str:
    rows = [("skill", "hours", "episodes", "rejected", "kept", "")]
    for line in document["skills"]:
        share = f"{line['kept_share']:.1%}" if line["kept_share"] is not None else "-"
        counts = (str(line["episodes"]), str(line["rejected"]))
        rows.append((line["skill"], f"{line['hours']:.2f}", *counts, share, line["problem"] or ""))
    end = f"dataset {document['dataset'] or 'none: no skill may teach'}, {document['minutes']:.1f} minutes"
    return "\n".join([*aligned(rows, left=(0, 5)), "", end])


def _last_policy(workspace: Workspace, skill: str) -> Artifact:
    """Return the newest policy of a skill.

    Raises:
        ConfigError: it has none.
    """
    policy = workspace.store.latest("policies", skill)
    if policy is None:
        known = ", ".join(workspace.store.keys("policies")) or "none yet: run the graph first"
        raise ConfigError("skill", skill, f"a skill with a policy: {known}")
    return policy


def _option(name: str, value: Any) -> str:
    """Return a change of a preset as the command line spells it."""
    owner, _, field = name.replace("_", "-").rpartition(".")
    if isinstance(value, bool):
        return f"--{owner}.{'' if value else 'no-'}{field}"
    values = value if isinstance(value, (list, tuple)) else [value]
    return " ".join([f"--{owner}.{field}", *map(str, values)])


def _figures_text(figures: dict[str, Any]) -> str:
    plain = {name: value for name, value in figures.items() if not isinstance(value, (dict, list))}
    return "\n".join(f"{name}: {value}" for name, value in plain.items())


def _run_text(document: dict[str, Any]) -> str:
    rows = [("skill", "gate", "hours", "teaches")]
    for skill in document["skills"]:
        completion = skill["completion"]
        rows.append(
            (
                skill["skill"],
                "-" if completion is None else f"{completion:.0%}",
                f"{skill['hours']:.2f}",
                "yes" if skill["included"] else f"no: {skill['reason']}",
            )
        )
    places = [f"{name:<7} {document[name]}" for name in ("report", "video", "bundle")]
    return "\n".join([*aligned(rows, left=(0, 3)), "", *places, f"done in {document['minutes']:.1f} minutes"])
