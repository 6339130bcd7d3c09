"""What each verb of the command line does: options in, a document and its text out."""

import contextlib
import dataclasses
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from assets.building import ALL
from assets.workspace import Workspace, open_workspace, remember
from beyondmimic_data.config import Preset, get_preset
from beyondmimic_data.errors import BeyondMimicError, ConfigError
from beyondmimic_data.overrides import differences
from beyondmimic_data.text_table import aligned
from pipelines import benches
from pipelines import options as o
from pipelines.measured import Measured
from storage.integrity import check_opened, opened

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
    measured: Measured | None = None
    """What the UI shows of it."""


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


def distill(options: o.Distill) -> Result:
    """Train the diffusion policy on the present dataset."""
    from beyondmimic_data.cluster import Cluster
    from pipelines.run_graph import train_diffusion

    document = train_diffusion(_workspace_of(options), _paths_of(options), Cluster())
    return Result(document, figures_text(document))


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
    measured = Measured("benchmark", options.name, figures)
    return Result(figures, figures_text(figures), measured=measured)


def fuzz(options: o.Fuzz) -> Result:
    """Read damaged files through the project's doors."""
    from beyondmimic_data.bench import fuzz
    from pipelines.fuzz_targets import TARGETS

    names = [target.name for target in TARGETS]
    for name in options.targets:
        if name not in names:
            raise ConfigError("targets", name, "of " + ", ".join(names))
    if options.mutants < 1 or options.first < 0:
        raise ConfigError("mutants", options.mutants, "at least 1, and a first one of at least 0")
    chosen = [target for target in TARGETS if not options.targets or target.name in options.targets]
    keep = None if options.keep is None else options.keep.absolute()
    lines = fuzz.fuzz(
        chosen, options.mutants, options.seed, first=options.first, keep=keep, progress=log.info
    )
    for line in lines:
        if line["first_crash"] is not None:
            which = f"--seed {options.seed} --first {line['first_crash']['mutant']} --mutants 1"
            again = f"beyondmimic fuzz --targets {line['target']} {which} --keep FOLDER"
            line["first_crash"]["reproduce"] = again
    ok = not any(line["crash"] for line in lines)
    asked = {"seed": options.seed, "first": options.first, "mutants": options.mutants}
    return Result({**asked, "targets": lines, "ok": ok}, _fuzz_text(lines), ok=ok)


def _fuzz_text(lines: list[dict[str, Any]]) -> str:
    names = ("target", "accepted", "refused", "crash", "seconds", "slowest_s", "most_mb")
    rows = [names, *(tuple(str(line[name]) for name in names) for line in lines)]
    crashes = [(line["target"], line["first_crash"]) for line in lines if line["first_crash"]]
    found = [f"{name}: {c['file']}: {c['what']}\n  {c['reproduce']}" for name, c in crashes]
    return "\n".join([*aligned(rows), *found])


def _bench_retarget(options: o.Bench) -> Result:
    from beyondmimic_data.bench import retarget_bench

    if options.motions is None:
        raise ConfigError("motions", None, "--motions PATH, a BVH file or a folder with some")
    clips = retarget_bench.bench_retarget(options.motions)
    document = retarget_bench.document(clips)
    measured = Measured("benchmark", options.name, document)
    return Result(document, retarget_bench.table(clips), ok=document["ok"], measured=measured)


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


def evaluate_closed_loop(options: o.EvaluateClosedLoop) -> Result:
    """Run a protocol on a diffusion policy; one that misses the rate that the preset asks is not ``ok``."""
    from beyondmimic_data.control import evaluate
    from beyondmimic_data.control.gate import required_success, shortfalls_of

    workspace = open_workspace()
    folder, version = diffusion_policy(options.policy, workspace)
    preset = _with_seed(workspace.preset, options.seed)
    asked = {n: r for n, r in required_success(preset.closed_loop).items() if n == options.protocol}
    figures = evaluate.evaluate_closed_loop(
        folder,
        preset,
        options.out,
        protocols=[options.protocol],
        seeds=options.seeds,
        latency_ms=options.latency_ms,
        latency_sweep=options.latency_sweep,
        second_contact_model=options.second_contact_model,
        progress=log.info,
    )["protocols"][options.protocol]
    document = {
        "protocol": options.protocol,
        "policy": version,
        "first_seed": preset.closed_loop.seed,
        **figures,
    }
    if options.record:
        _record(options, document)
    failed = shortfalls_of({options.protocol: figures}, asked)
    if asked:
        document |= {"required": asked[options.protocol], "passed": not failed}
    ran = "skipped" not in figures
    measured = Measured("closed_loop_evaluation", options.protocol, document) if ran else None
    return Result(document, figures_text(document), ok=ran and not failed, measured=measured)


def _record(options: o.EvaluateClosedLoop, document: dict[str, Any]) -> None:
    """Keep what a protocol came to beside the shipped policy, with the command that gave it."""
    from beyondmimic_data.control.examination import OF_EACH_RUN
    from beyondmimic_data.diffusion import shipped

    if options.policy != "shipped":
        raise ConfigError("record", options.policy, "--policy shipped: only its figures are kept")
    command = evaluation_command(options.protocol, options.seeds, document["first_seed"])
    kept = {k: v for k, v in document.items() if k not in (*OF_EACH_RUN, "protocol")}
    shipped.record_evaluation(options.protocol, {"command": command, **kept})


def evaluation_command(protocol: str, seeds: int, first_seed: int) -> str:
    """Return the command that plays the runs of a protocol with the diffusion policy that ships."""
    verb = f"beyondmimic evaluate closed-loop --policy shipped --protocol {protocol}"
    return f"{verb} --seeds {seeds} --seed {first_seed}"


def study_closed_loop(options: o.StudyClosedLoop) -> Result:
    """Play a protocol with every combination of some settings."""
    from beyondmimic_data.control import study

    workspace = open_workspace()
    folder, version = diffusion_policy(options.policy, workspace)
    preset = _with_seed(workspace.preset, options.seed)
    variations = study.parse_variations(options.vary)
    rows = study.study(folder, preset, options.protocol, variations, seeds=options.seeds, progress=log.info)
    if options.picture is not None:
        study.plot_study(rows, variations, options.picture)
    columns = study.columns(rows, variations)
    cells = [columns, *([_cell(row.get(name)) for name in columns] for row in rows)]
    document = {
        "protocol": options.protocol,
        "policy": version,
        "first_seed": preset.closed_loop.seed,
        "rows": rows,
    }
    figures = {k: v for k, v in document.items() if k != "rows"}
    shown = [{name: row.get(name) for name in columns} for row in rows]
    measured = Measured("closed_loop_study", options.protocol, figures, shown, options.picture)
    return Result(document, "\n".join(aligned(cells)), measured=measured)


def study_training(options: o.StudyTraining) -> Result:
    """Train with one setting changed at a time, and compare the policies."""
    from assets.dataset import build_dataset, rolled_out_latency
    from assets.diffusion_windows import DatasetWindows
    from beyondmimic_data.control import training_study
    from beyondmimic_data.control.study import parse_variations
    from beyondmimic_data.diffusion.contract import g1_contract

    workspace = open_workspace()
    data = build_dataset(workspace)
    preset = _with_seed(workspace.preset, options.seed)
    preset = dataclasses.replace(
        preset, diffusion=dataclasses.replace(preset.diffusion, minutes=options.minutes)
    )

    def windows_of(changed: Preset, chosen: training_study.DataChoice) -> DatasetWindows:
        config = changed.diffusion
        return DatasetWindows(
            data,
            config.window,
            config.skill_weights,
            noise_kind=chosen.noise_kind,
            hours=chosen.hours,
            control_hz=changed.control.control_hz,
        )

    rows = training_study.study_training(
        windows_of,
        preset,
        parse_variations(options.vary),
        g1_contract(preset.control),
        options.out,
        dataset=data.version,
        protocols=options.protocols,
        seeds=options.seeds,
        latency_ms=rolled_out_latency(data, workspace),
        progress=log.info,
    )
    document = {"dataset": data.version, "first_seed": preset.closed_loop.seed, "rows": rows}
    cells = training_study.table(rows)
    figures = {k: v for k, v in document.items() if k != "rows"}
    shown = [dict(zip(cells[0], line)) for line in cells[1:]]
    measured = Measured(
        "training_study", options.out.absolute().name, figures, shown, options.out / training_study.PICTURE
    )
    return Result(document, "\n".join(aligned(cells)), measured=measured)


def study_learned_guidance(options: o.StudyLearnedGuidance) -> Result:
    """Train a learned guidance, unless there is one, and compare it with the fixed settings."""
    from beyondmimic_data.control.learned_guidance import comparison, training
    from beyondmimic_data.control.protocols import get_protocol
    from beyondmimic_data.files import write_json

    for name in options.protocols:
        get_protocol(name)
    workspace = open_workspace()
    folder, version = diffusion_policy(options.policy, workspace)
    learned, record = options.learned, None
    if learned is None:
        record = training.train_guidance(
            folder, workspace.preset, options.training, options.out, progress=log.info
        )
        learned = options.out
    preset = _with_seed(workspace.preset, options.first_seed)
    rows = comparison.compare(
        folder, learned, preset, options.protocols, seeds=options.seeds, progress=log.info
    )
    document = {
        "policy": version,
        "first_seed": preset.closed_loop.seed,
        "guidance": dataclasses.asdict(preset.closed_loop.guidance),
        "training": record,
        "comparison": rows,
    }
    write_json(options.out / comparison.COMPARISON, document)
    cells = comparison.table(rows)
    measured = Measured(
        "learned_guidance_study",
        options.out.absolute().name,
        {"policy": version, "first_seed": document["first_seed"]},
        [dict(zip(cells[0], line)) for line in cells[1:]],
        learned / training.PICTURE,
    )
    return Result(document, "\n".join(aligned(cells)), measured=measured)


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _with_seed(preset: Preset, seed: int | None) -> Preset:
    """Return the preset with another first seed of its closed-loop runs, if one was asked for."""
    if seed is None:
        return preset
    return dataclasses.replace(preset, closed_loop=dataclasses.replace(preset.closed_loop, seed=seed))


def diffusion_policy(asked: str | None, workspace: Workspace) -> tuple[Path, str]:
    """Return the folder and version of the policy that was asked for; its bytes are those that were recorded.

    Raises:
        BeyondMimicError: there is none.
        ConfigError: the folder holds none.
        StoreError: a file of the store, or the weights that ship, are others than what was recorded of them.
    """
    from beyondmimic_data.diffusion import shipped
    from beyondmimic_data.diffusion.policy_files import WEIGHTS
    from beyondmimic_data.hashing import hash_file
    from beyondmimic_data.shipping import require_carded

    if asked is None:
        policy = workspace.store.latest("diffusion", ALL)
        if policy is None:
            raise BeyondMimicError(
                "there is no diffusion policy yet: run the graph first, or ask for `--policy shipped`"
            )
        return opened(policy), policy.version
    folder = shipped.FOLDER if asked == "shipped" else Path(asked)
    if not (folder / WEIGHTS).is_file():
        raise ConfigError("policy", asked, "`shipped`, or a folder that holds a diffusion policy")
    if asked == "shipped":
        require_carded(folder, WEIGHTS)
    else:
        check_opened(folder, again=True)
    return folder, hash_file(folder / WEIGHTS)


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


def figures_text(figures: dict[str, Any]) -> str:
    """Return the plain values of a document for a terminal, a line each."""
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
