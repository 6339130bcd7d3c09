"""Damage for the tests of the store: files, bad names, and JSON in which one value is another."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from beyondmimic_data.errors import StoreError

BAD_NAMES: list[Any] = [
    "",
    ".",
    "..",
    "../up",
    "/etc/passwd",
    "a/b",
    "..\\up",
    "a\x00b",
    "two\nlines",
    "half \ud800 letter",
    "x" * 300,
    "ö" * 150,
    7,
    None,
    True,
    ["walk"],
    {},
]
"""Names that lead out of their folder, or that no file system takes."""

WRONG_VALUES: list[Any] = [None, True, -1, 1e300, "..", [], {"a": 1}]


def mutants(value: Any) -> Iterator[tuple[tuple, Any]]:
    """Yield every change of one value of a JSON document: where, and the document with it.

    Of lists the first element is changed, of dictionaries with many names the first two.
    """
    for path in _paths(value, ()):
        for wrong in WRONG_VALUES:
            mutant = changed(value, path, wrong)
            if mutant != value or type(wrong) is bool:
                yield (*path, wrong), mutant


def _paths(value: Any, path: tuple) -> Iterator[tuple]:
    yield path
    if isinstance(value, dict):
        for name in value if len(value) < 15 else list(value)[:2]:
            yield from _paths(value[name], (*path, name))
    elif isinstance(value, list) and value:
        yield from _paths(value[0], (*path, 0))


def changed(value: Any, path: tuple, wrong: Any) -> Any:
    """Return a document with another value in one place."""
    if not path:
        return wrong
    value = copy.deepcopy(value)
    place = value
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = wrong
    return value


def flip_a_bit(path: Path) -> None:
    """Change one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def cut(path: Path) -> None:
    """Take four bytes off its end."""
    path.write_bytes(path.read_bytes()[:-4])


def drop(path: Path) -> None:
    """Remove it."""
    path.unlink()


def error_of(use: Callable[[], Any]) -> str | None:
    """Return the one line that a use ends with, or ``None`` if it succeeds; any other error is raised."""
    try:
        use()
    except StoreError as error:
        line = str(error)
    else:
        return None
    assert "\n" not in line
    assert len(line) < 1500
    return line
