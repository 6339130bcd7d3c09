"""A person of few bones who bends the knees, as BVH: the valid file that mutants are made of."""

import math

Bone = tuple[str, tuple[float, float, float], tuple["Bone", ...]]
"""Name, offset from its parent in cm (y up), and children; without any it ends in a site."""


def _leg(side: str, sign: float) -> Bone:
    toe: Bone = (f"{side}Toe", (0.0, -5.0, 15.0), ())
    foot: Bone = (f"{side}Foot", (0.0, -40.0, 0.0), (toe,))
    return f"{side}UpLeg", (9.0 * sign, 0.0, 0.0), ((f"{side}Leg", (0.0, -40.0, 0.0), (foot,)),)


def _arm(side: str, sign: float) -> Bone:
    hand: Bone = (f"{side}Hand", (25.0 * sign, 0.0, 0.0), ())
    return f"{side}Arm", (15.0 * sign, 30.0, 0.0), ((f"{side}ForeArm", (25.0 * sign, 0.0, 0.0), (hand,)),)


SPINE: Bone = (
    "Spine",
    (0.0, 15.0, 0.0),
    (("Neck", (0.0, 35.0, 0.0), ()), _arm("Left", 1), _arm("Right", -1)),
)
PERSON: Bone = ("Hips", (0.0, 0.0, 0.0), (SPINE, _leg("Left", 1), _leg("Right", -1)))


def small_person(frames: int = 30, fps: float = 50.0) -> str:
    """Return the text of a BVH file with the names of LAFAN1's joints.

    Args:
        frames: number of frames.
        fps: frames a second.
    """
    names: list[str] = []
    hierarchy = _block(PERSON, names)
    bends = {"UpLeg": -1.0, "Leg": 2.0, "Foot": -1.0}
    rows = []
    for i in range(frames):
        angle = 30 * math.sin(math.pi * i / (frames - 1)) ** 2
        row = [0.0, 8 + 80 * math.cos(math.radians(angle)), 0.0]
        for name in names:
            row += [0.0, angle * bends.get(name.removeprefix("Left").removeprefix("Right"), 0.0), 0.0]
        rows.append(" ".join(f"{value:.4f}" for value in row))
    head = f"HIERARCHY\n{hierarchy}MOTION\nFrames: {frames}\nFrame Time: {1 / fps:.6f}\n"
    return head + "\n".join(rows) + "\n"


def _block(bone: Bone, names: list[str]) -> str:
    name, (x, y, z), children = bone
    root = not names
    names.append(name)
    positions = "6 Xposition Yposition Zposition " if root else "3 "
    inner = "".join(_block(child, names) for child in children) or "End Site\n{\nOFFSET 0 0 3\n}\n"
    return (
        f"{'ROOT' if root else 'JOINT'} {name}\n{{\nOFFSET {x} {y} {z}\n"
        f"CHANNELS {positions}Zrotation Xrotation Yrotation\n{inner}}}\n"
    )
