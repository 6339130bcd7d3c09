"""Name maps: which joints of a BVH skeleton are the keypoints that the retargeter reads."""

import dataclasses
from collections.abc import Collection

Pair = tuple[str, str]
"""Left and right."""

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
        sided = (self.hips, self.knees, self.ankles, self.toes, self.shoulders, self.elbows, self.wrists)
        names = [self.spine, self.neck, *(name for pair in sided for name in pair)]
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
