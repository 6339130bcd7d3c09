"""Closed-loop evaluation of a trained policy: protocols, figures, video and report."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from beyondmimic_data import process
from beyondmimic_data.config import Preset, Range
from beyondmimic_data.control.closed_loop import ClosedLoop, Recording, run
from beyondmimic_data.control.pictures import plot_recording
from beyondmimic_data.control.protocols import PROTOCOLS, Protocol, commander, pusher, summarise
from beyondmimic_data.diffusion.frames import Frames, frames_from_rows
from beyondmimic_data.diffusion.policy import DiffusionPolicy
from beyondmimic_data.diffusion.windows import RecordedWindows
from beyondmimic_data.errors import ConfigError, MissingToolError
from beyondmimic_data.files import write_bytes, write_json
from beyondmimic_data.video import Scene, write_video

log = logging.getLogger(__name__)

VIDEO = "video.mp4"
FIGURES = "closed_loop.json"
REPORT = "report.md"


def get_protocol(name: str) -> Protocol:
    """Return a protocol by name.

    Raises:
        ConfigError: there is no such protocol.
    """
    if name not in PROTOCOLS:
        raise ConfigError("closed_loop.protocols", name, "one of " + ", ".join(PROTOCOLS))
    return PROTOCOLS[name]


def pick_starts(
    folder: Path, policy: DiffusionPolicy, protocol: Protocol, n: int, seed: int
) -> Frames | None:
    """Draw n of the starts recorded beside a policy; see ``draw_starts``."""
    return draw_starts(RecordedWindows.load(folder), policy, protocol, n, seed)


def draw_starts(
    recorded: RecordedWindows, policy: DiffusionPolicy, protocol: Protocol, n: int, seed: int
) -> Frames | None:
    """Draw n recorded starts that fit a protocol, or return ``None`` where no recorded window does."""
    frames = frames_from_rows(recorded.rows[:, : policy.current + 1], recorded.columns)
    fitting = protocol.start(frames).nonzero().flatten()
    if not len(fitting):
        return None
    chosen = np.random.default_rng(seed).integers(0, len(fitting), n)
    return frames.select(fitting[torch.from_numpy(chosen)])


def run_protocol(
    folder: Path,
    policy: DiffusionPolicy,
    protocol: Protocol,
    preset: Preset,
    *,
    seeds: int,
    latency_ms: Range,
) -> tuple[dict[str, Any], Recording | None]:
    """Run one protocol with n robots at once.

    Args:
        folder: of the policy, for its recorded starts.
        policy: in evaluation mode.
        protocol: what to run.
        preset: control rate and closed-loop configuration.
        seeds: robots n; each draws its own start, latency, pushes and noise.
        latency_ms: range of the delay after the policy, the one of its data.

    Returns:
        Figures, and the recording; a protocol that no recorded start fits has ``skipped`` with the reason.
    """
    process.prepare(torch.get_num_threads())
    config = preset.closed_loop
    starts = pick_starts(folder, policy, protocol, seeds, config.seed)
    if starts is None:
        reason = f"none of the policy's recorded windows is {protocol.start_name}"
        log.warning("%s left out: %s", protocol.name, reason)
        return {"skipped": reason, "description": protocol.description}, None
    loop = ClosedLoop(
        policy,
        starts,
        preset.control,
        sampler=config.sampler,
        plan_first=config.plan_first,
        latency_ms=latency_ms,
        seed=config.seed,
    )
    hz = preset.control.control_hz
    recording = run(
        loop,
        round(protocol.seconds * hz),
        steer=commander(protocol.commands, hz, config.guidance_scale) if protocol.commands else None,
        push=pusher(seeds, hz, config.seed) if protocol.pushed else None,
        what=protocol.name,
    )
    return summarise(protocol, recording), recording


def evaluate_closed_loop(
    folder: Path,
    preset: Preset,
    out: Path | None = None,
    *,
    protocols: Sequence[str] | None = None,
    seeds: int | None = None,
    latency_ms: Range | None = None,
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
    count = config.seeds if seeds is None else seeds
    latency = preset.randomisation.latency_ms if latency_ms is None else latency_ms
    result: dict[str, Any] = {
        "representation": policy.config.representation,
        "sampler": config.sampler,
        "guidance_scale": config.guidance_scale,
        "latency_range_ms": list(latency),
        "protocols": {},
    }
    recordings: dict[str, Recording] = {}
    for protocol in chosen:
        if progress is not None:
            progress(f"{protocol.name}: {count} runs of {protocol.seconds:g} s")
        figures, recording = run_protocol(folder, policy, protocol, preset, seeds=count, latency_ms=latency)
        result["protocols"][protocol.name] = figures
        if recording is not None:
            recordings[protocol.name] = recording
            line = "{name}: {success_rate:.0%} of {n} succeed [{wilson_low:.0%}, {wilson_high:.0%}]"
            if progress is not None:
                progress(line.format(name=protocol.name, **figures))
    if out is not None:
        _write(result, recordings, preset, out)
    return result


def _write(result: dict[str, Any], recordings: dict[str, Recording], preset: Preset, out: Path) -> None:
    """Write pictures, video, figures and report; a video that cannot be made is left out, visibly."""
    config = preset.closed_loop
    for name, recording in recordings.items():
        plot_recording(recording, PROTOCOLS[name].commands, out / f"{name}.png")
    result["video"] = None
    if not recordings:
        result["video_skipped"] = "no protocol was run"
    else:
        seconds = config.video_seconds / len(recordings)
        scenes = [make_scene(r, PROTOCOLS[name], seconds) for name, r in recordings.items()]
        try:
            write_video(scenes, out / VIDEO, width=config.video_width, height=config.video_height)
            result["video"] = VIDEO
        except MissingToolError as error:
            log.warning("no video: %s", error)
            result["video_skipped"] = str(error)
    write_json(out / FIGURES, result)
    write_bytes(out / REPORT, report_text(result).encode())


def make_scene(recording: Recording, protocol: Protocol, seconds: float) -> Scene:
    """Return the first robot's run as a shot of at most some seconds."""
    hz = recording.control_hz
    rows = min(len(recording.qpos), round(seconds * hz) + 1)
    commands = None
    if protocol.commands:
        ends = np.cumsum([round(c.seconds * hz) for c in protocol.commands])
        index = np.minimum(np.searchsorted(ends, np.arange(rows), side="right"), len(ends) - 1)
        local = np.array([c.velocity for c in protocol.commands])[index]
        c, s = np.cos(recording.yaw[:rows, 0]), np.sin(recording.yaw[:rows, 0])
        commands = np.stack(
            [c * local[:, 0] - s * local[:, 1], s * local[:, 0] + c * local[:, 1], 0 * c], axis=-1
        )
    return Scene(recording.qpos[:rows, 0], hz, recording.pushes[:rows, 0], commands)


def report_text(result: dict[str, Any]) -> str:
    """Return the report as Markdown."""
    lines = [
        "# Closed loop",
        "",
        f"State representation {result['representation']}, {result['sampler']} inference, guidance scale "
        f"{result['guidance_scale']:g}, latency {result['latency_range_ms'][0]:g} to "
        f"{result['latency_range_ms'][1]:g} ms after the policy.",
        "",
        "| protocol | success | 95 % interval | runs | falls | mean time up | plan, median |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, f in result["protocols"].items():
        if "skipped" in f:
            lines.append(f"| {name} | left out: {f['skipped']} | | | | | |")
            continue
        lines.append(
            f"| {name} | {f['success_rate']:.0%} | {f['wilson_low']:.0%} to {f['wilson_high']:.0%} "
            f"| {f['n']} | {f['falls']} | {f['mean_seconds_upright']:.1f} s | {f['plan_ms_p50']:.0f} ms |"
        )
    for name, f in result["protocols"].items():
        lines += ["", f"## {name}", "", f["description"], ""]
        if "skipped" in f:
            lines.append(f"Left out: {f['skipped']}.")
            continue
        for command, g in f.get("commands", {}).items():
            lines.append(_command_line(command, g))
        lines += ["", f"![{name}]({name}.png)"]
    lines += ["", f"Video: {result['video'] or 'left out: ' + result['video_skipped']}", ""]
    return "\n".join(lines)


def _command_line(name: str, figures: dict[str, Any]) -> str:
    error = figures["velocity_error_m_s"]
    found = "all fell" if error is None else f"mean velocity off by {error:.2f} m/s"
    return f"* {name}: {figures['following']:.0%} follow, {found}"
