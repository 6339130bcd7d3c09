"""Costs on a predicted window of states: each maps a prediction to (B,) and adds to the others.

One module a cost; every module in this folder is imported, so that a new file registers its cost. Goals given
in the world are compared in the world; the joystick is relative to the robot's heading now.
"""

import importlib
import pkgutil

from beyondmimic_data.guidance.costs.heading import Heading
from beyondmimic_data.guidance.costs.height import Height
from beyondmimic_data.guidance.costs.joystick import Joystick
from beyondmimic_data.guidance.costs.obstacle import Obstacle, barrier
from beyondmimic_data.guidance.costs.posture import Posture
from beyondmimic_data.guidance.costs.smoothness import Smoothness
from beyondmimic_data.guidance.costs.sum import Sum
from beyondmimic_data.guidance.costs.waypoint import Waypoint

__all__ = [
    "Heading",
    "Height",
    "Joystick",
    "Obstacle",
    "Posture",
    "Smoothness",
    "Sum",
    "Waypoint",
    "barrier",
]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
