"""Name maps: which joints of a BVH skeleton are the keypoints that the retargeter reads.

Those of common skeletons ship. Another is a file ``skeletons/NAME.toml`` beside a ``motions.toml``::

    spine = "Chest"                               # first joint above the hips
    neck = "Neck"
    hips = ["LeftHip", "RightHip"]                # left, right; likewise knees to wrists
    knees = ["LeftKnee", "RightKnee"]
    ankles = ["LeftAnkle", "RightAnkle"]
    toes = ["LeftAnkle/end", "RightAnkle/end"]    # the end site of a joint
    shoulders = ["LeftShoulder", "RightShoulder"]
    elbows = ["LeftElbow", "RightElbow"]
    wrists = ["LeftWrist", "RightWrist"]
"""

import dataclasses
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from beyondmimic_data.errors import MotionError, StoreError
from beyondmimic_data.files import path_below, read_toml, write_bytes
from beyondmimic_data.motions.formats import MAX_TOML_BYTES

Pair = tuple[str, str]
"""Left and right."""

FOLDER = "skeletons"
"""Folder beside a ``motions.toml`` that holds further maps."""
CENTRAL, SIDED = ("spine", "neck"), ("hips", "knees", "ankles", "toes", "shoulders", "elbows", "wrists")
"""Fields of a map."""

END = "/end"
"""``name/end`` is the end site of joint ``name``."""


@dataclasses.dataclass(frozen=True)
class Skeleton:
    """Joints of one naming convention; sided fields are (left, right)."""

    name: str
    """What ``skeleton`` in a ``motions.toml`` calls it."""
    spine: str
    """First joint above the hips that turns with the pelvis' upper edge."""
    neck: str
    hips: Pair
    knees: Pair
    ankles: Pair
    toes: Pair
    shoulders: Pair
    elbows: Pair
    wrists: Pair

    @property
    def joints(self) -> tuple[str, ...]:
        """Every joint that must be in the file, end sites by the joint that bears them."""
        names = [self.spine, self.neck, *(name for field in SIDED for name in getattr(self, field))]
        return tuple(dict.fromkeys(name.removesuffix(END) for name in names))

    def missing(self, names: Collection[str]) -> list[str]:
        """Return the joints that ``names`` lacks."""
        return [name for name in self.joints if name not in names]


def _sided(pattern: str, left: str, right: str) -> Pair:
    return pattern.format(left), pattern.format(right)


def _prefixed(name: str, prefix: str, spine: str, neck: str, toe: str) -> Skeleton:
    """Build a map of the ``LeftUpLeg`` family, which differs in prefix, spine and toe names only."""

    def pair(part: str) -> Pair:
        return _sided(prefix + "{}" + part, "Left", "Right")

    return Skeleton(
        name=name,
        spine=prefix + spine,
        neck=prefix + neck,
        hips=pair("UpLeg"),
        knees=pair("Leg"),
        ankles=pair("Foot"),
        toes=pair(toe),
        shoulders=pair("Arm"),
        elbows=pair("ForeArm"),
        wrists=pair("Hand"),
    )


DAZ = Skeleton(
    name="daz",
    spine="abdomen",
    neck="neck",
    hips=("lThigh", "rThigh"),
    knees=("lShin", "rShin"),
    ankles=("lFoot", "rFoot"),
    toes=("lFoot" + END, "rFoot" + END),
    shoulders=("lShldr", "rShldr"),
    elbows=("lForeArm", "rForeArm"),
    wrists=("lHand", "rHand"),
)
"""The Daz-friendly BVH release of the CMU database."""

LAFAN1 = _prefixed("lafan1", "", "Spine", "Neck", "Toe")
"""Ubisoft's LAFAN1."""

CMU = _prefixed("cmu", "", "LowerBack", "Neck", "ToeBase")
"""The MotionBuilder-friendly BVH release of the CMU database."""

MIXAMO = _prefixed("mixamo", "mixamorig:", "Spine", "Neck", "ToeBase")
"""Mixamo characters."""

MIXAMO_PLAIN = _prefixed("mixamo_plain", "", "Spine", "Neck", "ToeBase")
"""Mixamo characters exported without their prefix."""

# The first whose joints are all there is taken: CMU before the plain Mixamo names, which it also carries.
SKELETONS: dict[str, Skeleton] = {s.name: s for s in (DAZ, LAFAN1, CMU, MIXAMO, MIXAMO_PLAIN)}


def detect(names: Collection[str]) -> Skeleton | None:
    """Return the first skeleton whose joints are all among ``names``, or ``None``."""
    return next((s for s in SKELETONS.values() if not s.missing(names)), None)


def closest(names: Collection[str]) -> Skeleton:
    """Return the skeleton that lacks the fewest joints, for an error message."""
    return min(SKELETONS.values(), key=lambda s: len(s.missing(names)))


def stated_skeleton(config: Path, field: str, value: object) -> Skeleton | None:
    """Return the map that a ``motions.toml`` names.

    Args:
        config: the ``motions.toml``.
        field: where the name stands in it.
        value: what stands there: a name, or the path of a TOML file; ``None`` if nothing does.

    Raises:
        MotionError: there is no such map, or it is not complete.
    """
    if value is None:
        return None
    own = [path.stem for path in sorted((config.parent / FOLDER).glob("*.toml"))]
    expected = f"one of {', '.join([*SKELETONS, *own])}, or another as {FOLDER}/NAME.toml beside this file"
    if not isinstance(value, str) or not value:
        raise MotionError(config, field, repr(value), expected)
    if value in SKELETONS:
        if value in own:
            raise MotionError(
                config, field, f"{value!r}, which ships, and a file", "another name for the file"
            )
        return SKELETONS[value]
    parts = value.split("/") if value.endswith(".toml") else [FOLDER, f"{value}.toml"]
    try:
        path = path_below(config.parent, *parts)
    except StoreError as error:
        raise MotionError(config, field, error, expected) from error
    if not path.is_file():
        raise MotionError(config, field, repr(value), expected)
    if path.is_symlink() and config.resolve().parent not in path.resolve().parents:
        raise MotionError(path, "link", f"one that leads to {path.resolve()}", "the file itself")
    return load_skeleton(path)


def load_skeleton(path: Path) -> Skeleton:
    """Read a map from a TOML file; its name is the file's.

    Raises:
        MotionError: it is not TOML, or a field is missing, unknown or no joint's name.
    """
    try:
        document = read_toml(path, MAX_TOML_BYTES)
    except (ValueError, OSError) as error:
        raise MotionError(path, "TOML", error, "a readable TOML file") from error
    for key in document:
        if key not in (*CENTRAL, *SIDED):
            raise MotionError(path, key, "an unknown key", "one of " + ", ".join((*CENTRAL, *SIDED)))
    fields: dict[str, Any] = {field: _joint(path, field, document.get(field)) for field in CENTRAL}
    fields |= {field: _pair(path, field, document.get(field)) for field in SIDED}
    return Skeleton(path.stem, **fields)


def save_skeleton(skeleton: Skeleton, config: Path) -> None:
    """Put a map into a file beside a ``motions.toml``, so that this may name it; one that ships needs none.

    Raises:
        MotionError: another map has that name there.
    """
    if skeleton == SKELETONS.get(skeleton.name):
        return
    path = config.parent / FOLDER / f"{skeleton.name}.toml"
    if path.exists():
        if load_skeleton(path) != skeleton:
            raise MotionError(
                path, "skeleton", "other joints than those to be added", "the same, or no such file"
            )
        return
    values: dict[str, Any] = {field: getattr(skeleton, field) for field in (*CENTRAL, *SIDED)}
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items()]
    write_bytes(path, "".join(lines).encode())


def _joint(path: Path, field: str, value: object) -> str:
    if not isinstance(value, str) or not value.removesuffix(END):
        raise MotionError(path, field, _found(value), f'a joint, or "JOINT{END}" for its end site')
    return value


def _pair(path: Path, field: str, value: object) -> Pair:
    if not isinstance(value, list) or len(value) != 2 or value[0] == value[1]:
        raise MotionError(path, field, _found(value), "two joints, left and right")
    return _joint(path, field, value[0]), _joint(path, field, value[1])


def _found(value: object) -> str:
    return "nothing" if value is None else repr(value)
