"""One door for motion files: by suffix to a reader, every defect one ``MotionError``, nothing written."""

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

from beyondmimic_data.config import Preset
from beyondmimic_data.errors import MotionError
from beyondmimic_data.hashing import hash_file
from beyondmimic_data.motions.bvh_motion import read_bvh
from beyondmimic_data.motions.clip import NOTE_SEPARATOR, Clip, clip_from_qpos
from beyondmimic_data.motions.csv_motion import read_csv
from beyondmimic_data.motions.folder import check_size
from beyondmimic_data.motions.formats import EXPECTED, IMPORTER_VERSION, REFUSED, SUFFIXES
from beyondmimic_data.motions.motion_config import MotionFacts
from beyondmimic_data.motions.npz_motion import read_npz
from beyondmimic_data.motions.repairs import repair
from beyondmimic_data.motions.retarget import retarget

logger = logging.getLogger(__name__)

MIN_CONTROL_STEPS = 2
"""Fewer give no velocity."""


def import_motion(path: Path, *, name: str, facts: MotionFacts, preset: Preset) -> Clip:
    """Read or retarget a motion file.

    Args:
        path: a BVH, G1 CSV or NPZ file.
        name: name of the clip.
        facts: what is known of the file beside its bytes.
        preset: gives the control rate and the limits of quality.

    Raises:
        MotionError: the file is refused; says which field, what was found, what was expected.
    """
    path = Path(path)
    _check_file(path)
    fps = preset.control.control_hz
    source = {"file": path.name, "sha256": _hash(path), "importer": IMPORTER_VERSION}
    try:
        motion = _READERS[path.suffix.lower()](path, facts, preset)
        _check_duration(path, len(motion.qpos), motion.fps, preset)
        qpos, notes = repair(motion.qpos, motion.fps)
        clip = clip_from_qpos(name, qpos, motion.fps, fps, source)
    except (ValueError, IndexError, ArithmeticError, np.linalg.LinAlgError) as error:
        # Readers name what they know of; this is the net under them.
        logger.debug("import of %s failed", path, exc_info=True)
        raise MotionError(
            path, "motion", f"{type(error).__name__}: {error}", "a motion that can be read"
        ) from error
    except MemoryError as error:
        raise MotionError(path, "size", "more than fits in memory", "a shorter motion") from error
    clip.source.update(motion.source, repairs=NOTE_SEPARATOR.join((*motion.notes, *notes)))
    return clip


@dataclasses.dataclass(frozen=True)
class _Motion:
    """What a reader returns."""

    qpos: np.ndarray
    """(T, 36) generalised positions."""
    fps: float
    notes: tuple[str, ...]
    """What was found or changed."""
    source: dict[str, str] = dataclasses.field(default_factory=dict)


def _read_bvh(path: Path, facts: MotionFacts, preset: Preset) -> _Motion:
    control_hz = preset.control.control_hz
    person = read_bvh(path, control_hz, facts.skeleton)
    _check_duration(path, person.points.num_frames, control_hz, preset)
    result = retarget(person.points, person.rest, control_hz)
    figures = {name: f"{value:.6g}" for name, value in result.figures.items()}
    return _Motion(result.qpos, control_hz, person.notes, {"skeleton": person.skeleton, **figures})


def _read_csv(path: Path, facts: MotionFacts, preset: Preset) -> _Motion:
    return _Motion(*read_csv(path, facts.fps, facts.quat))


def _read_npz(path: Path, facts: MotionFacts, preset: Preset) -> _Motion:
    return _Motion(*read_npz(path))


_READERS: dict[str, Callable[[Path, MotionFacts, Preset], _Motion]] = {
    ".bvh": _read_bvh,
    ".csv": _read_csv,
    ".npz": _read_npz,
}


def _check_duration(path: Path, frames: int, fps: float, preset: Preset) -> None:
    """Refuse motions that are too short to differentiate, or longer than the preset takes."""
    seconds = (frames - 1) / fps
    shortest, longest = MIN_CONTROL_STEPS / preset.control.control_hz, preset.quality.max_seconds
    if not shortest <= seconds <= longest:
        found = f"{seconds:.3g} s ({frames} frames at {fps:g} Hz)"
        raise MotionError(path, "duration", found, f"{shortest:g} to {longest:g} s")


def _hash(path: Path) -> str:
    try:
        return hash_file(path)
    except OSError as error:
        raise MotionError(path, "file", error.strerror, "a readable file") from error


def _check_file(path: Path) -> None:
    """Refuse what is no readable file of a known kind and a sane size."""
    suffix = path.suffix.lower()
    if suffix in REFUSED:
        raise MotionError(path, "format", REFUSED[suffix], EXPECTED)
    if suffix not in SUFFIXES:
        raise MotionError(path, "suffix", repr(path.suffix), f"a motion file: {EXPECTED}")
    if not path.exists():
        raise MotionError(path, "file", "nothing", "a motion file")
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no regular file"
        raise MotionError(path, "file", found, "a motion file")
    size = path.stat().st_size
    if size == 0:
        raise MotionError(path, "file", "no content", "a motion")
    check_size(path, size)
