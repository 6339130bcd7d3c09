"""Guidance: costs that steer a trained diffusion policy without retraining (BeyondMimic v3 §IV-C)."""

from beyondmimic_data.guidance import costs, keyframes
from beyondmimic_data.guidance.registry import (
    COSTS,
    CostDescription,
    cost_names,
    describe_costs,
    make_cost,
    register_cost,
)

__all__ = [
    "COSTS",
    "CostDescription",
    "cost_names",
    "costs",
    "describe_costs",
    "keyframes",
    "make_cost",
    "register_cost",
]
