"""Changes to a preset as plain values: ``{"training.minutes": 20.0}``.

Dagster's run config and the file that remembers a workspace's settings hold a preset's name and such changes.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

from beyondmimic_data.config import Preset
from beyondmimic_data.errors import ConfigError


def differences(base: Preset, changed: Preset) -> dict[str, Any]:
    """Return what differs between two presets, by dotted field name; the names of presets do not count."""
    first, second = _leaves(base), _leaves(changed)
    return {name: second[name] for name in second if name != "name" and first[name] != second[name]}


def with_overrides(preset: Preset, overrides: Mapping[str, Any]) -> Preset:
    """Return a preset with some fields changed.

    Args:
        preset: what to start from.
        overrides: values by dotted field name; lists stand for tuples, as they do in JSON.

    Raises:
        ConfigError: a field that does not exist, or a value of another type.
    """
    if not isinstance(overrides, Mapping):
        raise ConfigError("overrides", overrides, "values by dotted field name")
    for name, value in overrides.items():
        if not isinstance(name, str):
            raise ConfigError("overrides", name, "the dotted name of a field")
        preset = _set(preset, name.split("."), value, name)
    return preset


def _leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for field in dataclasses.fields(value):
        inner = getattr(value, field.name)
        name = f"{prefix}{field.name}"
        leaves |= _leaves(inner, f"{name}.") if dataclasses.is_dataclass(inner) else {name: inner}
    return leaves


def _set(owner: Any, path: list[str], value: Any, name: str) -> Any:
    fields = {field.name for field in dataclasses.fields(owner)} - {"name"}
    if path[0] not in fields:
        raise ConfigError(name, path[0], "one of " + ", ".join(sorted(fields)))
    inner = getattr(owner, path[0])
    if len(path) > 1:
        if not dataclasses.is_dataclass(inner):
            raise ConfigError(name, ".".join(path[1:]), f"nothing after '{path[0]}'")
        return dataclasses.replace(owner, **{path[0]: _set(inner, path[1:], value, name)})
    if dataclasses.is_dataclass(inner):
        raise ConfigError(name, value, "the name of one field inside it, such as " + f"{name}.…")
    expected = typing.get_type_hints(type(owner))[path[0]]
    return dataclasses.replace(owner, **{path[0]: _convert(value, expected, name)})


def _convert(value: Any, expected: Any, name: str) -> Any:
    """Return a JSON value as a field's type."""
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    wrong = ConfigError(name, value, _spell(expected))
    if origin is types.UnionType or origin is typing.Union:
        if value is None and type(None) in arguments:
            return None
        return _convert(value, next(a for a in arguments if a is not type(None)), name)
    if origin is typing.Literal:
        if value not in arguments:
            raise wrong
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise wrong
        if arguments[-1] is ...:
            return tuple(_convert(v, arguments[0], name) for v in value)
        if len(value) != len(arguments):
            raise wrong
        return tuple(_convert(v, a, name) for v, a in zip(value, arguments, strict=True))
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        value = _as_float(value)
        if value is None:
            raise wrong
    if isinstance(value, float) and not math.isfinite(value):
        raise wrong
    if not isinstance(value, expected) or (expected is not bool and isinstance(value, bool)):
        raise wrong
    return value


def from_json[T](kind: type[T], value: Any, where: str) -> T:
    """Return a frozen dataclass of plain fields from its JSON form; fields with a default may be missing.

    Args:
        kind: the dataclass.
        value: what the document holds.
        where: its name in errors.

    Raises:
        ConfigError: it is no object, or a field is missing, unknown or of another type.
    """
    if not isinstance(value, Mapping):
        raise ConfigError(where, type(value).__name__, "an object")
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name in value:
        if name not in fields:
            raise ConfigError(f"{where}.{name}", "an unknown field", "one of " + ", ".join(fields))
    nothing = dataclasses.MISSING
    for name, field in fields.items():
        if name not in value and field.default is nothing and field.default_factory is nothing:
            raise ConfigError(f"{where}.{name}", None, "a value")
    types_of = typing.get_type_hints(kind)
    return kind(**{name: _convert(v, types_of[name], f"{where}.{name}") for name, v in value.items()})


def _as_float(value: int) -> float | None:
    """Return a whole number as a float, ``None`` for one of more digits than floats have."""
    try:
        return float(value)
    except OverflowError:
        return None


def _spell(expected: Any) -> str:
    return expected.__name__ if isinstance(expected, type) else str(expected).replace("typing.", "")
