"""Retargeting of BVH files: time a frame, and how well the robot follows, each figure against its limit."""

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mink
import numpy as np

from beyondmimic_data.config import quick
from beyondmimic_data.errors import MotionError
from beyondmimic_data.motions import kinematics
from beyondmimic_data.motions.bvh_motion import BvhMotion, read_bvh
from beyondmimic_data.motions.clip import Clip
from beyondmimic_data.motions.folder import clip_name, motion_files, refuse_links_outside
from beyondmimic_data.motions.importer import import_motion
from beyondmimic_data.motions.keypoints import SIDES
from beyondmimic_data.motions.motion_config import facts_of
from beyondmimic_data.motions.quality import measure
from beyondmimic_data.motions.retarget import Retargeted, retarget
from beyondmimic_data.text_table import aligned

PASSES = 3
SECONDS = 40.0
"""Further passes over all files stop after this time, s."""
END_SECONDS = 0.1
"""Length of the start and of the end in which a spike is looked for."""
USUAL_ACCELERATION = 250.0
"""rad/s^2; a joint accelerates as much in every brisk walk."""
BARE_FRAMES = 100
"""Frames that the bare solve is timed on, spread over the clip."""

LIMITS: dict[str, tuple[str, float]] = {
    "cpu_ms_per_frame": ("ms/frame", 2.0),
    "ankle_error_cm": ("ankle cm", 0.5),
    "skate_m_s": ("skate m/s", 0.06),
    "deep_share": ("deep", 0.01),
    "limit_violation_rad": ("limits", 0.0),
    "joint_speed_rad_s": ("speed", 20.0),
    "end_spike": ("end spike", 1.0),
}
"""Column of each figure of a clip, and the most that it may be."""


@dataclasses.dataclass(frozen=True)
class ClipFigures:
    """What retargeting one file came to."""

    clip: str
    problem: str = ""
    """Why the file cannot be retargeted; nothing else counts then."""
    frames: int = 0
    """At the control rate."""
    cpu_ms_per_frame: float = 0.0
    """CPU time of the process a frame, from keypoints to the robot's motion; median of the passes."""
    wall_ms_per_frame: float = 0.0
    read_ms_per_frame: float = 0.0
    """CPU time of reading the file and resampling its keypoints, a frame."""
    bare_ratio: float = 0.0
    """CPU time over that of one bare step of inverse kinematics a frame, to the same targets."""
    ankle_error_cm: float = 0.0
    """Mean distance of the robot's ankles from their targets."""
    skate_m_s: float = 0.0
    """Mean horizontal speed of the feet that bear the robot."""
    deep_share: float = 0.0
    """Share of frames with a sole more than 2 cm under the floor."""
    limit_violation_rad: float = 0.0
    joint_speed_rad_s: float = 0.0
    """99.9th percentile of the fastest joint's speed."""
    end_spike: float = 0.0
    """Greatest acceleration of a joint near the clip's ends over what is usual inside; see ``end_spike``."""

    @property
    def over(self) -> list[str]:
        """Names of the figures beyond their limits."""
        return [name for name, (_, most) in LIMITS.items() if getattr(self, name) > most]

    @property
    def ok(self) -> bool:
        """Whether the file was retargeted and every figure is within its limit."""
        return not self.problem and not self.over


def bench_retarget(path: Path) -> list[ClipFigures]:
    """Retarget every BVH file under a path, a few times over.

    Args:
        path: a BVH file, or a folder that is searched for them.

    Returns:
        One entry a file, in the order of their names; the sum is over CPU time of this process, so that what
        else runs on the machine does not count.

    Raises:
        MotionError: there is no BVH file.
    """
    files = _bvh_files(path)
    hz = quick().control.control_hz
    times: dict[str, list[tuple[float, float]]] = {name: [] for name, _ in files}
    figures: dict[str, ClipFigures] = {}
    people: dict[str, BvhMotion] = {}
    started = time.monotonic()
    for number in range(PASSES):
        if number and time.monotonic() - started > SECONDS * number / (number + 1):
            break
        for name, file in files:
            if number == 0:
                try:
                    figures[name], people[name] = _measure(name, file, hz)
                except MotionError as error:
                    figures[name] = ClipFigures(name, problem=str(error))
            if name in people:
                person = people[name]
                spent = _timed(functools.partial(retarget, person.points, person.rest, hz))[1]
                times[name].append((spent.cpu, spent.wall))
    return [_with_times(figures[name], times[name]) for name, _ in files]


def table(clips: Sequence[ClipFigures]) -> str:
    """Return the figures as a table; those beyond a limit bear an exclamation mark."""
    rows = [["clip", "frames", *(title for title, _ in LIMITS.values()), "x bare", "within limits"]]
    for clip in clips:
        if clip.problem:
            rows.append([clip.clip, *[""] * (len(LIMITS) + 2), f"not retargeted: {clip.problem}"])
            continue
        values = [f"{getattr(clip, name):.3g}{'!' if name in clip.over else ''}" for name in LIMITS]
        verdict = "yes" if clip.ok else "no"
        rows.append([clip.clip, str(clip.frames), *values, f"{clip.bare_ratio:.1f}", verdict])
    rows.append(["at most", "", *(f"{most:g}" for _, most in LIMITS.values()), "", ""])
    good = sum(clip.ok for clip in clips)
    return "\n".join(
        [*aligned(rows, left=(len(rows[0]) - 1,)), f"{good} of {len(clips)} clips within every limit"]
    )


def document(clips: Sequence[ClipFigures]) -> dict[str, Any]:
    """Return the figures and limits as plain values."""
    return {
        "limits": {name: most for name, (_, most) in LIMITS.items()},
        "clips": [{**dataclasses.asdict(clip), "over": clip.over, "ok": clip.ok} for clip in clips],
        "ok": all(clip.ok for clip in clips),
    }


def end_spike(clip: Clip) -> float:
    """Return how a clip's ends compare with its inside: over 1, something spikes there.

    The greatest acceleration of a joint within 0.1 s of either end, over the 99th percentile of the rest or
    250 rad/s^2, whichever is more: a run that begins in full stride accelerates there as it does throughout.
    """
    frames = max(2, round(END_SECONDS * clip.fps))
    acceleration = np.abs(np.diff(clip.joint_pos.astype(np.float64), 2, axis=0)).max(1) * clip.fps**2
    ends = max(acceleration[:frames].max(), acceleration[-frames:].max())
    inside = acceleration[frames:-frames]
    usual = float(np.percentile(inside, 99)) if len(inside) else 0.0
    return float(ends / max(usual, USUAL_ACCELERATION))


@dataclasses.dataclass(frozen=True)
class _Spent:
    """Seconds."""

    cpu: float
    wall: float


def _timed[T](function: Callable[[], T]) -> tuple[T, _Spent]:
    cpu, wall = time.process_time(), time.perf_counter()
    result = function()
    return result, _Spent(time.process_time() - cpu, time.perf_counter() - wall)


def _bvh_files(path: Path) -> list[tuple[str, Path]]:
    """Return names and paths of the BVH files."""
    path = path.expanduser()
    if not path.exists():
        raise MotionError(path, "file", "nothing", "a BVH file or a folder with some")
    if not path.is_dir():
        found = [(path.stem, path)]
    else:
        refuse_links_outside(path)
        found = [(clip_name(file, path), file) for file in sorted(motion_files(path))]
    files = [(name, file) for name, file in found if file.suffix.lower() == ".bvh"]
    if not files:
        raise MotionError(path, "files", "none that ends in .bvh", "a BVH file or a folder with some")
    return files


def _measure(name: str, file: Path, hz: float) -> tuple[ClipFigures, BvhMotion]:
    """Import one file and measure the clip; this is also its warm-up.

    Raises:
        MotionError: the file cannot be retargeted.
    """
    facts = facts_of(file)
    clip = import_motion(file, name=name, facts=facts, preset=quick())
    person, read = _timed(lambda: read_bvh(file, hz, facts.skeleton))
    result = retarget(person.points, person.rest, hz)
    metrics = measure(clip)
    measured = ClipFigures(
        clip=name,
        frames=clip.num_frames,
        read_ms_per_frame=1e3 * read.cpu / clip.num_frames,
        bare_ratio=_bare_ms(result),
        ankle_error_cm=100 * result.figures["ankle_error_m"],
        skate_m_s=metrics["foot_skate_m_s"],
        deep_share=metrics["deep_share"],
        limit_violation_rad=metrics["joint_limit_violation_rad"],
        joint_speed_rad_s=metrics["joint_speed_rad_s"],
        end_spike=end_spike(clip),
    )
    return measured, person


def _bare_ms(result: Retargeted) -> float:
    """Return the CPU time, ms, of one step of mink's inverse kinematics from a solved pose.

    Pelvis, ankles, knees, elbows and wrists have a target each, joints their limits: the least that a
    retargeter built on it can take for a frame.
    """
    model = kinematics.model()
    links = [f"{side}_{link}_link" for side in SIDES for link in ("knee", "ankle_roll", "elbow", "wrist_yaw")]
    tasks = [mink.FrameTask(link, "body", 1.0, 0.1, lm_damping=1e-3) for link in ("pelvis", *links)]
    limits = [mink.ConfigurationLimit(model)]
    configuration = mink.Configuration(model)
    frames = np.linspace(0, len(result.qpos) - 1, min(BARE_FRAMES, len(result.qpos))).astype(int)

    def step() -> None:
        for qpos in result.qpos[frames]:
            configuration.update(qpos)
            for task in tasks:
                task.set_target_from_configuration(configuration)
            mink.solve_ik(configuration, tasks, 0.02, "daqp", damping=1e-3, limits=limits)

    return 1e3 * _timed(step)[1].cpu / len(frames)


def _with_times(clip: ClipFigures, times: list[tuple[float, float]]) -> ClipFigures:
    """Add the medians of the passes."""
    if clip.problem:
        return clip
    cpu, wall = (1e3 * statistics.median(column) / clip.frames for column in zip(*times))
    return dataclasses.replace(
        clip, cpu_ms_per_frame=cpu, wall_ms_per_frame=wall, bare_ratio=cpu / clip.bare_ratio
    )
