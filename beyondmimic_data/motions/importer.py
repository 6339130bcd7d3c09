"""One door for motion files: by suffix to a reader, every defect one ``MotionError``, nothing written."""

import logging
from pathlib import Path

from beyondmimic_data.config import Preset
from beyondmimic_data.errors import MotionError
from beyondmimic_data.hashing import hash_file
from beyondmimic_data.motions.bvh_motion import read_bvh
from beyondmimic_data.motions.clip import Clip, clip_from_qpos
from beyondmimic_data.motions.motion_config import MotionFacts
from beyondmimic_data.motions.retarget import retarget

logger = logging.getLogger(__name__)

IMPORTER_VERSION = "1"
"""Raised by hand when the same file gives another clip."""
SUFFIXES = (".bvh", ".csv", ".npz", ".npy")
"""Suffixes that count as motion files; ``.npy`` only to be refused with a reason."""
MAX_BYTES = 512 * 2**20


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
    source = {"file": path.name, "sha256": hash_file(path), "importer": IMPORTER_VERSION}
    fps = preset.control.control_hz
    motion = read_bvh(path, fps, facts.skeleton)
    result = retarget(motion.points, motion.rest, fps)
    source |= {
        "skeleton": motion.skeleton,
        "repairs": "; ".join(motion.notes),
        **{key: f"{value:.6g}" for key, value in result.figures.items()},
    }
    return clip_from_qpos(name, result.qpos, fps, fps, source)


def _check_file(path: Path) -> None:
    """Refuse what is no readable file of a known kind and a sane size."""
    if path.suffix.lower() not in SUFFIXES:
        raise MotionError(path, "suffix", repr(path.suffix), "one of " + ", ".join(SUFFIXES[:-1]))
    if not path.exists():
        raise MotionError(path, "file", "nothing", "a motion file")
    if not path.is_file():
        raise MotionError(path, "file", "a folder", "a motion file")
    size = path.stat().st_size
    if size == 0:
        raise MotionError(path, "file", "no content", "a motion")
    if size > MAX_BYTES:
        raise MotionError(path, "file size", f"{size / 2**20:.0f} MiB", f"at most {MAX_BYTES // 2**20} MiB")
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise MotionError(path, "file", error.strerror, "a readable file") from error
