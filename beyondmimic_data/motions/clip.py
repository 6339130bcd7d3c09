"""A clip: one reference motion of the robot at the control rate, with its names and its content hash."""

import dataclasses
import functools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from beyondmimic_data import rotations
from beyondmimic_data.errors import MotionError
from beyondmimic_data.files import atomic_path
from beyondmimic_data.hashing import hash_arrays, hash_value
from beyondmimic_data.motions import kinematics
from beyondmimic_data.motions.motion_config import FPS_RANGE
from beyondmimic_data.motions.npz_file import NpzFile, open_npz

ARRAYS = ("joint_pos", "joint_vel", "body_pos_w", "body_quat_w", "body_lin_vel_w", "body_ang_vel_w")

EXPECTED = "a clip written by this project"
MAX_DOCUMENT = 2**20
"""Bytes of a clip's header: names of 29 joints and 30 bodies, and where it came from, take 3 KB."""
NOTE_SEPARATOR = "; "
"""Between the notes of ``Clip.source``."""


@dataclasses.dataclass(frozen=True)
class Clip:
    """One reference motion; T frames, J joints, B bodies, all float32, world frame, z up, SI units."""

    name: str
    """Clip name: the file's path relative to the motion folder without suffix, ``/`` as ``__``."""
    fps: float
    """Frames a second; equal to the control rate."""
    joint_names: tuple[str, ...]
    """Names of the columns of ``joint_pos`` and ``joint_vel``."""
    body_names: tuple[str, ...]
    """Names of the second axis of the body arrays; link origins."""
    joint_pos: np.ndarray
    """(T, J) rad."""
    joint_vel: np.ndarray
    """(T, J) rad/s."""
    body_pos_w: np.ndarray
    """(T, B, 3) m."""
    body_quat_w: np.ndarray
    """(T, B, 4) wxyz."""
    body_lin_vel_w: np.ndarray
    """(T, B, 3) m/s, of link origins."""
    body_ang_vel_w: np.ndarray
    """(T, B, 3) rad/s."""
    source: dict[str, str] = dataclasses.field(default_factory=dict)
    """Where it came from: ``file``, ``sha256``, ``importer``, ``repairs``, ``edits``, what importers add."""

    @property
    def num_frames(self) -> int:
        """Number of frames T."""
        return len(self.joint_pos)

    @property
    def duration(self) -> float:
        """Seconds from the first frame to the last."""
        return (self.num_frames - 1) / self.fps

    @property
    def qpos(self) -> np.ndarray:
        """(T, 7 + J) base position, base quaternion wxyz, joint angles."""
        return np.concatenate([self.body_pos_w[:, 0], self.body_quat_w[:, 0], self.joint_pos], axis=-1)

    @functools.cached_property
    def version(self) -> str:
        """Content hash of names, rate and arrays; where the clip came from does not enter."""
        names = hash_value([self.fps, self.joint_names, self.body_names])
        return hash_value([names, hash_arrays({name: getattr(self, name) for name in ARRAYS})])

    def save(self, path: Path) -> None:
        """Write the clip as an uncompressed NPZ without pickled objects, atomically."""
        header = {
            "name": self.name,
            "fps": self.fps,
            "joint_names": list(self.joint_names),
            "body_names": list(self.body_names),
            "source": self.source,
        }
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            np.savez(
                stream,
                header=np.frombuffer(json.dumps(header).encode(), np.uint8),
                **{name: getattr(self, name) for name in ARRAYS},  # type: ignore[arg-type]
            )

    @classmethod
    def load(cls, path: Path) -> "Clip":
        """Read a clip written by ``save``.

        Raises:
            MotionError: the file is not such a clip, or damaged.
        """
        with open_npz(path) as file:
            document = _read_document(path, file)
            _check_shapes(path, file, document)
            arrays: dict[str, Any] = {name: file.read_numbers(name) for name in ARRAYS}
        return cls(**document, **arrays)


def _read_document(path: Path, file: NpzFile) -> dict[str, Any]:
    """Return what a clip's ``header`` says: name, rate, names of joints and bodies, source."""
    missing = [name for name in ("header", *ARRAYS) if name not in file.headers]
    if missing:
        raise MotionError(path, "file", f"no {', '.join(missing)}", EXPECTED)
    header = file.headers["header"]
    if header.dtype != np.uint8 or math.prod(header.shape) > MAX_DOCUMENT:
        found = f"a header of {header.dtype} of shape {header.shape}"
        raise MotionError(path, "file", found, f"{EXPECTED}, its header at most {MAX_DOCUMENT} bytes")
    try:
        document = json.loads(file.read("header").tobytes())
        fields = {name: document[name] for name in ("name", "fps", "joint_names", "body_names", "source")}
        joints, bodies = (tuple(fields[name]) for name in ("joint_names", "body_names"))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise MotionError(path, "file", repr(error), EXPECTED) from error
    texts = (fields["name"], *joints, *bodies, *_texts_of(fields["source"]))
    if not all(isinstance(text, str) for text in texts):
        raise MotionError(path, "header", "a name or a source that is no text", EXPECTED)
    fps = fields["fps"]
    low, high = FPS_RANGE
    if isinstance(fps, bool) or not isinstance(fps, (int, float)) or not low <= fps <= high:
        raise MotionError(path, "fps", repr(fps), f"frames a second, {low:g} to {high:g}")
    return {**fields, "joint_names": joints, "body_names": bodies}


def _texts_of(source: object) -> list[object]:
    """Return the keys and values of a clip's source; what is no mapping gives itself, which is no text."""
    return [*source.keys(), *source.values()] if isinstance(source, dict) else [source, None]


def _check_shapes(path: Path, file: NpzFile, document: dict[str, Any]) -> None:
    """Refuse arrays whose shapes are not those of T frames of the clip's joints and bodies."""
    joints, bodies = len(document["joint_names"]), len(document["body_names"])
    frames = (file.headers["joint_pos"].shape or (0,))[0]
    if frames < 1 or not joints or not bodies:
        found = f"{frames} frames of {joints} joints and {bodies} bodies"
        raise MotionError(path, "frames", found, "at least one of each")
    for name in ARRAYS:
        width = (joints,) if name.startswith("joint") else (bodies, 4 if name == "body_quat_w" else 3)
        found_shape = file.headers[name].shape
        if found_shape != (frames, *width):
            raise MotionError(path, name, f"shape {found_shape}", f"{(frames, *width)}")


def clip_from_qpos(
    name: str, qpos: np.ndarray, fps: float, control_hz: float, source: dict[str, str] | None = None
) -> Clip:
    """Make a clip from generalised positions: resample, run the kinematics, differentiate.

    Velocities are central differences of the resampled positions, so that position and velocity agree
    whatever a source file says.

    Args:
        name: clip name.
        qpos: (T, 36) base position, base quaternion wxyz, joints in ``g1.JOINT_NAMES`` order.
        fps: rate of ``qpos``.
        control_hz: rate of the clip.
        source: where the motion came from.
    """
    qpos = resample_qpos(np.asarray(qpos, np.float64), fps, control_hz)
    dt = 1.0 / control_hz
    body_pos, body_quat = kinematics.forward(qpos)
    return Clip(
        name=name,
        fps=float(control_hz),
        joint_names=kinematics.g1.JOINT_NAMES,
        body_names=kinematics.g1.BODY_NAMES,
        joint_pos=qpos[:, 7:].astype(np.float32),
        joint_vel=np.gradient(qpos[:, 7:], dt, axis=0).astype(np.float32),
        body_pos_w=body_pos.astype(np.float32),
        body_quat_w=body_quat.astype(np.float32),
        body_lin_vel_w=np.gradient(body_pos, dt, axis=0).astype(np.float32),
        body_ang_vel_w=rotations.angular_velocity(body_quat, dt).astype(np.float32),
        source=dict(source or {}),
    )


def resample_qpos(qpos: np.ndarray, fps: float, target_fps: float) -> np.ndarray:
    """Resample (T, 36) generalised positions: linear, and spherical for the base quaternion."""
    qpos = qpos.copy()
    qpos[:, 3:7] = rotations.normalize(qpos[:, 3:7])
    if abs(fps - target_fps) < 1e-9:
        return qpos
    duration = (len(qpos) - 1) / fps
    frames = np.arange(int(np.floor(duration * target_fps + 1e-6)) + 1) * (fps / target_fps)
    low = np.minimum(frames.astype(int), len(qpos) - 2)
    t = frames - low
    out = qpos[low] * (1 - t)[:, None] + qpos[low + 1] * t[:, None]
    out[:, 3:7] = rotations.slerp(qpos[low, 3:7], qpos[low + 1, 3:7], t)
    return out
