"""Costs by name, made of plain values."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from beyondmimic_data.diffusion.sampler import Cost
from beyondmimic_data.errors import ConfigError
from beyondmimic_data.guidance import parameters
from beyondmimic_data.guidance.parameters import Parameter

C = TypeVar("C", bound=Cost)

COSTS: dict[str, type[Any]] = {}
"""Every registered cost: its name and its class."""


@dataclasses.dataclass(frozen=True)
class CostDescription:
    """A cost as a listing shows it."""

    name: str
    summary: str
    """First line of its docstring."""
    parameters: tuple[Parameter, ...]


def register_cost(name: str) -> Callable[[type[C]], type[C]]:
    """Register a cost, a dataclass, under a name.

    Raises:
        ValueError: the name is taken.
        TypeError: no dataclass, or a field that no plain value can be read as.
    """

    def add(cost: type[C]) -> type[C]:
        if name in COSTS:
            raise ValueError(f"cost {name!r} is registered already, by {COSTS[name].__qualname__}")
        parameters.readers(cost)
        COSTS[name] = cost
        return cost

    return add


def cost_names() -> list[str]:
    """Return the names of all costs, sorted."""
    return sorted(COSTS)


def describe_costs() -> list[CostDescription]:
    """Return what there is to know of every cost before one is made, sorted by name."""
    return [
        CostDescription(
            name, (COSTS[name].__doc__ or "").strip().split("\n")[0], parameters.describe(COSTS[name])
        )
        for name in cost_names()
    ]


def make_cost(name: str, /, **values: Any) -> Cost:
    """Make a cost of plain values: ``make_cost("joystick", velocity=[0.5, 0.0])``.

    Args:
        name: one of `cost_names`.
        **values: its parameters as numbers, lists and tables; tensors pass too.

    Raises:
        ConfigError: an unknown cost or parameter, a missing parameter, or a value that it does not take.
    """
    return parameters.build(find_cost(name, "cost"), values, name)


def find_cost(name: Any, field: str) -> type[Any]:
    """Return the class of a cost.

    Raises:
        ConfigError: no such cost; names ``field``.
    """
    if not isinstance(name, str) or name not in COSTS:
        raise ConfigError(field, name, "one of " + ", ".join(cost_names()))
    return COSTS[name]
