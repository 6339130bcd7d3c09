"""What the command line's verbs about trained policies do: examine, film, export, ship."""

import dataclasses
import logging
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.building import ALL
from assets.motion_folder import SYNTHESISED
from assets.workspace import Workspace, open_workspace
from beyondmimic_data.config import GateConfig, Preset, RandomisationConfig, TaskConfig, get_preset
from beyondmimic_data.errors import BeyondMimicError, ConfigError
from beyondmimic_data.files import read_json
from beyondmimic_data.hashing import hash_file
from beyondmimic_data.motions.folder import ClipSource
from beyondmimic_data.overrides import differences
from beyondmimic_data.shipping import CARD
from beyondmimic_data.tracking.policy_files import TRAINING, WEIGHTS
from pipelines import options as o
from pipelines.measured import Measured
from pipelines.verbs import Result, diffusion_policy, evaluation_command, figures_text
from storage.artifacts import Artifact
from storage.integrity import opened

if TYPE_CHECKING:
    from beyondmimic_data.motions.clip import Clip

log = logging.getLogger("beyondmimic.cli")


def evaluate_tracking(options: o.EvaluateTracking) -> Result:
    """Examine the last policy of a skill; one that fails the gate is not ``ok``."""
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
    document: dict[str, Any] = {"skill": options.skill, "policy": policy.version}
    if options.video is not None:
        from beyondmimic_data.tracking.policy import TrackingPolicy
        from beyondmimic_data.tracking.recording import write_recording

        clips = _clips_of(workspace, policy, options.skill, options.clips)
        preset = _examined(workspace, gate)
        write_recording(TrackingPolicy.load(policy.path), clips, preset, gate.seconds, options.video)
        document["video"] = str(options.video)
    else:
        document |= _examine(workspace, policy, options.skill, gate, options.clips)
    measured = Measured("tracking_evaluation", options.skill, document) if options.video is None else None
    return Result(document, figures_text(document), ok=document.get("passed", True), measured=measured)


def export(options: o.Export) -> Result:
    """Write a skill's last policy, with one clip, as an ONNX file, and compare the two."""
    from beyondmimic_data.tracking.export import export_onnx
    from beyondmimic_data.tracking.policy import TrackingPolicy

    workspace = open_workspace()
    artifact = _last_policy(workspace, options.skill)
    clip = _clips_of(workspace, artifact, options.skill, [options.clip] if options.clip else [])[0]
    error = export_onnx(TrackingPolicy.load(artifact.path), clip, workspace.preset, options.out)
    document = {
        "skill": options.skill,
        "policy": artifact.version,
        "clip": clip.name,
        "seconds": clip.duration,
        "onnx_max_abs_err": error,
        "onnx": str(options.out),
    }
    return Result(document, figures_text(document))


def play(options: o.Play) -> Result:
    """Steer a diffusion policy in the browser, or record a script."""
    if (options.record is None) != (options.script is None):
        lacking, why = (
            ("record", "--record FILE.mp4") if options.record is None else ("script", "--script FILE")
        )
        raise ConfigError(lacking, None, f"{why}: a video needs both, the viewer neither")
    workspace = open_workspace()
    asked = None if options.policy == "latest" else options.policy
    folder, _ = diffusion_policy(asked, workspace)
    if options.record is None or options.script is None:
        return _play_live(folder, workspace.preset, options.port, options.gamepad)
    from beyondmimic_data.play.record import record
    from beyondmimic_data.play.script import load_script
    from beyondmimic_data.play.session import Session

    script, config = load_script(options.script), workspace.preset.closed_loop
    figures = record(
        Session.load(folder, workspace.preset),
        script,
        options.record,
        camera=options.camera,
        width=config.video_width,
        height=config.video_height,
    )
    document = {"policy": str(folder), **figures}
    return Result(document, figures_text(document))


def _play_live(folder: Path, preset: Preset, port: int, gamepad: Path | None) -> Result:
    """Open the viewer; it runs until it is interrupted."""
    from beyondmimic_data.play.session import Session
    from beyondmimic_data.play.viewer import Viewer

    viewer = Viewer(Session.load(folder, preset), port=port, gamepad=gamepad)

    def run() -> None:
        try:
            viewer.run()
        finally:
            viewer.close()

    document = {"url": viewer.url, "policy": str(folder)}
    return Result(document, f"{viewer.url}, policy {folder}; Ctrl-C ends it", then=run)


def ship(options: o.Ship) -> Result:
    """Copy a skill's last policy, or the last diffusion policy, into the project with how it came about."""
    workspace = open_workspace()
    if options.skill is None:
        document = _ship_diffusion(workspace, options.protocols, options.seeds)
    elif options.protocols:
        raise ConfigError("protocols", options.protocols, "none: a skill is examined by its gate")
    else:
        document = _ship_skill(workspace, options.skill, options.seeds, options.seconds)
    return Result(document, figures_text(document), ok=document["folder"] is not None)


def _last_policy(workspace: Workspace, skill: str) -> Artifact:
    """Return the newest policy of a skill, whose files are those that were recorded.

    Raises:
        ConfigError: it has none.
        StoreError: a file is missing or holds other bytes.
    """
    policy = workspace.store.latest("policies", skill)
    if policy is None:
        known = ", ".join(workspace.store.keys("policies")) or "none yet: run the graph first"
        raise ConfigError("skill", skill, f"a skill with a policy: {known}")
    opened(policy)
    return policy


def _clips_of(workspace: Workspace, policy: Artifact, skill: str, names: Sequence[str]) -> "list[Clip]":
    """Return the clips that a policy was trained on, or the named ones of them.

    Raises:
        BeyondMimicError: the clips are gone.
        StoreError: they are not as they were recorded.
        ConfigError: a name that is none of theirs.
    """
    from beyondmimic_data.motions.clip import Clip

    parents = [parent["version"] for parent in policy.meta["parents"]]
    motions = workspace.store.list("motions", skill)
    motion = next((m for m in reversed(motions) if m.version in parents), None)
    if motion is None:
        raise BeyondMimicError(f"{policy.path}: the clips it was trained on are gone; run the graph again")
    clips = [Clip.load(path) for path in sorted((opened(motion) / "clips").glob("*.npz"))]
    known = [clip.name for clip in clips]
    for name in set(names) - set(known):
        raise ConfigError("clips", name, "one of " + ", ".join(known))
    return [clip for clip in clips if clip.name in names] if names else clips


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


def _ship_skill(workspace: Workspace, skill: str, seeds: int | None, seconds: float) -> dict[str, Any]:
    """Examine a skill's last policy and ship it if it passes; one that ships already keeps its card.

    Returns:
        What ``examine`` returns, and ``folder``, where it ships; nothing if it does not.
    """
    from beyondmimic_data.tracking import shipped
    from beyondmimic_data.tracking.examination import SHIPPING_SEED

    policy = _last_policy(workspace, skill)
    source = workspace.motions.skills.get(skill)
    clips = () if source is None else source.clips
    gate = get_preset("paper").gate
    each = seeds or math.ceil(gate.seeds / max(len(clips), 1))
    gate = dataclasses.replace(gate, seeds=each, seconds=seconds, seed_offset=SHIPPING_SEED)
    evaluation = _examine(workspace, policy, skill, gate)
    if not evaluation["passed"]:
        return {"skill": skill, "folder": None, **evaluation}
    version = hash_file(policy.path / WEIGHTS)
    known = next((p for p in shipped.shipped_policies() if (p.skill, p.version) == (skill, version)), None)
    card = read_json(known.path / CARD) if known else _card(workspace, policy, skill, clips)
    made = shipped.ship(policy.path, skill, card, evaluation)
    return {"skill": made.skill, "folder": str(made.path), **evaluation}


def _card(workspace: Workspace, policy: Artifact, skill: str, clips: Sequence[ClipSource]) -> dict[str, Any]:
    """Return how a tracking policy came about."""
    folder = workspace.motion_folder
    grouped = {"name": skill, "clips": [clip.place.relative_to(folder).as_posix() for clip in clips]}
    made_clips = [clip.as_table(folder) for clip in clips if clip.table is not None]
    files = _files_of(workspace, clips)
    return {
        **({"skills_of_motions_toml": [grouped]} if len(clips) > 1 else {}),
        **({"clips_of_motions_toml": made_clips} if made_clips else {}),
        "command": _training_command(policy, files),
        "seed": policy.meta["settings"]["changes"].get("training.seed", workspace.preset.training.seed),
        "network": policy.meta["network"],
        "clips": policy.meta["parents"],
        "warm_start": policy.meta["warm_start"],
        "history": _history(workspace, policy.meta["warm_start"], files),
    }


def _history(
    workspace: Workspace, start: dict[str, Any] | None, files: Sequence[Path]
) -> list[dict[str, Any]]:
    """Return the trainings that led to a start, the first known one first.

    Args:
        workspace: whose store may have the policies.
        start: where a training began, as its policy's ``warm_start`` says.
        files: motion files of the skill, for those of its trainings that are known by their settings alone.
    """
    from beyondmimic_data.tracking import shipped

    if start is None:
        return []
    before: list[dict[str, Any]] = []
    done: dict[str, Any] = {"command": None, "steps": None}
    version, of_skill = start["version"], workspace.store.list("policies", start["key"])
    stored = next((p for p in of_skill if p.version == version), None)
    known = next((p for p in shipped.shipped_policies() if p.version == version), None)
    if stored is not None and "settings" in stored.meta:
        before = _history(workspace, stored.meta["warm_start"], files)
        steps = read_json(stored.path / TRAINING)["steps"]
        done = {"command": _training_command(stored, files), "steps": steps}
    elif known is not None:
        card = read_json(known.path / CARD)
        before = card["history"]
        done = {"command": card["command"], "steps": read_json(known.path / TRAINING)["steps"]}
    return [*before, {"skill": start["key"], "version": version, **done}]


def _ship_diffusion(workspace: Workspace, protocols: Sequence[str], seeds: int | None) -> dict[str, Any]:
    """Examine what would ship of the last diffusion policy, and ship it if it passes.

    Returns:
        ``folder``, where it ships, nothing if it does not; ``passed`` and ``why`` it did not; the success
        rate of each protocol by its name; ``protocols`` with all figures; ``validation_loss``.
    """
    from beyondmimic_data.control import examination
    from beyondmimic_data.diffusion import shipped

    policy = workspace.store.latest("diffusion", ALL)
    if policy is None:
        raise BeyondMimicError("there is no diffusion policy yet: run the graph first")
    opened(policy)
    runs = examination.RUNS if seeds is None else seeds
    with tempfile.TemporaryDirectory() as temporary:
        candidate, card = Path(temporary), _diffusion_card(workspace, policy)
        shipped.ship(policy.path, card, {}, candidate)
        result = examination.examine(
            candidate,
            workspace.preset,
            tuple(protocols) or examination.PROTOCOLS,
            runs=runs,
            progress=log.info,
        )
        if result["passed"]:
            version = hash_file(candidate / shipped.FILES[0])
            evaluation = {
                name: {
                    "command": evaluation_command(name, runs, figures["first_seed"]),
                    "policy": version,
                    **figures,
                }
                for name, figures in result["protocols"].items()
            }
            shipped.ship(candidate, card, evaluation, shipped.FOLDER)
    return {
        "folder": str(shipped.FOLDER) if result["passed"] else None,
        **{name: figures.get("success_rate") for name, figures in result["protocols"].items()},
        **result,
        "validation_loss": policy.meta["figures"]["validation_loss"],
    }


def _diffusion_card(workspace: Workspace, policy: Artifact) -> dict[str, Any]:
    """Return how a diffusion policy came about."""
    from beyondmimic_data.diffusion import shipped

    clips = [clip for skill in workspace.motions.skills.values() for clip in skill.clips]
    changes = differences(get_preset(workspace.preset.name), workspace.preset)
    changes |= {"diffusion.minutes": policy.meta["minutes"]}
    collected = {name: value for name, value in changes.items() if not name.startswith("diffusion.")}
    files = _files_of(workspace, clips)
    start = policy.meta["warm_start"]
    return {
        "collected_by": _command("collect", workspace.preset.name, files, collected),
        "command": _command("distill", workspace.preset.name, files, changes),
        "seed": workspace.preset.diffusion.seed,
        "dataset": policy.meta["parents"],
        "warm_start": start,
        "start_card": read_json(shipped.FOLDER / CARD) if start and start["kind"] == "shipped" else None,
    }


def _files_of(workspace: Workspace, clips: Sequence[ClipSource]) -> list[Path]:
    """Return the motion files of clips, relative to the motion folder, each once."""
    files = dict.fromkeys(file for clip in clips for file in clip.files)
    return [file.relative_to(workspace.motion_folder) for file in files]


def _training_command(policy: Artifact, files: Sequence[Path]) -> str:
    """Return the command that trains as a policy was trained, from the same start."""
    settings = policy.meta["settings"]
    return _command("train", settings["preset"], files, settings["changes"])


def _command(verb: str, preset: str, files: Sequence[Path], changes: dict[str, Any]) -> str:
    """Return a command line with changes to a preset and the given ones of the motion files."""
    words = [_option(name, value) for name, value in changes.items()]
    motions = sorted(path.name for path in files if path.parts[0] != SYNTHESISED)
    given = ["--motions " + ",".join(motions)] if motions else []
    return " ".join([f"beyondmimic {verb} --preset {preset}", *given, *words])


def _option(name: str, value: Any) -> str:
    """Return a change of a preset as the command line spells it."""
    owner, _, field = name.replace("_", "-").rpartition(".")
    if isinstance(value, bool):
        return f"--{owner}.{'' if value else 'no-'}{field}"
    values = value if isinstance(value, (list, tuple)) else [value]
    return " ".join([f"--{owner}.{field}", *map(str, values)])
