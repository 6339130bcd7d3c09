"""``motions.toml``: what motion files cannot say themselves, and which clips make one skill.

::

    [[files]]
    match = "g1/*.csv"        # relative to the folder of this motions.toml; the last match wins
    fps = 60                  # frames a second
    quat = "xyzw"             # order of the root quaternion: "wxyz" or "xyzw"
    skeleton = "daz"          # joint names of a BVH file: a map that ships or skeletons/NAME.toml

    [[skills]]
    name = "walk"
    clips = ["human/walk_*.bvh"]

The nearest ``motions.toml`` in a file's folder or above counts; others are not read for it.
"""

import dataclasses
import fnmatch
import tomllib
from pathlib import Path
from typing import Any

from beyondmimic_data.errors import MotionError
from beyondmimic_data.motions.skeletons import Skeleton, stated_skeleton

FILE_NAME = "motions.toml"
QUATERNION_ORDERS = ("wxyz", "xyzw")
FPS_RANGE = (1.0, 1000.0)


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


@dataclasses.dataclass(frozen=True)
class SkillRule:
    """One ``[[skills]]`` table."""

    name: str
    clips: tuple[str, ...]
    """Patterns relative to the folder of the ``motions.toml``."""


@dataclasses.dataclass(frozen=True)
class MotionConfig:
    """A parsed ``motions.toml``."""

    path: Path
    files: tuple[FileRule, ...]
    skills: tuple[SkillRule, ...]

    def facts(self, file: Path) -> MotionFacts:
        """Return the facts of a file under this folder; the last matching rule wins, whole."""
        relative = file.absolute().relative_to(self.path.absolute().parent).as_posix()
        found = MotionFacts()
        for rule in self.files:
            if fnmatch.fnmatchcase(relative, rule.match):
                found = rule.facts
        return found


def load_config(path: Path) -> MotionConfig:
    """Read and check a ``motions.toml``.

    Raises:
        MotionError: it is not TOML, or a table, key or value is not one of those above.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise MotionError(path, "TOML", error, "a readable TOML file") from error
    _known_keys(path, "top level", document, ("files", "skills"))
    return MotionConfig(
        path=path,
        files=tuple(
            _file_rule(path, f"files[{i}]", t) for i, t in enumerate(_tables(path, document, "files"))
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


def facts_of(file: Path) -> MotionFacts:
    """Return what the nearest ``motions.toml`` says of a file; nothing where there is none."""
    config = nearest_config(file)
    return MotionFacts() if config is None else config.facts(file)


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
    _known_keys(path, where, table, ("match", "fps", "quat", "skeleton"))
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
    return FileRule(match, MotionFacts(None if fps is None else float(fps), quat, skeleton))


def _skill_rule(path: Path, where: str, table: dict[str, Any]) -> SkillRule:
    _known_keys(path, where, table, ("name", "clips"))
    name = _text(path, f"{where}.name", table.get("name"), "the skill's name")
    if not all(c.isalnum() or c in "_-." for c in name):
        raise MotionError(path, f"{where}.name", repr(name), "letters, digits, '_', '-' and '.'")
    clips = table.get("clips")
    if not isinstance(clips, list) or not clips or not all(isinstance(c, str) and c for c in clips):
        raise MotionError(path, f"{where}.clips", repr(clips), "a list of patterns, at least one")
    return SkillRule(name, tuple(clips))


def _text(path: Path, where: str, value: object, expected: str) -> str:
    if not isinstance(value, str) or not value:
        raise MotionError(path, where, repr(value), expected)
    return value
