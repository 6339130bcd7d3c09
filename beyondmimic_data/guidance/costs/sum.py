"""Several costs at once."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any

import torch

from beyondmimic_data.diffusion.sampler import Cost, Prediction
from beyondmimic_data.errors import ConfigError
from beyondmimic_data.guidance.parameters import PLAIN_READERS, Reader, build
from beyondmimic_data.guidance.registry import find_cost, register_cost

EXPECTED = "a list of tables, each with cost, its parameters, and a weight (1 without)"


def _read_terms(value: Any, field: str) -> tuple[tuple[float, Cost], ...]:
    """Read ``[{"cost": "joystick", "weight": 2.0, "velocity": [0.5, 0.0]}, ...]``."""
    if not isinstance(value, list | tuple) or not value or not all(isinstance(v, Mapping) for v in value):
        raise ConfigError(field, value, EXPECTED)
    return tuple(_read_term(term, f"{field}[{i}]") for i, term in enumerate(value))


def _read_term(term: Mapping[str, Any], field: str) -> tuple[float, Cost]:
    """Read one table of the list."""
    weight = PLAIN_READERS[float].read(term.get("weight", 1.0), f"{field}.weight")
    parameters = {name: value for name, value in term.items() if name not in ("weight", "cost")}
    return weight, build(find_cost(term.get("cost"), f"{field}.cost"), parameters, field)


@register_cost("sum")
@dataclasses.dataclass(frozen=True)
class Sum:
    """Weighted sum of costs."""

    terms: Annotated[tuple[tuple[float, Cost], ...], Reader(EXPECTED, _read_terms)]
    """Weights and costs."""

    def __call__(self, prediction: Prediction) -> torch.Tensor:
        """Return the cost (B,).

        Raises:
            ValueError: there is no term.
        """
        if not self.terms:
            raise ValueError("a sum of costs needs at least one term")
        return torch.stack([weight * cost(prediction) for weight, cost in self.terms]).sum(0)
