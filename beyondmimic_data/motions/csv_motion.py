"""Reading G1 CSV: 36 numbers a line, without a header: root position, root quaternion, 29 joints.

Joints stand in depth-first order (``g1.JOINT_NAMES``), as Unitree and most retargeters write them. The order
of the quaternion differs between sources and may be found; the rate is not in the file and cannot be.
"""

import itertools
from pathlib import Path

import numpy as np

from beyondmimic_data.errors import MotionError
from beyondmimic_data.motions.formats import MAX_FRAMES
from beyondmimic_data.motions.motion_config import FILE_NAME, QUATERNION_ORDERS
from beyondmimic_data.motions.plausible import (
    COLUMNS,
    check_motion,
    check_values,
    sample,
    sole_points,
    upright,
)

WXYZ_COLUMNS = {"wxyz": [3, 4, 5, 6], "xyzw": [6, 3, 4, 5]}
UPRIGHT = 0.85
"""Least mean world z of the pelvis' up axis of a motion that stands."""
ON_FLOOR = 0.10
"""m; how far a standing motion's lowest sole may be from the floor."""


def read_csv(path: Path, fps: float | None, quat: str | None) -> tuple[np.ndarray, float, tuple[str, ...]]:
    """Read a G1 CSV file.

    Args:
        path: the file.
        fps: frames a second; must be known.
        quat: order of the root quaternion; ``None`` finds it where exactly one order stands on the floor.

    Returns:
        Generalised positions (T, 36) with the quaternion wxyz, the rate, and notes on what was found.

    Raises:
        MotionError: the file is broken, or the rate or the quaternion's order is not known.
    """
    table = _parse(path)
    check_values(path, table)
    if fps is None:
        raise MotionError(
            path, "fps", "nothing", f"frames a second: 'fps' in a [[files]] table of {FILE_NAME}, or --fps"
        )
    notes: list[str] = []
    if quat is None:
        quat = find_order(path, table)
        notes.append(f"quaternion order {quat} found by posture")
    else:
        _check_order(path, table, quat)
    qpos = reorder(table, quat)
    check_motion(path, qpos, fps)
    return qpos, fps, tuple(notes)


def reorder(table: np.ndarray, quat: str) -> np.ndarray:
    """Return (T, 36) with the root quaternion brought from order ``quat`` to wxyz."""
    return np.concatenate([table[:, :3], table[:, WXYZ_COLUMNS[quat]], table[:, 7:]], axis=1)


def find_order(path: Path, table: np.ndarray) -> str:
    """Return the quaternion order under which the motion stands upright with its feet on the floor.

    Raises:
        MotionError: both orders stand, or none does.
    """
    standing = [quat for quat in QUATERNION_ORDERS if _stands(reorder(sample(table), quat))]
    if len(standing) != 1:
        found = "both wxyz and xyzw stand" if standing else "neither wxyz nor xyzw stands"
        raise MotionError(
            path,
            "root quaternion order",
            f"{found} upright with feet on the floor",
            f"'quat' in a [[files]] table of {FILE_NAME}, or --quat",
        )
    return standing[0]


def _check_order(path: Path, table: np.ndarray, quat: str) -> None:
    """Refuse a given order under which the motion does not stand, if it stands under the other."""
    other = next(order for order in QUATERNION_ORDERS if order != quat)
    if not _stands(reorder(sample(table), quat)) and _stands(reorder(sample(table), other)):
        raise MotionError(
            path,
            "root quaternion order",
            f"{quat} given, which tilts the robot off its feet",
            f"{other}, which stands",
        )


def _stands(qpos: np.ndarray) -> bool:
    lowest = sole_points(qpos)[..., 2].min((1, 2))
    return upright(qpos[:, 3:7]) > UPRIGHT and abs(float(np.median(lowest))) < ON_FLOOR


def _parse(path: Path) -> np.ndarray:
    """Return the table (T, 36); every line must hold 36 numbers."""
    try:
        with path.open(encoding="utf-8-sig") as stream:
            lines = [line.rstrip("\n") for line in itertools.islice(stream, MAX_FRAMES + 1)]
    except UnicodeDecodeError as error:
        raise MotionError(path, "encoding", f"byte {error.start} is not text", "a CSV text file") from error
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise MotionError(path, "frames", 0, "at least 2")
    if len(lines) > MAX_FRAMES:
        raise MotionError(path, "frames", f"more than {MAX_FRAMES} lines", f"at most {MAX_FRAMES}")
    table = np.empty((len(lines), len(COLUMNS)))
    for i, line in enumerate(lines):
        values = line.count(",") + 1
        if values != len(COLUMNS):
            expected = f"{len(COLUMNS)}: x, y, z, quaternion, 29 joints"
            raise MotionError(path, f"line {i + 1}", f"{values} values", expected)
        fields = line.split(",")
        try:
            table[i] = fields
        except ValueError:
            raise _bad_number(path, i, fields) from None
    return table


def _bad_number(path: Path, line: int, fields: list[str]) -> MotionError:
    """Return the error of the first field that is no number."""
    for name, text in zip(COLUMNS, fields):
        try:
            float(text)
        except ValueError:
            header = "; a header line is not read" if line == 0 else ""
            return MotionError(path, f"line {line + 1}, column {name}", repr(text[:40]), f"a number{header}")
    return MotionError(path, f"line {line + 1}", "text", "numbers")
