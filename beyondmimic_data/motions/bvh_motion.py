"""Reading BVH: from a file to keypoints with z up at the control rate, every defect named."""

import dataclasses
import io
import itertools
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pybvh

from beyondmimic_data.errors import MotionError
from beyondmimic_data.motions import skeletons
from beyondmimic_data.motions.formats import MAX_FRAMES
from beyondmimic_data.motions.keypoints import Keypoints, resample, smooth
from beyondmimic_data.motions.skeletons import END, SKELETONS, Skeleton

MIN_FRAMES = 3
MAX_VALUES = 10_000_000
"""Frames times channels, or coordinates of joints and end sites: ten minutes at 120 Hz of 46 of them. CMU's
body has 38. Positions of so many are worked out in a gigabyte."""
MAX_JOINTS = 500
"""Joints, and end sites, of a hierarchy; a person with all fingers and a face has two hundred."""
MAX_HIERARCHY = 2**20
"""Characters of a hierarchy, two thousand for each of those joints."""
MAX_CHANNELS = 6
"""Of a joint: three positions, three angles."""
_CHANNEL_COUNTS = tuple(map(str, range(MAX_CHANNELS + 1)))
SMOOTHING_SECONDS = 0.02
FPS_RANGE = (10.0, 1000.0)
# The pose of frame 0 counts as a calibration pose when it is this far from frame 1, in leg lengths and in
# medians of all frames' steps. Filters of earlier conversions smear it over the next frames.
CALIBRATION_JUMP = (0.05, 5.0)
CALIBRATION_SMEAR = 2.0
CALIBRATION_MAX_FRAMES = 20
_TO_Z_UP = {0: [1, 2, 0], 1: [2, 0, 1], 2: [0, 1, 2]}


@dataclasses.dataclass(frozen=True)
class BvhMotion:
    """A person's motion, ready to retarget."""

    points: Keypoints
    """T frames at ``fps``, z up, in the file's unit of length."""
    rest: Keypoints | None
    """One frame of the skeleton's rest pose if it stands upright, else ``None``."""
    fps: float
    skeleton: str
    """Name of the map that fitted."""
    notes: tuple[str, ...]
    """What was changed on reading."""


def read_bvh(path: Path, fps: float, skeleton: Skeleton | None = None) -> BvhMotion:
    """Read a BVH file and resample it.

    Args:
        path: the file.
        fps: rate to resample to, Hz.
        skeleton: the map to use; ``None`` finds it from the joint names.

    Raises:
        MotionError: the file is broken, its joints match no map, or the body does not stand upright.
    """
    bvh = _parse(path)
    source_fps = bvh.fps
    mapping = _choose(path, bvh.joint_names, skeleton)
    index = _columns(path, bvh.node_index, mapping)
    points = _select(bvh.positions, index)
    notes: list[str] = []
    calibration = _calibration_frames(points)
    if calibration:
        points = points.map(lambda a: a[calibration:])
        notes.append(f"dropped the calibration pose of the first {calibration} frames")
    up = _up_axis(path, points)
    rest = _select(bvh.rest[None], index)
    points, rest = (k.map(lambda a: a[..., _TO_Z_UP[up]]) for k in (points, rest))
    _check_body(path, points, source_fps)
    sigma = SMOOTHING_SECONDS * source_fps
    return BvhMotion(
        points=points.map(lambda a: resample(smooth(a, sigma), source_fps, fps)),
        rest=rest if _stands(rest) else None,
        fps=fps,
        skeleton=mapping.name,
        notes=tuple(notes),
    )


@dataclasses.dataclass(frozen=True)
class _Parsed:
    """What a file holds; N joints and end sites."""

    joint_names: list[str]
    node_index: dict[str, int]
    """Index of each joint and end site."""
    fps: float
    positions: np.ndarray
    """(T, N, 3) in the file's unit and axes."""
    rest: np.ndarray
    """(N, 3), the same of the rest pose."""


def _parse(path: Path) -> _Parsed:
    """Parse the file; the library's errors become one MotionError."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise MotionError(path, "encoding", f"byte {error.start} is not text", "a BVH text file") from error
    if not text.strip():
        raise MotionError(path, "file", "no content", "HIERARCHY and MOTION")
    first = text.split(None, 1)[0]
    if first != "HIERARCHY":
        raise MotionError(path, "first word", repr(first[:40]), "HIERARCHY")
    _check_motion_section(path, text)
    del text  # pybvh reads the file itself
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            bvh = pybvh.read_bvh_file(path, world_up="+y", warn_on_world_up_disagreement=False)
            positions, rest = bvh.node_positions(), bvh.rest_pose_positions()
    except Exception as error:  # the parser raises what its insides happen to at a damaged hierarchy
        reason = str(error).replace(str(path), path.name) or type(error).__name__
        raise MotionError(path, "HIERARCHY", reason, "a complete hierarchy") from error
    return _Parsed(
        list(bvh.joint_names),
        dict(bvh.node_index),
        1.0 / bvh.frame_time,
        np.asarray(positions, np.float64),
        np.asarray(rest, np.float64),
    )


def _check_motion_section(path: Path, text: str) -> None:
    """Check Frames, Frame Time and every line of numbers.

    Raises:
        MotionError: names the line.
    """
    hierarchy, found, section = text.partition("MOTION")
    if not found:
        raise MotionError(path, "MOTION", "no such section", "MOTION, Frames and Frame Time")
    rows = io.StringIO(section)
    header = list(itertools.islice(filter(str.strip, rows), 2))
    frames = _header(path, header, 0, "Frames:")
    seconds = _header(path, header, 1, "Frame Time:")
    if not 1 / FPS_RANGE[1] <= seconds <= 1 / FPS_RANGE[0]:
        raise MotionError(
            path, "Frame Time", f"{seconds:g} s", f"{1 / FPS_RANGE[1]:g} to {1 / FPS_RANGE[0]:g} s"
        )
    if not MIN_FRAMES <= frames <= MAX_FRAMES:
        raise MotionError(path, "Frames", f"{frames:g}", f"{MIN_FRAMES} to {MAX_FRAMES}")
    opened, closed = hierarchy.count("{"), hierarchy.count("}")
    if opened != closed:
        raise MotionError(path, "HIERARCHY", f"{opened} '{{' and {closed} '}}'", "as many of both")
    channels = _channels(path, hierarchy)
    if opened > 2 * MAX_JOINTS:
        raise MotionError(path, "HIERARCHY", f"{opened} joints and end sites", f"at most {2 * MAX_JOINTS}")
    if frames * max(channels, 3 * opened) > MAX_VALUES:
        found_size = f"{frames:g} frames of {channels} channels and {opened} joints and end sites"
        raise MotionError(path, "Frames", found_size, f"at most {MAX_VALUES} values")
    _check_rows(path, filter(str.strip, rows), frames, channels)


def _check_rows(path: Path, rows: Iterable[str], frames: float, channels: int) -> None:
    """Check that there are as many lines of numbers as declared, each with a number a channel."""
    number = -1
    for number, row in enumerate(rows):
        if number >= frames:
            raise MotionError(path, "Frames", "more lines of numbers", f"{frames:g} as declared")
        values = row.split(maxsplit=channels)
        if len(values) != channels:
            found_values = f"{len(values)} values" if len(values) < channels else "more values"
            raise MotionError(path, f"frame {number}", found_values, f"{channels}, one a channel")
        try:
            finite = np.isfinite(np.array(values, float)).all()
        except ValueError as error:
            raise MotionError(path, f"frame {number}", error, "numbers") from error
        if not finite:
            raise MotionError(path, f"frame {number}", "a value that is not finite", "finite numbers")
    if number + 1 != frames:
        raise MotionError(path, "Frames", f"{number + 1} lines of numbers", f"{frames:g} as declared")


def _header(path: Path, lines: list[str], index: int, name: str) -> float:
    """Return the number behind a header of the MOTION section."""
    line = lines[index].strip() if index < len(lines) else ""
    field = name.removesuffix(":")
    if not line.startswith(name):
        raise MotionError(path, field, repr(line[:40]), f"a line that starts with {name}")
    try:
        return float(line.removeprefix(name))
    except ValueError:
        raise MotionError(path, field, repr(line.removeprefix(name).strip()[:40]), "a number") from None


def _channels(path: Path, hierarchy: str) -> int:
    """Return how many channels a hierarchy declares."""
    if len(hierarchy) > MAX_HIERARCHY:
        raise MotionError(path, "HIERARCHY", f"{len(hierarchy)} characters", f"at most {MAX_HIERARCHY}")
    words = hierarchy.split()
    counts = [words[i + 1] for i, word in enumerate(words[:-1]) if word == "CHANNELS"]
    if len(counts) > MAX_JOINTS:
        raise MotionError(path, "HIERARCHY", f"{len(counts)} joints", f"at most {MAX_JOINTS}")
    if not counts or any(count not in _CHANNEL_COUNTS for count in counts):
        raise MotionError(
            path,
            "CHANNELS",
            counts or "none",
            f"a number of channels for every joint, at most {MAX_CHANNELS}",
        )
    return sum(map(int, counts))


def _choose(path: Path, names: list[str], skeleton: Skeleton | None) -> Skeleton:
    """Return the given map if it fits, or the one whose joints are all there."""
    if skeleton is not None:
        missing = skeleton.missing(names)
        if missing:
            expected = f"every joint of the skeleton '{skeleton.name}'"
            raise MotionError(path, "joint names", "no " + ", ".join(missing), expected)
        return skeleton
    found = skeletons.detect(names)
    if found is None:
        near = skeletons.closest(names)
        lacking = ", ".join(near.missing(names))
        raise MotionError(
            path,
            "joint names",
            ", ".join(names[:8]) + (" …" if len(names) > 8 else ""),
            f"those of one of {', '.join(SKELETONS)} (the closest is {near.name}, lacking {lacking}), "
            "or a motions.toml that names another skeleton",
        )
    return found


def _columns(path: Path, index: dict[str, int], mapping: Skeleton) -> dict[str, int | list[int]]:
    """Return the node indices of each keypoint field."""

    def column(name: str) -> int:
        if not name.endswith(END):
            return index[name]
        joint = name.removesuffix(END)
        end = index.get("EndSite" + joint)
        if end is None:
            raise MotionError(path, f"joint {joint}", "no End Site", "one, the tip of the toe")
        return end

    columns: dict[str, int | list[int]] = {}
    for field in dataclasses.fields(Keypoints):
        names = getattr(mapping, field.name)
        columns[field.name] = column(names) if isinstance(names, str) else [column(n) for n in names]
    return columns


def _select(positions: np.ndarray, columns: dict[str, int | list[int]]) -> Keypoints:
    return Keypoints(**{name: positions[:, column] for name, column in columns.items()})


def _calibration_frames(points: Keypoints) -> int:
    """Return how many leading frames hold a pose apart from the motion and the way out of it."""
    if points.num_frames < 2 * CALIBRATION_MAX_FRAMES:
        return 0
    relative = points.stacked() - points.pelvis[:, None]
    steps = np.linalg.norm(np.diff(relative, axis=0), axis=-1).mean(1)
    usual = float(np.median(steps))
    distance, ratio = CALIBRATION_JUMP
    if not (steps[0] > distance * points.leg_length and steps[0] > ratio * usual):
        return 0
    large = steps[:CALIBRATION_MAX_FRAMES] > CALIBRATION_SMEAR * usual
    settled = int(np.argmin(large)) if not large.all() else CALIBRATION_MAX_FRAMES
    # Two more: the filter's tail is smaller than a step but still bends the path.
    return settled + 2


def _up_axis(path: Path, points: Keypoints) -> int:
    """Return the axis along which the body stands.

    Raises:
        MotionError: it stands along none, or on its head.
    """
    trunk = (points.neck - points.ankles.mean(1)).mean(0)
    axis = int(np.argmax(np.abs(trunk)))
    share = trunk[axis] / max(float(np.linalg.norm(trunk)), 1e-9)
    if abs(share) < 0.7 or not np.isfinite(share):
        raise MotionError(
            path,
            "posture",
            f"feet to neck along {np.round(trunk, 2).tolist()}",
            "a body upright along one axis",
        )
    if share < 0:
        raise MotionError(
            path, "posture", f"the neck under the feet along axis {'xyz'[axis]}", "a body upright"
        )
    return axis


def _stands(rest: Keypoints) -> bool:
    """Say whether the rest pose is upright with straight legs, so that it can calibrate frames."""
    trunk = (rest.neck - rest.pelvis)[0]
    legs = (rest.hips - rest.ankles)[0]
    return bool(
        trunk[2] > 0.9 * np.linalg.norm(trunk) and (legs[:, 2] > 0.9 * np.linalg.norm(legs, axis=-1)).all()
    )


def _check_body(path: Path, points: Keypoints, fps: float) -> None:
    """Refuse skeletons without limbs and motions faster than any person.

    Raises:
        MotionError: a limb without length, or a pelvis faster than 15 leg lengths a second.
    """
    length = points.leg_length
    limbs = {
        "thigh": points.knees - points.hips,
        "shin": points.ankles - points.knees,
        "foot": points.toes - points.ankles,
        "upper arm": points.elbows - points.shoulders,
        "forearm": points.wrists - points.elbows,
        "hip width": points.hips[:, 0] - points.hips[:, 1],
        "shoulder width": points.shoulders[:, 0] - points.shoulders[:, 1],
    }
    for name, vector in limbs.items():
        shortest = float(np.linalg.norm(vector, axis=-1).min())
        if not shortest > 0.02 * length:
            raise MotionError(path, f"OFFSET of the {name}", f"length {shortest:.3g}", "a limb with length")
    fastest = float(np.linalg.norm(np.diff(points.pelvis, axis=0), axis=-1).max()) * fps / length
    if not fastest <= 15:
        raise MotionError(
            path,
            "root position",
            f"a jump of {fastest:.0f} leg lengths a second",
            "under 15; are offsets and positions in one unit?",
        )
