"""The project's own exceptions: each names what is wrong, where, and what to do."""


def shown(value: object, length: int = 60) -> str:
    """Return a value as an error names it: on one line, and cut where it is longer than ``length``."""
    text = repr(value)
    return text if len(text) <= length else text[:length] + "…"


class BeyondMimicError(Exception):
    """Base of every error a user can cause and mend; the command line prints it without a traceback."""


class ConfigError(BeyondMimicError):
    """A configuration value that cannot be used."""

    def __init__(self, field: str, found: object, expected: str) -> None:
        super().__init__(f"configuration field '{field}': found {found!r}, expected {expected}")
        self.field = field
        self._given = (field, found, expected)

    def __reduce__(self) -> tuple[type, tuple]:
        return type(self), self._given


class RefusedFile(BeyondMimicError):
    """A file that is refused: names the file, the field, what was found and what was expected."""

    def __init__(self, file: object, field: str, found: object, expected: str) -> None:
        super().__init__(f"{file}: {field}: found {found}, expected {expected}")
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
