"""Costs by name."""

from collections.abc import Callable
from typing import Any, TypeVar

C = TypeVar("C", bound=Callable[..., Any])

COSTS: dict[str, Callable[..., Any]] = {}
"""Every registered cost: its name and what builds it."""


def register_cost(name: str) -> Callable[[C], C]:
    """Register a cost under a name.

    Raises:
        ValueError: the name is taken.
    """

    def add(factory: C) -> C:
        if name in COSTS:
            raise ValueError(f"cost {name!r} is registered already, by {COSTS[name].__qualname__}")
        COSTS[name] = factory
        return factory

    return add
