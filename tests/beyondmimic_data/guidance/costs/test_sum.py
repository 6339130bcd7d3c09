import numpy as np
import pytest
import torch

from beyondmimic_data.guidance import make_cost
from beyondmimic_data.guidance.costs import Joystick, Obstacle, Sum
from beyondmimic_data.guidance.shapes import Cylinder


def test_it_adds_weighted_costs_and_needs_one(predict) -> None:
    prediction = predict(root_lin_vel=[0.5, 0.0, 0.0])
    stop = Joystick(torch.zeros(2, dtype=torch.float64))
    both = Sum(((1.0, stop), (3.0, stop)))
    torch.testing.assert_close(both(prediction), 4 * stop(prediction))
    with pytest.raises(ValueError, match="at least one term"):
        Sum(())(prediction)


def test_gradients_of_walking_and_keeping_clear_add(world, descend) -> None:
    walk = Joystick(torch.tensor([0.5, 0.0], dtype=torch.float64))
    clear = Obstacle((Cylinder((0.5, 0.0, 1.0), 0.2, 2.0),))
    both = make_cost(
        "sum",
        terms=[
            {"weight": 2.0, "cost": "joystick", "velocity": [0.5, 0.0]},
            {
                "cost": "obstacle",
                "shapes": [{"shape": "cylinder", "centre": [0.5, 0.0, 1.0], "radius": 0.2, "height": 2.0}],
            },
        ],
    )
    (value, gradient), (walk_value, walk_gradient), (clear_value, clear_gradient) = (
        descend(cost, world) for cost in (both, walk, clear)
    )
    np.testing.assert_allclose(value, 2 * walk_value + clear_value)
    np.testing.assert_allclose(gradient, 2 * walk_gradient + clear_gradient)
    assert np.abs(walk_gradient).max() > 0.1
    assert np.abs(clear_gradient).max() > 0.1
