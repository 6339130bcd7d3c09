"""Closed-loop evaluation of a trained policy: protocols, figures, video and report."""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from beyondmimic_data import process
from beyondmimic_data.config import Preset, Range
from beyondmimic_data.control.closed_loop import Adapt, ClosedLoop, Recording, run
from beyondmimic_data.control.pictures import plot_run
from beyondmimic_data.control.protocols import get_protocol
from beyondmimic_data.control.protocols.protocol import Protocol, Setting, Task, summarise
from beyondmimic_data.control.report import report_text
from beyondmimic_data.diffusion.frames import Frames, frames_from_rows
from beyondmimic_data.diffusion.policy import DiffusionPolicy
from beyondmimic_data.diffusion.windows import RecordedWindows
from beyondmimic_data.errors import MissingToolError
from beyondmimic_data.files import write_bytes, write_json
from beyondmimic_data.robots import g1
from beyondmimic_data.statistics import paired_loss
from beyondmimic_data.video import Column, Scene, pillar_column, waypoint_marker, write_video

log = logging.getLogger(__name__)

VIDEO = "video.mp4"
FIGURES = "closed_loop.json"
REPORT = "report.md"
OUTCOME = ("success_rate", "wilson_low", "wilson_high", "n", "falls")
"""What is kept of runs that are played beside others."""
LATENCIES_MS = (0.0, 20.0, 40.0, 60.0, 80.0, 100.0)
"""Fixed delays of a sweep, ms."""


def pick_starts(
    recorded: RecordedWindows, policy: DiffusionPolicy, protocol: Protocol, n: int, seed: int
) -> Frames | None:
    """Draw n recorded windows whose current state fits a protocol, or return ``None`` if none does."""
    frames = frames_from_rows(recorded.rows, recorded.columns)
    fitting = protocol.start(frames.time(slice(None, policy.current + 1))).nonzero().flatten()
    if not len(fitting):
        return None
    chosen = np.random.default_rng(seed).integers(0, len(fitting), n)
    return frames.select(fitting[torch.from_numpy(chosen)])


@dataclasses.dataclass(frozen=True)
class Run:
    """One protocol, run."""

    figures: dict[str, Any]
    """Success rate with its interval, and the protocol's own."""
    recording: Recording
    """What the robots did."""
    task: Task
    """What they had to do."""


def run_protocol(
    recorded: RecordedWindows,
    policy: DiffusionPolicy,
    protocol: Protocol,
    preset: Preset,
    *,
    seeds: int,
    latency_ms: Range,
    feet: g1.Feet = "spheres",
    adapt: Adapt | None = None,
) -> Run | str:
    """Run one protocol with n robots at once.

    Args:
        recorded: windows that runs start in.
        policy: in evaluation mode.
        protocol: what to run.
        preset: control rate and closed-loop configuration.
        seeds: robots n; each draws its own start, latency, pushes and noise.
        latency_ms: range of the delay after the policy, the one of its data.
        feet: contact model.
        adapt: changes the steering of each control step.

    Returns:
        The run, or the reason why no recorded start fits the protocol.
    """
    process.prepare(torch.get_num_threads())
    config = preset.closed_loop
    windows = pick_starts(recorded, policy, protocol, seeds, config.seed)
    if windows is None:
        reason = f"none of the policy's recorded windows is {protocol.start_name}"
        log.warning("%s left out: %s", protocol.name, reason)
        return reason
    steps = round(protocol.seconds * preset.control.control_hz)
    task = protocol.make(Setting(policy, windows, steps, config.seed, config.guidance))
    loop = ClosedLoop(
        policy,
        windows.time(slice(None, policy.current + 1)),
        preset.control,
        planning=config.planning,
        latency_ms=latency_ms,
        feet=feet,
        seed=config.seed,
    )
    recording = run(
        loop,
        steps,
        steer=task.steer,
        adapt=adapt,
        push=task.push,
        measure=task.measure,
        what=protocol.name,
    )
    return Run(summarise(protocol, task, recording), recording, task)


def sweep_latency(
    recorded: RecordedWindows, policy: DiffusionPolicy, protocol: Protocol, preset: Preset, *, seeds: int
) -> list[dict[str, Any]]:
    """Run one protocol at each fixed latency of 0 to 100 ms: success with its interval, and falls (E13)."""
    lines: list[dict[str, Any]] = []
    for latency in LATENCIES_MS:
        done = run_protocol(recorded, policy, protocol, preset, seeds=seeds, latency_ms=(latency, latency))
        if isinstance(done, Run):
            lines.append({"latency_ms": latency, **{name: done.figures[name] for name in OUTCOME}})
            log.info("%s at %g ms: %.0f %%", protocol.name, latency, 100 * done.figures["success_rate"])
    return lines


def in_second_contact_model(
    recorded: RecordedWindows,
    policy: DiffusionPolicy,
    protocol: Protocol,
    preset: Preset,
    first: Run,
    *,
    latency_ms: Range,
) -> dict[str, Any]:
    """Play the runs of a protocol again where no policy was trained: capsules for feet, another solver.

    Returns:
        Success with its interval, falls, and the success lost, see ``paired_loss``.
    """
    n = first.figures["n"]
    again = run_protocol(recorded, policy, protocol, preset, seeds=n, latency_ms=latency_ms, feet="capsules")
    assert isinstance(again, Run), "its starts are the first run's"
    loss = paired_loss(first.figures["success"], again.figures["success"])
    return {**{name: again.figures[name] for name in OUTCOME}, **loss}


def evaluate_closed_loop(
    folder: Path,
    preset: Preset,
    out: Path | None = None,
    *,
    protocols: Sequence[str] | None = None,
    seeds: int | None = None,
    latency_ms: Range | None = None,
    latency_sweep: bool = False,
    second_contact_model: bool = False,
    leave_out: Callable[[Protocol], str | None] | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Run protocols on a trained policy, and write figures, pictures, a video and a report.

    Args:
        folder: of the policy.
        preset: closed-loop configuration and control rate; its ranges give the latency by default.
        out: where to write; nothing is written by default.
        protocols: names; those of the configuration by default.
        seeds: runs of each protocol; those of the configuration by default.
        latency_ms: range of the delay after the policy; the data's, when rollouts were cut at a latency bin.
        latency_sweep: run each protocol at fixed latencies, too.
        second_contact_model: run each protocol in the second contact model, too.
        leave_out: asked before each protocol; a reason leaves it out, and stands in the report.
        progress: called with a line before and after each protocol.

    Returns:
        ``protocols``: name -> figures; ``video``: its file name or ``None`` with ``video_skipped``.

    Raises:
        ConfigError: there is no such protocol.
        StoreError: the folder holds no usable policy.
    """
    config = preset.closed_loop
    chosen = [get_protocol(name) for name in (config.protocols if protocols is None else protocols)]
    policy = DiffusionPolicy.load(folder, "cuda" if torch.cuda.is_available() else "cpu")
    recorded = RecordedWindows.load(folder)
    count = config.seeds if seeds is None else seeds
    latency = preset.randomisation.latency_ms if latency_ms is None else latency_ms
    result: dict[str, Any] = {
        "representation": policy.config.representation,
        "planning": dataclasses.asdict(config.planning),
        "guidance": dataclasses.asdict(config.guidance),
        "latency_range_ms": list(latency),
        "first_seed": config.seed,
        "protocols": {},
    }
    runs: dict[str, Run] = {}
    for protocol in chosen:
        reason = leave_out(protocol) if leave_out is not None else None
        if reason is not None:
            result["protocols"][protocol.name] = {"skipped": reason, "description": protocol.description}
            continue
        if progress is not None:
            progress(f"{protocol.name}: {count} runs of {protocol.seconds:g} s")
        done = run_protocol(recorded, policy, protocol, preset, seeds=count, latency_ms=latency)
        if isinstance(done, str):
            result["protocols"][protocol.name] = {"skipped": done, "description": protocol.description}
            continue
        if latency_sweep:
            done.figures["latency"] = sweep_latency(recorded, policy, protocol, preset, seeds=count)
        if second_contact_model:
            done.figures["second_contact_model"] = in_second_contact_model(
                recorded, policy, protocol, preset, done, latency_ms=latency
            )
        result["protocols"][protocol.name] = done.figures
        runs[protocol.name] = done
        line = "{name}: {success_rate:.0%} of {n} succeed [{wilson_low:.0%}, {wilson_high:.0%}]"
        if progress is not None:
            progress(line.format(name=protocol.name, **done.figures))
    if out is not None:
        _write(result, runs, preset, out)
    return result


def _write(result: dict[str, Any], runs: dict[str, Run], preset: Preset, out: Path) -> None:
    """Write pictures, video, figures and report; a video that cannot be made is left out, visibly."""
    config = preset.closed_loop
    for name, done in runs.items():
        plot_run(name, done.figures, done.recording, done.task, out / f"{name}.png")
    result["video"] = None
    if not runs:
        result["video_skipped"] = "no protocol was run"
    else:
        seconds = config.video_seconds / len(runs)
        scenes = [make_scene(done, seconds) for done in runs.values()]
        try:
            write_video(scenes, out / VIDEO, width=config.video_width, height=config.video_height)
            result["video"] = VIDEO
        except MissingToolError as error:
            log.warning("no video: %s", error)
            result["video_skipped"] = str(error)
    write_json(out / FIGURES, result)
    write_bytes(out / REPORT, report_text(result).encode())


def make_scene(done: Run, seconds: float) -> Scene:
    """Return the first robot's run as a shot of at most some seconds, with its goal and pillars."""
    recording, task = done.recording, done.task
    hz = recording.control_hz
    rows = min(len(recording.qpos), round(seconds * hz) + 1)
    commands = None
    if recording.command is not None:
        forward, left = np.nan_to_num(recording.command[:rows, 0, :2]).T
        c, s = np.cos(recording.yaw[:rows, 0]), np.sin(recording.yaw[:rows, 0])
        commands = np.stack([c * forward - s * left, s * forward + c * left, 0 * c], axis=-1)
    qpos, pushes = recording.qpos[:rows, 0], recording.pushes[:rows, 0]
    return Scene(qpos, hz, pushes, commands, overlays=_overlays(task, rows))


def _overlays(task: Task, rows: int) -> list[Column]:
    """Return the first robot's goal and pillars, which stand where they are for a whole shot."""

    def stands(place: torch.Tensor) -> np.ndarray:
        return np.tile(place.tolist(), (rows, 1))

    overlays = []
    if task.goal is not None:
        overlays.append(waypoint_marker(stands(task.goal[0])))
    if task.pillars is not None:
        overlays += [pillar_column(stands(p), task.pillars.radius) for p in task.pillars.centre[0]]
    return overlays
