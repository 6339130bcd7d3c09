"""Left and right: what a reflection in the robot's sagittal plane does to bodies, joints and vectors."""

from collections.abc import Sequence

from beyondmimic_data.errors import ConfigError

POLAR = (1.0, -1.0, 1.0)
"""Signs of a reflected position, velocity or force (x forward, y left, z up)."""
AXIAL = (-1.0, 1.0, -1.0)
"""Signs of a reflected rotation vector or angular velocity."""
ROT6D = (1.0, -1.0, -1.0, 1.0, 1.0, -1.0)
"""Signs of the first two columns of a reflected rotation matrix, row by row."""


def counterparts(names: Sequence[str]) -> list[int]:
    """Return for each body or joint the index of its left-right counterpart.

    Raises:
        ConfigError: a left name has no right one, or the reverse.
    """
    swap = {"left": "right", "right": "left"}
    index = []
    for name in names:
        side, _, rest = name.partition("_")
        other = f"{swap[side]}_{rest}" if side in swap else name
        if other not in names:
            raise ConfigError("names", name, f"its mirror image {other!r} among the names")
        index.append(list(names).index(other))
    return index


def joint_signs(joint_names: Sequence[str]) -> list[float]:
    """Return -1 for joints whose axis lies in the mirror plane (roll, yaw), 1 for those across it."""
    return [-1.0 if "roll" in name or "yaw" in name else 1.0 for name in joint_names]
