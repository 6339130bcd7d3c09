"""Guidance: costs that steer a trained diffusion policy without retraining (BeyondMimic v3 §IV-C)."""

from beyondmimic_data.guidance import costs, keyframes
from beyondmimic_data.guidance.registry import COSTS, register_cost

__all__ = ["COSTS", "costs", "keyframes", "register_cost"]
