"""The project's own exceptions: each names what is wrong, where, and what to do."""

MAX_QUOTED = 300
"""Characters of what was found that a message shows: what is found may be a damaged file's content."""
MAX_PATH = 4096
"""Characters of a file's path, which is named whole: Linux takes no longer one."""


def one_line(value: object, limit: int = MAX_QUOTED) -> str:
    """Return a value as text with a space for line breaks and control characters, cut behind ``limit``."""
    text = str(value)
    cut = "".join(c if c.isprintable() else " " for c in text[:limit])
    return cut if len(text) <= limit else cut + " …"


def shown(value: object, length: int = 60) -> str:
    """Return a value as an error names it: quoted, on one line, and cut behind ``length``."""
    return one_line(repr(value), length)


class BeyondMimicError(Exception):
    """Base of every error a user can cause and mend; the command line prints it without a traceback."""


class ConfigError(BeyondMimicError):
    """A configuration value that cannot be used."""

    def __init__(self, field: str, found: object, expected: str) -> None:
        super().__init__(
            f"configuration field '{one_line(field)}': found {one_line(repr(found))}, expected {expected}"
        )
        self.field = field
        self._given = (field, found, expected)

    def __reduce__(self) -> tuple[type, tuple]:
        return type(self), self._given


class RefusedFile(BeyondMimicError):
    """A file that is refused: names the file, the field, what was found and what was expected."""

    def __init__(self, file: object, field: str, found: object, expected: str) -> None:
        name = one_line(file, MAX_PATH)
        super().__init__(f"{name}: {one_line(field)}: found {one_line(found)}, expected {expected}")
        self.file = str(file)
        self.field = field
        self._given = (self.file, field, str(found), expected)

    def __reduce__(self) -> tuple[type, tuple]:
        return type(self), self._given


class MotionError(RefusedFile):
    """A motion file that is refused."""


class ScriptError(RefusedFile):
    """A script of commands that is refused."""


class StoreError(BeyondMimicError):
    """Stored data that is missing, incomplete, in use by another process, or damaged."""


class GateError(BeyondMimicError):
    """Nothing passed its gate, so that what depends on it cannot be built."""


class MissingToolError(BeyondMimicError):
    """An optional package, device or system library that a step needs and the machine lacks."""
