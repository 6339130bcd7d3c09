"""Scripts of commands in TOML, for a run without a person.

::

    [[commands]]                # one after the other
    seconds = 3.0
    forward = 0.6               # m/s; forward, left and turn are 0 where they are not given
    left = 0.0                  # m/s
    turn = 0.0                  # rad/s, to the left

    [[commands]]
    seconds = 10.0
    waypoint = [3.0, 1.0]       # m; instead of forward, left and turn

    [[pillars]]
    x = 1.5                     # m
    y = 0.4
    radius = 0.2                # m; 0.2 by default

    [[pushes]]
    at = 4.0                    # s since the start
    velocity = [0.0, 0.5]       # m/s added to the base, world

The robot starts at the origin and looks along x.
"""

import dataclasses
import math
from pathlib import Path
from typing import Any

from beyondmimic_data.errors import ScriptError
from beyondmimic_data.files import read_toml
from beyondmimic_data.play.command import Command, Pillar

VELOCITIES = ("forward", "left", "turn")
EXPECTED_PAIR = "two numbers, such as [1.0, 0.5]"


@dataclasses.dataclass(frozen=True)
class Stage:
    """One command and how long it lasts."""

    seconds: float
    """s."""
    command: Command
    """With the script's pillars."""


@dataclasses.dataclass(frozen=True)
class Shove:
    """One push."""

    at: float
    """s since the start."""
    velocity: tuple[float, float]
    """m/s added to the base, world."""


@dataclasses.dataclass(frozen=True)
class Script:
    """A run from start to end."""

    stages: tuple[Stage, ...]
    """One after the other, at least one."""
    pushes: tuple[Shove, ...] = ()
    """In any order."""

    @property
    def seconds(self) -> float:
        """Length of the run, s."""
        return sum(stage.seconds for stage in self.stages)


def load_script(path: Path) -> Script:
    """Read and check a script.

    Raises:
        ScriptError: it is not TOML, or a table, key or value is not one of those above.
    """
    try:
        document = read_toml(path)
    except (ValueError, OSError) as error:
        raise ScriptError(path, "TOML", error, "a readable TOML file") from error
    _known_keys(path, "top level", document, ("commands", "pillars", "pushes"))
    pillars = tuple(_pillar(path, *table) for table in _tables(path, document, "pillars"))
    stages = tuple(_stage(path, *table, pillars) for table in _tables(path, document, "commands"))
    if not stages:
        raise ScriptError(path, "commands", "none", "at least one [[commands]] table")
    script = Script(stages, tuple(_shove(path, *table) for table in _tables(path, document, "pushes")))
    for i, shove in enumerate(script.pushes):
        if shove.at >= script.seconds:
            expected = f"less than the {script.seconds:g} s of all commands"
            raise ScriptError(path, f"pushes[{i}].at", f"{shove.at:g} s", expected)
    return script


def _tables(path: Path, document: dict[str, Any], key: str) -> list[tuple[str, dict[str, Any]]]:
    """Return an array of tables, each with where it stands."""
    tables = document.get(key, [])
    if not isinstance(tables, list) or not all(isinstance(t, dict) for t in tables):
        raise ScriptError(path, key, type(tables).__name__, f"tables that start with [[{key}]]")
    return [(f"{key}[{i}]", table) for i, table in enumerate(tables)]


def _known_keys(path: Path, where: str, table: dict[str, Any], known: tuple[str, ...]) -> None:
    for key in table:
        if key not in known:
            raise ScriptError(path, f"{where}.{key}", "an unknown key", "one of " + ", ".join(known))


def _stage(path: Path, where: str, table: dict[str, Any], pillars: tuple[Pillar, ...]) -> Stage:
    _known_keys(path, where, table, ("seconds", *VELOCITIES, "waypoint"))
    seconds = _positive(path, f"{where}.seconds", table.get("seconds"), "seconds, more than 0")
    if "waypoint" in table:
        if mixed := [key for key in VELOCITIES if key in table]:
            expected = "a waypoint alone, or velocities alone"
            raise ScriptError(path, f"{where}.{mixed[0]}", "a velocity beside a waypoint", expected)
        waypoint = _pair(path, f"{where}.waypoint", table["waypoint"])
        return Stage(seconds, Command(waypoint=waypoint, pillars=pillars))
    forward, left, turn = (
        _number(path, f"{where}.{key}", table.get(key, 0.0), "a number") for key in VELOCITIES
    )
    return Stage(seconds, Command(forward, left, turn, pillars=pillars))


def _pillar(path: Path, where: str, table: dict[str, Any]) -> Pillar:
    _known_keys(path, where, table, ("x", "y", "radius"))
    x, y = (_number(path, f"{where}.{key}", table.get(key), "metres") for key in ("x", "y"))
    radius = _positive(path, f"{where}.radius", table.get("radius", Pillar.radius), "metres, more than 0")
    return Pillar(x, y, radius)


def _shove(path: Path, where: str, table: dict[str, Any]) -> Shove:
    _known_keys(path, where, table, ("at", "velocity"))
    at = _number(path, f"{where}.at", table.get("at"), "seconds, 0 or more")
    if at < 0:
        raise ScriptError(path, f"{where}.at", f"{at:g}", "seconds, 0 or more")
    return Shove(at, _pair(path, f"{where}.velocity", table.get("velocity")))


def _number(path: Path, where: str, value: object, expected: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ScriptError(path, where, "nothing" if value is None else repr(value), expected)
    return float(value)


def _positive(path: Path, where: str, value: object, expected: str) -> float:
    number = _number(path, where, value, expected)
    if number <= 0:
        raise ScriptError(path, where, f"{number:g}", expected)
    return number


def _pair(path: Path, where: str, value: object) -> tuple[float, float]:
    if not isinstance(value, list) or len(value) != 2:
        raise ScriptError(path, where, "nothing" if value is None else repr(value), EXPECTED_PAIR)
    x, y = (_number(path, where, v, EXPECTED_PAIR) for v in value)
    return x, y
