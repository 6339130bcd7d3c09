"""``motions.toml``: what motion files cannot say themselves, clips made from them, and which make one skill.

::

    [[files]]
    match = "g1/*.csv"        # relative to the folder of this motions.toml; the last match wins
    fps = 60                  # frames a second
    quat = "xyzw"             # order of the root quaternion: "wxyz" or "xyzw"
    skeleton = "daz"          # joint names of a BVH file: a map that ships or skeletons/NAME.toml
    material = true           # no clip itself: only [[clips]] are made of it

    [[clips]]                 # a further clip
    name = "stroll"           # a * stands for the file's own clip name, and makes one clip of each match
    from = "human/07_01.bvh"  # file or pattern
    start = 0.8               # seconds of the clip that the file is; all of it otherwise
    end = 2.9
    loop = 4                  # times
    mirror = true             # left for right
    blend = 0.3               # seconds over which pieces are joined
    then = [{ from = "human/stop.bvh", end = 1.5 }]   # what follows: more pieces, same keys

    [[skills]]
    name = "walk"
    clips = ["human/walk_*.bvh", "stroll"]            # files by path, made clips by name

The nearest ``motions.toml`` in a file's folder or above counts; others are not read for it.
"""

import dataclasses
import fnmatch
from pathlib import Path
from typing import Any

from beyondmimic_data.errors import MotionError
from beyondmimic_data.files import read_toml
from beyondmimic_data.motions.formats import KEY_EXPECTED, MAX_TOML_BYTES, is_key
from beyondmimic_data.motions.skeletons import Skeleton, stated_skeleton

FILE_NAME = "motions.toml"
QUATERNION_ORDERS = ("wxyz", "xyzw")
FPS_RANGE = (1.0, 1000.0)
BLEND_RANGE = (0.1, 2.0)
"""s."""
MAX_SECONDS = 86_400.0
"""s; a time in a motion file, which no motion of a day has. What is longer than a clip is refused with it."""
MAX_LOOP = 1_000_000
PIECE_KEYS = ("from", "start", "end", "loop", "mirror")
DEFAULT_BLEND = 0.3
"""s."""


@dataclasses.dataclass(frozen=True)
class MotionFacts:
    """What is known of a file beside its bytes; ``None`` where nothing is."""

    fps: float | None = None
    """Frames a second."""
    quat: str | None = None
    """Order of the root quaternion, ``wxyz`` or ``xyzw``."""
    skeleton: Skeleton | None = None
    """Joint names of a BVH file."""

    def over(self, other: "MotionFacts") -> "MotionFacts":
        """Return these facts, filled up with ``other``'s where one is ``None``."""
        own = {k: v for k, v in vars(self).items() if v is not None}
        return dataclasses.replace(other, **own)

    def stated(self) -> dict[str, Any]:
        """Return what is known as a ``[[files]]`` table states it; a skeleton by its name."""
        known = {k: v for k, v in vars(self).items() if v is not None}
        return known if self.skeleton is None else {**known, "skeleton": self.skeleton.name}


@dataclasses.dataclass(frozen=True)
class FileRule:
    """One ``[[files]]`` table."""

    match: str
    facts: MotionFacts
    material: bool = False
    """Whether its files are no clips themselves, only what ``[[clips]]`` are made of."""


@dataclasses.dataclass(frozen=True)
class Edit:
    """What is done to one file on its way into a clip: cut, then repeated; mirrored as a whole."""

    start: float | None = None
    """s; ``None`` is the file's start."""
    end: float | None = None
    """s; ``None`` is the file's end."""
    loop: int = 1
    """Times that it is played."""
    mirror: bool = False
    """Whether left and right change places."""


@dataclasses.dataclass(frozen=True)
class PieceRule:
    """One piece of a ``[[clips]]`` table."""

    match: str
    """Pattern of its file, relative to the folder of the ``motions.toml``."""
    edit: Edit


@dataclasses.dataclass(frozen=True)
class ClipRule:
    """One ``[[clips]]`` table."""

    name: str
    """May hold one ``*``: the own clip name of the first piece's file."""
    pieces: tuple[PieceRule, ...]
    """Played one after the other."""
    blend: float = DEFAULT_BLEND
    """s over which pieces and repetitions are joined."""


@dataclasses.dataclass(frozen=True)
class SkillRule:
    """One ``[[skills]]`` table."""

    name: str
    clips: tuple[str, ...]
    """Patterns relative to the folder of the ``motions.toml``: paths of files, names of made clips."""


@dataclasses.dataclass(frozen=True)
class MotionConfig:
    """A parsed ``motions.toml``."""

    path: Path
    files: tuple[FileRule, ...]
    clips: tuple[ClipRule, ...]
    skills: tuple[SkillRule, ...]

    def rule_of(self, file: Path) -> FileRule:
        """Return the rule of a file under this folder: the last that matches, whole; an empty one if none."""
        matching = [rule for rule in self.files if self.fits(file, rule.match)]
        return matching[-1] if matching else FileRule("", MotionFacts())

    def fits(self, place: Path, pattern: str) -> bool:
        """Say whether a pattern, relative to this config's folder, fits a place under it."""
        folder, place = self.path.absolute().parent, place.absolute()
        if folder not in place.parents:
            return False
        return fnmatch.fnmatchcase(place.relative_to(folder).as_posix(), pattern)

    def skill_takes(self, rule: "SkillRule", place: Path) -> bool:
        """Say whether one of a ``[[skills]]`` table's patterns fits a clip's place."""
        return any(self.fits(place, pattern) for pattern in rule.clips)


def load_config(path: Path) -> MotionConfig:
    """Read and check a ``motions.toml``.

    Raises:
        MotionError: it is not TOML, or a table, key or value is not one of those above.
    """
    try:
        document = read_toml(path, MAX_TOML_BYTES)
    except (ValueError, OSError) as error:
        raise MotionError(path, "TOML", error, "a readable TOML file") from error
    _known_keys(path, "top level", document, ("files", "clips", "skills"))
    return MotionConfig(
        path=path,
        files=tuple(
            _file_rule(path, f"files[{i}]", t) for i, t in enumerate(_tables(path, document, "files"))
        ),
        clips=tuple(
            _clip_rule(path, f"clips[{i}]", t) for i, t in enumerate(_tables(path, document, "clips"))
        ),
        skills=tuple(
            _skill_rule(path, f"skills[{i}]", t) for i, t in enumerate(_tables(path, document, "skills"))
        ),
    )


def nearest_config(file: Path) -> MotionConfig | None:
    """Return the ``motions.toml`` of a file's folder, or of the nearest folder above, or ``None``.

    Raises:
        MotionError: that ``motions.toml`` is broken.
    """
    path = find_config(file.absolute().parent)
    return None if path is None else load_config(path)


def find_config(folder: Path) -> Path | None:
    """Return the path of the ``motions.toml`` in a folder or the nearest above it, or ``None``."""
    for parent in (folder, *folder.parents):
        candidate = parent / FILE_NAME
        if candidate.is_file():
            return candidate
    return None


def rule_of(file: Path) -> FileRule:
    """Return the rule of a file in the nearest ``motions.toml``; an empty one where there is none."""
    config = nearest_config(file)
    return FileRule("", MotionFacts()) if config is None else config.rule_of(file)


def facts_of(file: Path) -> MotionFacts:
    """Return what the nearest ``motions.toml`` says of a file; nothing where there is none."""
    return rule_of(file).facts


def _tables(path: Path, document: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """Return an array of tables."""
    tables = document.get(key, [])
    if not isinstance(tables, list) or not all(isinstance(t, dict) for t in tables):
        raise MotionError(path, key, type(tables).__name__, f"tables that start with [[{key}]]")
    return tables


def _known_keys(path: Path, where: str, table: dict[str, Any], known: tuple[str, ...]) -> None:
    for key in table:
        if key not in known:
            raise MotionError(path, f"{where}.{key}", "an unknown key", "one of " + ", ".join(known))


def _file_rule(path: Path, where: str, table: dict[str, Any]) -> FileRule:
    _known_keys(path, where, table, ("match", "fps", "quat", "skeleton", "material"))
    match = _text(path, f"{where}.match", table.get("match"), 'a pattern such as "g1/*.csv"')
    fps = table.get("fps")
    if fps is not None:
        if isinstance(fps, bool) or not isinstance(fps, (int, float)):
            raise MotionError(path, f"{where}.fps", repr(fps), "a number of frames a second")
        if not FPS_RANGE[0] <= fps <= FPS_RANGE[1]:
            raise MotionError(path, f"{where}.fps", fps, f"between {FPS_RANGE[0]:g} and {FPS_RANGE[1]:g}")
    quat = table.get("quat")
    if quat is not None and quat not in QUATERNION_ORDERS:
        raise MotionError(path, f"{where}.quat", repr(quat), '"wxyz" or "xyzw"')
    skeleton = stated_skeleton(path, f"{where}.skeleton", table.get("skeleton"))
    facts = MotionFacts(None if fps is None else float(fps), quat, skeleton)
    return FileRule(match, facts, _flag(path, f"{where}.material", table.get("material", False)))


def _clip_rule(path: Path, where: str, table: dict[str, Any]) -> ClipRule:
    _known_keys(path, where, table, ("name", *PIECE_KEYS, "blend", "then"))
    name = _name(path, f"{where}.name", table.get("name"), "the clip's name", wildcard=True)
    then = table.get("then", [])
    if not isinstance(then, list) or not all(isinstance(t, dict) for t in then):
        raise MotionError(path, f"{where}.then", repr(then), 'a list such as [{ from = "a.bvh", end = 1.5 }]')
    pieces = [_piece_rule(path, where, {k: v for k, v in table.items() if k in PIECE_KEYS})]
    for i, piece in enumerate(then):
        _known_keys(path, f"{where}.then[{i}]", piece, PIECE_KEYS)
        pieces.append(_piece_rule(path, f"{where}.then[{i}]", piece))
    if len(pieces) == 1 and pieces[0].edit == Edit():
        raise MotionError(path, where, "a copy of its file", "start, end, loop, mirror or then")
    blend = _seconds(path, f"{where}.blend", table.get("blend", DEFAULT_BLEND))
    if not BLEND_RANGE[0] <= blend <= BLEND_RANGE[1]:
        expected = f"{BLEND_RANGE[0]:g} to {BLEND_RANGE[1]:g} s"
        raise MotionError(path, f"{where}.blend", f"{blend:g} s", expected)
    return ClipRule(name, tuple(pieces), blend)


def _piece_rule(path: Path, where: str, table: dict[str, Any]) -> PieceRule:
    match = _text(path, f"{where}.from", table.get("from"), 'a file such as "human/walk.bvh"')
    start, end = (
        None if table.get(key) is None else _seconds(path, f"{where}.{key}", table[key])
        for key in ("start", "end")
    )
    if end is not None and end <= (start or 0.0):
        raise MotionError(path, f"{where}.end", f"{end:g} s", f"more than its start, {start or 0.0:g} s")
    loop = table.get("loop", 1)
    if isinstance(loop, bool) or not isinstance(loop, int) or not 1 <= loop <= MAX_LOOP:
        expected = f"how many times it is played: 1 to {MAX_LOOP}"
        raise MotionError(path, f"{where}.loop", repr(loop), expected)
    return PieceRule(
        match, Edit(start, end, loop, _flag(path, f"{where}.mirror", table.get("mirror", False)))
    )


def _skill_rule(path: Path, where: str, table: dict[str, Any]) -> SkillRule:
    _known_keys(path, where, table, ("name", "clips"))
    name = _name(path, f"{where}.name", table.get("name"), "the skill's name")
    clips = table.get("clips")
    if not isinstance(clips, list) or not clips or not all(isinstance(c, str) and c for c in clips):
        raise MotionError(path, f"{where}.clips", repr(clips), "a list of patterns, at least one")
    return SkillRule(name, tuple(clips))


def _name(path: Path, where: str, value: object, expected: str, *, wildcard: bool = False) -> str:
    """Return a name of letters, digits and a few signs, with at most one ``*`` where that may be."""
    name = _text(path, where, value, expected)
    if not is_key(name.replace("*", "x", 1) if wildcard else name):
        more = "; one '*' for the file's own name" if wildcard else ""
        raise MotionError(path, where, repr(name), KEY_EXPECTED + more)
    return name


def _seconds(path: Path, where: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= MAX_SECONDS:
        raise MotionError(path, where, repr(value), f"seconds, 0 to {MAX_SECONDS:g}")
    return float(value)


def _flag(path: Path, where: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise MotionError(path, where, repr(value), "true or false")
    return value


def _text(path: Path, where: str, value: object, expected: str) -> str:
    if not isinstance(value, str) or not value:
        raise MotionError(path, where, repr(value), expected)
    return value
