"""Parameters of costs and shapes as plain values, as TOML and JSON give them.

A dataclass says by the types of its fields what it reads: ``float``, ``bool``, or a type annotated with a
`Reader`, such as the ones below.
"""

import ast
import dataclasses
import inspect
import itertools
import math
import textwrap
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import numpy as np
import torch

from beyondmimic_data.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Reader:
    """Turns a plain value into a field's."""

    expected: str
    """What it takes, in words."""
    read: Callable[[Any, str], Any]
    """Maps a value and the name of its field to what the field holds; raises ``ConfigError``."""


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A parameter as a listing shows it."""

    name: str
    expected: str
    """The values it takes, in words."""
    required: bool
    default: Any
    """``None`` where it is required."""
    doc: str
    """Meaning and unit; empty where the source is not at hand."""


def _real(value: Any, field: str, expected: str) -> torch.Tensor:
    """Return finite numbers, in whatever nesting, as a tensor in double precision."""
    try:
        tensor = value if isinstance(value, torch.Tensor) else torch.from_numpy(np.array(value))
    except (TypeError, ValueError) as error:
        raise ConfigError(field, value, expected) from error
    if tensor.dtype == torch.bool or tensor.is_complex() or not tensor.isfinite().all():
        raise ConfigError(field, value, expected)
    return tensor.double()


def _flag() -> Reader:
    """Read true or false."""
    expected = "true or false"

    def read(value: Any, field: str) -> bool:
        if not isinstance(value, bool):
            raise ConfigError(field, value, expected)
        return value

    return Reader(expected, read)


def _number(above: float = -math.inf) -> Reader:
    """Read one number above a bound."""
    expected = "a number" if above == -math.inf else f"a number above {above:g}"

    def read(value: Any, field: str) -> float:
        number = _real(value, field, expected)
        if number.dim() or float(number) <= above:
            raise ConfigError(field, value, expected)
        return float(number)

    return Reader(expected, read)


def _number_per_robot() -> Reader:
    """Read one number for all robots, or one a robot."""
    expected = "a number, or a list of one a robot"

    def read(value: Any, field: str) -> torch.Tensor | float:
        numbers = _real(value, field, expected)
        if numbers.dim() > 1 or not numbers.numel():
            raise ConfigError(field, value, expected)
        return numbers if numbers.dim() else float(numbers)

    return Reader(expected, read)


def _vector_per_robot(width: int) -> Reader:
    """Read one vector for all robots, or one a robot."""
    expected = f"a list of {width} numbers, or a list of such lists, one a robot"

    def read(value: Any, field: str) -> torch.Tensor:
        numbers = _real(value, field, expected)
        if numbers.dim() not in (1, 2) or numbers.shape[-1] != width or not numbers.numel():
            raise ConfigError(field, value, expected)
        return numbers

    return Reader(expected, read)


Positive = Annotated[float, _number(above=0.0)]
"""A number above zero."""
PerRobot = Annotated[torch.Tensor | float, _number_per_robot()]
"""A number, or (B,)."""
PlanarVector = Annotated[torch.Tensor, _vector_per_robot(2)]
"""(2,) or (B, 2)."""
Point = Annotated[tuple[float, float, float] | torch.Tensor, _vector_per_robot(3)]
"""(3,) or (B, 3)."""

PLAIN_READERS = {float: _number(), bool: _flag()}
"""Readers of types that carry none of their own."""


def per_robot(value: torch.Tensor | float, like: torch.Tensor) -> torch.Tensor:
    """Return a number or (B,) as (1, 1) or (B, 1), beside steps (B, F) of a tensor's type and device."""
    return torch.as_tensor(value, dtype=like.dtype, device=like.device).reshape(-1, 1)


def build[T](cls: type[T], values: Mapping[str, Any], field: str) -> T:
    """Make a dataclass of plain values.

    Args:
        cls: class whose fields are typed as this module says.
        values: a value for each field, but those with a default.
        field: name of the whole, for errors.

    Raises:
        ConfigError: an unknown field, a missing one, or a value that its field does not take.
    """
    known = readers(cls)
    for name in values:
        if name not in known:
            raise ConfigError(field, name, "one of " + ", ".join(known))
    for name, reader in known.items():
        if name not in values and _defaults(cls)[name] is dataclasses.MISSING:
            raise ConfigError(f"{field}.{name}", "nothing", reader.expected)
    return cls(**{name: known[name].read(value, f"{field}.{name}") for name, value in values.items()})


def readers(cls: type) -> dict[str, Reader]:
    """Return the reader of every field of a dataclass, in order.

    Raises:
        TypeError: no dataclass, or a field without a reader.
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    return {f.name: _reader(hints[f.name], f"{cls.__qualname__}.{f.name}") for f in dataclasses.fields(cls)}


def describe(cls: type) -> tuple[Parameter, ...]:
    """Return the parameters of a dataclass, in order."""
    defaults, docs = _defaults(cls), _field_docs(cls)
    parameters = []
    for name, reader in readers(cls).items():
        required = defaults[name] is dataclasses.MISSING
        default = None if required else defaults[name]
        parameters.append(Parameter(name, reader.expected, required, default, docs.get(name, "")))
    return tuple(parameters)


def _defaults(cls: type) -> dict[str, Any]:
    """Return the default of every field, ``MISSING`` where it has none."""
    return {
        f.name: f.default if f.default_factory is dataclasses.MISSING else f.default_factory()
        for f in dataclasses.fields(cls)
    }


def _reader(hint: Any, owner: str) -> Reader:
    """Return the reader of a type; ``None`` passes where the type has it."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        given = [h for h in typing.get_args(hint) if h is not type(None)]
        if len(given) == 1:
            return _optional(_reader(given[0], owner))
    if typing.get_origin(hint) is Annotated and isinstance(hint.__metadata__[0], Reader):
        return hint.__metadata__[0]
    if hint in PLAIN_READERS:
        return PLAIN_READERS[hint]
    raise TypeError(f"{owner}: no plain value is read as {hint}; annotate it with a Reader")


def _optional(reader: Reader) -> Reader:
    """Let ``None`` pass."""
    return Reader(reader.expected, lambda value, field: None if value is None else reader.read(value, field))


def _field_docs(cls: type) -> dict[str, str]:
    """Return the docstrings that stand under the fields of a class, each on one line."""
    try:
        source = inspect.getsource(cls)
    except (OSError, TypeError):  # Typed in at a prompt.
        return {}
    definition = typing.cast(ast.ClassDef, ast.parse(textwrap.dedent(source)).body[0])
    return {
        node.target.id: _text(after)
        for node, after in itertools.pairwise(definition.body)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


def _text(node: ast.stmt) -> str:
    """Return a lone string of a class body on one line; of anything else nothing."""
    value = node.value if isinstance(node, ast.Expr) else None
    text = value.value if isinstance(value, ast.Constant) else None
    return " ".join(text.split()) if isinstance(text, str) else ""
