"""``beyondmimic motions gait``: how clips walk, beside the project's own gait.

Only steady walking counts: steps that alternate, go the way the pelvis faces, leave no foot-free time, and
are like the step before or after in speed, time and heading.
"""

import dataclasses
import itertools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from beyondmimic_data import rotations
from beyondmimic_data.config import Preset
from beyondmimic_data.errors import MotionError
from beyondmimic_data.motions.check import clips_of
from beyondmimic_data.motions.clip import Clip, clip_from_qpos
from beyondmimic_data.motions.contacts import debounce
from beyondmimic_data.motions.made_clip import make_clip
from beyondmimic_data.motions.plausible import FEET, sole_points_of
from beyondmimic_data.motions.quality import skate
from beyondmimic_data.motions.walking import walk_qpos

logger = logging.getLogger(__name__)

NEAR_FLOOR, STILL_SPEED = 0.005, 0.5
"""m and m/s; a sole whose lowest corner is lower and slower stands."""
SHORTEST_STANCE = 0.1
"""s; shorter touches are no steps."""
SHORTEST_STEP = 0.1
"""m; shorter steps are no walking."""
SIMILAR = 0.15
"""Share by which speed and time of a steady step may differ from its neighbour's."""
STRAIGHT = np.radians(12.0)
"""rad by which its heading may differ from its neighbour's."""
FORWARD = np.radians(30.0)
"""rad by which its direction may differ from its heading."""
MOST_FLIGHT = 0.05
"""Share of a step's frames without a standing foot; runs have more."""
SYNTHESISED_SPEEDS = (0.4, 0.7, 1.0)
"""m/s at which the project's own gait is measured."""
SYNTHESISED_SECONDS = 8.0
REST_SECONDS = 1.3, 2.0
"""s of standing before and after its walk."""


@dataclasses.dataclass(frozen=True)
class GaitFigures:
    """Means over the steady walking steps of a clip."""

    steps: int
    speed_m_s: float
    """Of the pelvis, horizontal."""
    step_length_m: float
    """From where one foot stands to where the other stands next, along the way."""
    step_time_s: float
    """From one foot's landing to the other's."""
    clearance_m: float
    """Greatest height of a swinging sole's lowest point."""
    double_support_share: float
    """Share of time in which both feet stand."""
    stance_skate_m_s: float
    """Horizontal speed of the feet that bear, as in the quality check."""


@dataclasses.dataclass(frozen=True)
class _Stance:
    """One foot on the floor; frames ``first`` to ``last``, both included."""

    foot: int
    first: int
    last: int
    place: np.ndarray
    """(2,) m, middle of the sole."""


@dataclasses.dataclass(frozen=True)
class _Step:
    """From one foot's landing to the other's."""

    start: _Stance
    stop: _Stance
    seconds: float
    way: np.ndarray
    """(2,) m that the pelvis goes; it sways from step to step."""
    along: np.ndarray
    """(2,) unit vector along which it goes over two steps."""
    facing: np.ndarray
    """(2,) unit vector of the pelvis' mean heading."""
    flight: float
    """Share of frames without a standing foot."""

    @property
    def speed(self) -> float:
        """m/s of the pelvis."""
        return float(self.way @ self.along) / self.seconds

    @property
    def length(self) -> float:
        """Distance in m of the two feet along the way."""
        return float((self.stop.place - self.start.place) @ self.along)

    @property
    def walks(self) -> bool:
        """Whether it is a step ahead of someone who walks."""
        forward = _angle(self.along, self.facing) < FORWARD
        return forward and self.flight <= MOST_FLIGHT and self.length > SHORTEST_STEP

    def like(self, other: "_Step") -> bool:
        """Whether speed, time and heading are nearly those of another step."""
        return (
            abs(self.speed - other.speed) <= SIMILAR * max(self.speed, other.speed)
            and abs(self.seconds - other.seconds) <= SIMILAR * max(self.seconds, other.seconds)
            and _angle(self.facing, other.facing) < STRAIGHT
        )


def compare_gaits(
    paths: Sequence[Path], preset: Preset, fps: float | None = None, quat: str | None = None
) -> list[dict[str, Any]]:
    """Measure the clips of files and folders, and the project's own gait straight ahead at three speeds.

    Args:
        paths: files, or folders that are read as a motion folder is; may be none.
        preset: gives the control rate and the limits of quality.
        fps: rate of CSV files; goes before what a ``motions.toml`` says.
        quat: order of a CSV file's root quaternion, ``wxyz`` or ``xyzw``; likewise.

    Returns:
        One row a clip with ``clip``, ``problem`` (empty, or why there are no figures), and the fields of
        ``GaitFigures`` where there is no problem; the project's own gait comes last.

    Raises:
        MotionError: a folder holds no motion file.
    """
    sources, errors = clips_of(paths, fps, quat) if paths else ([], [])
    rows: list[dict[str, Any]] = [{"clip": Path(e.file).name, "problem": str(e)} for e in errors]
    for source in sources:
        try:
            rows.append(_row(make_clip(source, preset)))
        except MotionError as error:
            rows.append({"clip": source.name, "problem": str(error)})
        logger.info("%s: %s", source.name, rows[-1]["problem"] or "measured")
    rate = preset.control.control_hz
    return [*rows, *(_row(synthesised_walk(speed, rate)) for speed in SYNTHESISED_SPEEDS)]


def synthesised_walk(speed: float, control_hz: float) -> Clip:
    """Return the project's own gait: from rest straight ahead at a speed in m/s, and to rest again."""
    commands = np.zeros((round(SYNTHESISED_SECONDS * control_hz) + 1, 3))
    before, after = (round(seconds * control_hz) for seconds in REST_SECONDS)
    commands[before:-after, 0] = speed
    name = f"synthesised at {speed:g} m/s"
    return clip_from_qpos(name, walk_qpos(commands, control_hz), control_hz, control_hz)


def measure_gait(clip: Clip) -> GaitFigures | None:
    """Measure the steady walking steps of a clip; ``None`` if it has none."""
    soles = sole_points_of(clip.body_pos_w[:, FEET].astype(float), clip.body_quat_w[:, FEET].astype(float))
    stands = _standing(soles, clip.fps)
    stances = _stances(stands, soles, clip.fps)
    steps = _steady(_steps(clip, stands, stances))
    if not steps:
        return None
    lowest = soles[..., 2].min(-1)
    seconds = sum(step.seconds for step in steps)
    frames = [slice(step.start.first, step.stop.first) for step in steps]
    both = (stands[:-1] & stands[1:]).all(1)
    slides = [skate(soles[rows], clip.fps) for rows in frames]
    return GaitFigures(
        steps=len(steps),
        speed_m_s=sum(step.speed * step.seconds for step in steps) / seconds,
        step_length_m=float(np.mean([step.length for step in steps])),
        step_time_s=seconds / len(steps),
        clearance_m=float(np.mean([_clearance(step.stop, stances, lowest) for step in steps])),
        double_support_share=float(np.concatenate([both[rows] for rows in frames]).mean()),
        stance_skate_m_s=float(np.average(slides, weights=[rows.stop - rows.start for rows in frames])),
    )


def _row(clip: Clip) -> dict[str, Any]:
    figures = measure_gait(clip)
    if figures is None:
        return {"clip": clip.name, "problem": "no steady walking steps"}
    return {"clip": clip.name, "problem": "", **dataclasses.asdict(figures)}


def _standing(soles: np.ndarray, fps: float) -> np.ndarray:
    """Return (T, 2) whether each foot stands, for sole corners (T, 2, 4, 3).

    It does in both frames between which its lowest corner is near the floor and nearly still: a foot that
    rolls over its heel or toe stands, one that swings low does not.
    """
    lowest = soles[..., 2].min(-1)
    corner = soles[:-1, ..., 2].argmin(-1)[..., None]
    speeds = np.linalg.norm(np.diff(soles[..., :2], axis=0), axis=-1) * fps
    still = np.take_along_axis(speeds, corner, axis=2)[..., 0] < STILL_SPEED
    still &= (lowest[:-1] < NEAR_FLOOR) & (lowest[1:] < NEAR_FLOOR)
    ends = np.zeros((1, 2), bool)
    return debounce(np.concatenate([ends, still]) | np.concatenate([still, ends]))


def _stances(stands: np.ndarray, soles: np.ndarray, fps: float) -> list[_Stance]:
    """Return the stances whose landing is in the clip, in the order of landing."""
    middle = soles[..., :2].mean(2)
    found = []
    for foot in range(2):
        change = np.diff(stands[:, foot].astype(int), prepend=0, append=0)
        for first, stop in zip(np.flatnonzero(change == 1), np.flatnonzero(change == -1)):
            if first > 0 and stop - first >= SHORTEST_STANCE * fps:
                place = np.median(middle[first:stop, foot], axis=0)
                found.append(_Stance(foot, int(first), int(stop) - 1, place))
    return sorted(found, key=lambda stance: stance.first)


def _steps(clip: Clip, stands: np.ndarray, stances: list[_Stance]) -> list[_Step | None]:
    """Return the steps between landings that follow each other; ``None`` where no other foot lands."""
    pelvis = clip.body_pos_w[[stance.first for stance in stances], 0, :2].astype(float)
    ways = np.diff(pelvis, axis=0)
    # Over two steps the sway of the pelvis is gone; a step alone, at either end, takes what it has.
    strides = ways[:-1] + ways[1:] if len(ways) > 1 else ways
    steps: list[_Step | None] = []
    for i, (start, stop) in enumerate(itertools.pairwise(stances)):
        stride = strides[max(i - 1, 0)]
        if start.foot == stop.foot or start.first == stop.first or not stride.any():
            steps.append(None)
            continue
        rows = slice(start.first, stop.first + 1)
        facing = rotations.rotate(clip.body_quat_w[rows, 0].astype(float), np.array([1.0, 0.0, 0.0]))
        step = _Step(
            start=start,
            stop=stop,
            seconds=(stop.first - start.first) / clip.fps,
            way=ways[i],
            along=_unit(stride),
            facing=_unit(facing[:, :2].mean(0)),
            flight=float((~stands[rows].any(1)).mean()),
        )
        steps.append(step)
    return steps


def _steady(steps: list[_Step | None]) -> list[_Step]:
    """Return the steps that walk, and have one just before or after that is like them."""
    steady = []
    for before, step, after in zip([None, *steps], steps, [*steps[1:], None]):
        if step is None or not step.walks:
            continue
        if any(other is not None and other.walks and step.like(other) for other in (before, after)):
            steady.append(step)
    return steady


def _clearance(landing: _Stance, stances: list[_Stance], lowest: np.ndarray) -> float:
    """Return how high a sole's lowest point (T, 2) rises on the way to a landing."""
    earlier = [s.last for s in stances if s.foot == landing.foot and s.last < landing.first]
    first = max(earlier, default=0)
    return float(lowest[first : landing.first + 1, landing.foot].max())


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def _angle(a: np.ndarray, b: np.ndarray) -> float:
    """Return the angle in rad between two unit vectors (2,)."""
    return float(np.arccos(np.clip(a @ b, -1, 1)))
