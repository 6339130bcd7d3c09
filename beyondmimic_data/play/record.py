"""A script's run, and its video with the plan, the target and the pillars drawn in."""

import dataclasses
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from beyondmimic_data import rotations
from beyondmimic_data.play.script import Script, Stage
from beyondmimic_data.play.session import Session, Snapshot
from beyondmimic_data.video import (
    BEHIND,
    SIDE,
    Camera,
    Overlay,
    Polyline,
    Scene,
    pillar_column,
    waypoint_marker,
    write_video,
)

log = logging.getLogger(__name__)

CameraName = Literal["behind", "side"]
CAMERAS: dict[CameraName, Camera] = {"behind": BEHIND, "side": SIDE}

PLAN_COLOUR = (0.95, 0.55, 0.1, 1.0)
FOOT_COLOURS = ((0.2, 0.5, 0.9, 1.0), (0.6, 0.3, 0.8, 1.0))
LOG_SECONDS = 10.0


def record(
    session: Session, script: Script, path: Path, *, camera: CameraName, width: int, height: int
) -> dict[str, Any]:
    """Run a script from a session's start and write its video.

    Args:
        session: at its start.
        script: what to do.
        path: MP4 to write.
        camera: where it is seen from.
        width: pixels, even.
        height: pixels, even.

    Returns:
        Figures of the run: whether the robot fell, and what became of each command.

    Raises:
        MissingToolError: off-screen rendering does not work on this machine.
    """
    snapshots = run_script(session, script)
    write_video([make_scene(snapshots, session.dt, CAMERAS[camera])], path, width=width, height=height)
    return {"video": str(path), **summarise(snapshots, script, session.dt)}


def run_script(session: Session, script: Script) -> list[Snapshot]:
    """Return what there was to see after each control step."""
    pushes = [(round(shove.at / session.dt), shove.velocity) for shove in script.pushes]
    snapshots: list[Snapshot] = []
    logged = time.monotonic()
    total = sum(_steps(stage, session.dt) for stage in script.stages)
    for stage in script.stages:
        command = stage.command
        session.change(**{name: getattr(command, name) for name in ("forward", "left", "turn")})
        session.change(waypoint=command.waypoint, pillars=command.pillars)
        for _ in range(_steps(stage, session.dt)):
            for x, y in (velocity for at, velocity in pushes if at == len(snapshots)):
                session.push(x, y)
            snapshots.append(session.step())
            if time.monotonic() - logged > LOG_SECONDS:
                logged = time.monotonic()
                left = (total - len(snapshots)) * float(np.mean([s.step_ms for s in snapshots])) / 1e3
                log.info("%d of %d control steps, %.0f s left", len(snapshots), total, left)
    return snapshots


def make_scene(snapshots: Sequence[Snapshot], dt: float, camera: Camera) -> Scene:
    """Return a run as a shot: the plan in orange and at the feet, the target in green, pillars, pushes."""
    qpos = np.stack([s.qpos for s in snapshots])
    yaw = rotations.yaw(qpos[:, 3:7])
    asked = np.array([[s.command.forward, s.command.left, 0.0] for s in snapshots])
    walking = np.array([s.command.waypoint is None for s in snapshots])
    path = np.stack([s.root_path for s in snapshots])
    on_floor = path * [1.0, 1.0, 0.0] + [0.0, 0.0, 0.01]
    overlays: list[Overlay] = [Polyline(path, PLAN_COLOUR, 0.02), Polyline(on_floor, PLAN_COLOUR, 0.02)]
    feet = np.stack([s.foot_paths for s in snapshots])
    overlays += [Polyline(foot, colour, 0.01) for foot, colour in zip(feet.swapaxes(0, 1), FOOT_COLOURS)]
    targets = [(np.nan, np.nan) if s.command.waypoint is None else s.command.waypoint for s in snapshots]
    overlays.append(waypoint_marker(np.array(targets)))
    for pillar in snapshots[0].command.pillars:
        overlays.append(pillar_column(np.tile([pillar.x, pillar.y], (len(snapshots), 1)), pillar.radius))
    return Scene(
        qpos,
        1.0 / dt,
        pushes=np.stack([s.push for s in snapshots]),
        commands=np.where(walking[:, None], rotations.rotate(rotations.from_yaw(yaw), asked), 0.0),
        overlays=overlays,
        camera=camera,
    )


def summarise(snapshots: Sequence[Snapshot], script: Script, dt: float) -> dict[str, Any]:
    """Return whether the robot fell, how far it kept from pillars, and what became of each command."""
    commands: list[dict[str, Any]] = []
    first = 0
    for stage in script.stages:
        last = first + _steps(stage, dt)
        commands.append(_outcome(stage, snapshots[first:last]))
        first = last
    place = np.stack([s.qpos[:2] for s in snapshots])
    gaps = [
        float(np.linalg.norm(place - [pillar.x, pillar.y], axis=-1).min()) - pillar.radius
        for pillar in script.stages[0].command.pillars
    ]
    return {
        "fell": any(s.fallen for s in snapshots),
        "seconds": len(snapshots) * dt,
        "step_ms_p50": float(np.median([s.step_ms for s in snapshots])),
        "least_gap_to_a_pillar_m": min(gaps, default=None),
        "commands": commands,
    }


def _outcome(stage: Stage, snapshots: Sequence[Snapshot]) -> dict[str, Any]:
    """Return a command with the mean velocity over its second half, or with the way left to its waypoint."""
    asked = dataclasses.asdict(stage.command)
    if stage.command.waypoint is not None:
        left = np.linalg.norm(snapshots[-1].qpos[:2] - np.array(stage.command.waypoint))
        return {"seconds": stage.seconds, "waypoint": asked["waypoint"], "distance_left_m": float(left)}
    settled = snapshots[len(snapshots) // 2 :]
    found = np.mean([[*s.velocity[:2], s.turn] for s in settled], axis=0)
    return {
        "seconds": stage.seconds,
        **{name: asked[name] for name in ("forward", "left", "turn")},
        **{f"found_{name}": float(value) for name, value in zip(("forward", "left", "turn"), found)},
    }


def _steps(stage: Stage, dt: float) -> int:
    return max(1, round(stage.seconds / dt))
