"""Reading BVH: from a file to keypoints with z up at the control rate, every defect named."""

import dataclasses
import warnings
from pathlib import Path

import numpy as np
import pybvh

from beyondmimic_data.errors import MotionError
from beyondmimic_data.motions import skeletons
from beyondmimic_data.motions.keypoints import Keypoints, resample, smooth
from beyondmimic_data.motions.skeletons import END, SKELETONS, Skeleton

MIN_FRAMES, MAX_FRAMES = 3, 400_000
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
    source_fps = 1.0 / bvh.frame_time
    mapping = _choose(path, list(bvh.joint_names), skeleton)
    index = _columns(path, bvh, mapping)
    positions = np.asarray(bvh.node_positions(), np.float64)
    points = _select(positions, index)
    notes: list[str] = []
    calibration = _calibration_frames(points)
    if calibration:
        points = points.map(lambda a: a[calibration:])
        notes.append(f"dropped the calibration pose of the first {calibration} frames")
    up = _up_axis(path, points)
    rest = _select(np.asarray(bvh.rest_pose_positions(), np.float64)[None], index)
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


def _parse(path: Path) -> pybvh.Bvh:
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
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pybvh.read_bvh_file(path, world_up="+y", warn_on_world_up_disagreement=False)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        reason = str(error).replace(str(path), path.name)
        raise MotionError(path, "HIERARCHY", reason, "a complete hierarchy") from error


def _check_motion_section(path: Path, text: str) -> None:
    """Check Frames, Frame Time and every line of numbers.

    Raises:
        MotionError: names the line.
    """
    hierarchy, found, section = text.partition("MOTION")
    if not found:
        raise MotionError(path, "MOTION", "no such section", "MOTION, Frames and Frame Time")
    lines = [line for line in section.splitlines() if line.strip()]
    frames = _header(path, lines, 0, "Frames:")
    seconds = _header(path, lines, 1, "Frame Time:")
    rows = lines[2:]
    if not 1 / FPS_RANGE[1] <= seconds <= 1 / FPS_RANGE[0]:
        raise MotionError(
            path, "Frame Time", f"{seconds:g} s", f"{1 / FPS_RANGE[1]:g} to {1 / FPS_RANGE[0]:g} s"
        )
    if not MIN_FRAMES <= frames <= MAX_FRAMES:
        raise MotionError(path, "Frames", f"{frames:g}", f"{MIN_FRAMES} to {MAX_FRAMES}")
    if len(rows) != frames:
        raise MotionError(path, "Frames", f"{len(rows)} lines of numbers", f"{frames:g} as declared")
    opened, closed = hierarchy.count("{"), hierarchy.count("}")
    if opened != closed:
        raise MotionError(path, "HIERARCHY", f"{opened} '{{' and {closed} '}}'", "as many of both")
    channels = _channels(path, hierarchy)
    for number, row in enumerate(rows):
        values = row.split()
        if len(values) != channels:
            found_values = f"{len(values)} values"
            raise MotionError(path, f"frame {number}", found_values, f"{channels}, one a channel")
        try:
            finite = np.isfinite(np.array(values, float)).all()
        except ValueError as error:
            raise MotionError(path, f"frame {number}", error, "numbers") from error
        if not finite:
            raise MotionError(path, f"frame {number}", "a value that is not finite", "finite numbers")


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
    words = hierarchy.split()
    counts = [words[i + 1] for i, word in enumerate(words[:-1]) if word == "CHANNELS"]
    if not counts or not all(count.isdecimal() for count in counts):
        raise MotionError(path, "CHANNELS", counts or "none", "a number of channels for every joint")
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


def _columns(path: Path, bvh: pybvh.Bvh, mapping: Skeleton) -> dict[str, int | list[int]]:
    """Return the node indices of each keypoint field."""
    index = dict(bvh.node_index)

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
    if fastest > 15:
        raise MotionError(
            path,
            "root position",
            f"a jump of {fastest:.0f} leg lengths a second",
            "under 15; are offsets and positions in one unit?",
        )
