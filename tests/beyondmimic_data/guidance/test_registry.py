"""Every registered cost is made by name of plain values, for one robot and for several."""

import dataclasses
import json
import re

import numpy as np
import pytest
import torch

from beyondmimic_data.diffusion.sampler import Prediction
from beyondmimic_data.errors import ConfigError
from beyondmimic_data.guidance import COSTS, cost_names, describe_costs, make_cost, register_cost
from beyondmimic_data.guidance.costs import Joystick
from beyondmimic_data.guidance.keyframes import KeyframePlan

BALLS = {"shape": "sphere", "centre": [[0.6, 0.1, 0.2], [1.2, 2.5, 0.1], [-0.7, 0.3, 0.0]], "radius": 0.2}
PILLARS = {
    "shape": "cylinder",
    "centre": [[0.3, 0.4, 0.5], [0.6, 1.9, 0.5], [-1.0, 0.5, 0.5]],
    "radius": 0.1,
    "height": 1.0,
}
BOX = {"shape": "box", "centre": [0.5, 0.8, 0.3], "half_size": [0.2, 0.3, 0.3], "yaw": 0.3}
CAPSULE = {"shape": "capsule", "start": [0.0, 0.0, 0.0], "end": [0.3, 0.2, 1.0], "radius": 0.1}

EXAMPLES = {
    "heading": {"heading_w": [0.5, 3.0, -2.0]},
    "height": {"height": [0.5, 0.6, 0.75]},
    "joystick": {
        "velocity": [[0.5, 0.0], [0.0, 0.3], [-0.4, 0.1]],
        "yaw_rate": [0.7, -1.2, 0.0],
        "heading_w": [0.5, 3.0, -2.0],
        "heading_weight": 0.5,
    },
    "obstacle": {"shapes": [BALLS, PILLARS, BOX, CAPSULE], "body_radius": 0.05, "delta": 0.15},
    "posture": {"roll": [0.1, 0.0, -0.1], "pitch": [0.0, 0.2, 0.1]},
    "smoothness": {"velocity_weight": 2.0, "limb_weight": 0.5},
    "sum": {
        "terms": [
            {"weight": 2.0, "cost": "joystick", "velocity": [[0.5, 0.0], [0.0, 0.3], [-0.4, 0.1]]},
            {"cost": "obstacle", "shapes": BALLS, "root_only": True},
        ]
    },
    "waypoint": {"goal": [[0.4, -0.3], [1.0, 2.1], [3.0, 0.0]]},
}
"""Plain values for three robots; what a cost holds by robot is a list of three."""


def of_one(name: str, value, robot: int):
    """Return the plain value of a parameter for one of the robots; where they share it, as it is."""
    if isinstance(value, dict):
        return {inner: of_one(inner, v, robot) for inner, v in value.items()}
    if name in ("terms", "shapes") and isinstance(value, list):
        return [of_one(name, v, robot) for v in value]
    one_point = name in ("centre", "half_size", "start", "end") and not isinstance(value[0], list)
    return value[robot] if isinstance(value, list) and not one_point else value


# The blend of the waypoint is held fixed, so its gradient is not its slope; its own test has the closed form.
@pytest.mark.parametrize("name", sorted(set(EXAMPLES) - {"waypoint"}))
def test_gradient_is_that_of_central_differences(name, world, descend) -> None:
    cost = make_cost(name, **EXAMPLES[name])
    _, gradient = descend(cost, world)
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        direction = torch.randn(world.features.shape, generator=generator, dtype=torch.float64)
        ahead, behind = (
            cost(Prediction(world.features + step * direction, world.policy, world.frame)).sum()
            for step in (1e-6, -1e-6)
        )
        numeric = float(ahead - behind) / 2e-6
        assert float((gradient * direction.numpy()).sum()) == pytest.approx(numeric, rel=1e-5, abs=1e-6)
    assert np.abs(gradient).max() > 1e-2


@pytest.mark.parametrize("name", EXAMPLES)
def test_robots_together_are_as_one_at_a_time(name, world, of_robot, descend) -> None:
    values, gradients = descend(make_cost(name, **EXAMPLES[name]), world)
    assert values.shape == (3,)
    for robot in range(3):
        alone = make_cost(name, **of_one("", EXAMPLES[name], robot))
        value, gradient = descend(alone, of_robot(world, robot))
        np.testing.assert_allclose(value, values[robot, None])
        np.testing.assert_allclose(gradient, gradients[robot, None], atol=1e-12)


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_has_been_through_json_makes_the_same_cost(name, world) -> None:
    there_and_back = json.loads(json.dumps(EXAMPLES[name]))
    assert isinstance(make_cost(name, **there_and_back), COSTS[name])
    torch.testing.assert_close(
        make_cost(name, **there_and_back)(world), make_cost(name, **EXAMPLES[name])(world)
    )


@pytest.mark.parametrize("name", EXAMPLES)
def test_single_precision_states_stay_in_it(name, world) -> None:
    frame = dataclasses.replace(world.frame, xy=world.frame.xy.float(), yaw=world.frame.yaw.float())
    prediction = Prediction(world.features.float(), world.policy, frame)
    cost = make_cost(name, **EXAMPLES[name])
    assert cost(prediction).dtype == torch.float32
    torch.testing.assert_close(cost(prediction), cost(world).float(), rtol=1e-3, atol=1e-3)


def test_the_examples_are_of_every_cost() -> None:
    assert cost_names() == sorted(EXAMPLES)


def test_made_by_name_is_as_made_by_class(world) -> None:
    made = make_cost("joystick", velocity=[0.5, -0.1], yaw_rate=0.3)
    assert isinstance(made, Joystick)
    assert made.velocity.tolist() == [0.5, -0.1]
    assert (made.yaw_rate, made.heading_w, made.heading_weight) == (0.3, None, 1.0)
    torch.testing.assert_close(made(world), Joystick(torch.tensor([0.5, -0.1]).double(), 0.3)(world))
    assert make_cost("joystick", velocity=torch.tensor([1.0, 0.0]), yaw_rate=None).yaw_rate is None


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("joystik", {}, "'cost': found 'joystik', expected one of heading, height, joystick, obstacle"),
        ("keyframes", {}, "'cost': found 'keyframes', expected one of"),
        ("joystick", {}, "'joystick.velocity': found 'nothing', expected a list of 2 numbers"),
        (
            "joystick",
            {"velocity": [0.5, 0.0], "speed": 1.0},
            "'joystick': found 'speed', expected one of velocity, yaw_rate, heading_w, heading_weight",
        ),
        ("joystick", {"velocity": "fast"}, "'joystick.velocity': found 'fast'"),
        ("joystick", {"velocity": [0.5, 0.0, 0.0]}, "'joystick.velocity': found [0.5, 0.0, 0.0]"),
        ("joystick", {"velocity": [[0.5, 0.0], [0.5]]}, "'joystick.velocity'"),
        ("joystick", {"velocity": []}, "'joystick.velocity': found []"),
        ("joystick", {"velocity": None}, "'joystick.velocity': found None"),
        ("joystick", {"velocity": [1, 0], "yaw_rate": "left"}, "'joystick.yaw_rate': found 'left'"),
        ("joystick", {"velocity": [1, 0], "heading_weight": [1.0]}, "'joystick.heading_weight': found [1.0]"),
        ("height", {"height": float("nan")}, "'height.height': found nan, expected a number"),
        ("height", {"height": True}, "'height.height': found True, expected a number"),
        ("height", {"height": [[0.7]]}, "'height.height': found [[0.7]]"),
        ("obstacle", {"shapes": []}, "'obstacle.shapes': found [], expected a table, or a list of tables"),
        ("obstacle", {"shapes": ["sphere"]}, "'obstacle.shapes': found ['sphere']"),
        (
            "obstacle",
            {"shapes": [BOX, {"shape": "cone"}]},
            "'obstacle.shapes[1].shape': found 'cone', expected one of sphere, capsule, cylinder, box",
        ),
        (
            "obstacle",
            {"shapes": {"shape": "sphere", "centre": [0, 0, 0], "radius": 0}},
            "'obstacle.shapes[0].radius': found 0, expected a number above 0",
        ),
        (
            "obstacle",
            {"shapes": {"shape": "sphere", "centre": [0, 0], "radius": 1}},
            "'obstacle.shapes[0].centre': found [0, 0], expected a list of 3 numbers",
        ),
        (
            "obstacle",
            {"shapes": BOX, "root_only": 1},
            "'obstacle.root_only': found 1, expected true or false",
        ),
        ("obstacle", {"shapes": BOX, "delta": -0.1}, "'obstacle.delta': found -0.1"),
        ("sum", {"terms": []}, "'sum.terms': found []"),
        ("sum", {"terms": [{"weight": 2.0}]}, "'sum.terms[0].cost': found None, expected one of heading"),
        (
            "sum",
            {"terms": [{"cost": "height", "height": 1, "weight": "x"}]},
            "'sum.terms[0].weight': found 'x'",
        ),
        (
            "sum",
            {"terms": [{"cost": "sum", "terms": [{"cost": "height", "z": 1}]}]},
            "'sum.terms[0].terms[0]': found 'z', expected one of height",
        ),
    ],
)
def test_what_cannot_be_made_is_named(name, values, message) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        make_cost(name, **values)


def test_a_listing_tells_names_meaning_and_defaults() -> None:
    costs = {cost.name: cost for cost in describe_costs()}
    assert list(costs) == cost_names()
    assert all(cost.summary.endswith(".") for cost in costs.values())
    assert all(p.doc and p.expected for cost in costs.values() for p in cost.parameters)
    joystick = {p.name: p for p in costs["joystick"].parameters}
    assert joystick["velocity"].required
    assert joystick["velocity"].doc.startswith("(2,) or (B, 2) m/s, forward and left")
    assert (joystick["heading_weight"].required, joystick["heading_weight"].default) == (False, 1.0)
    assert "cylinder (centre, radius, height)" in costs["obstacle"].parameters[0].expected


def test_a_name_is_taken_once_and_parameters_must_be_readable() -> None:
    with pytest.raises(ValueError, match="registered already"):
        register_cost("joystick")(Joystick)
    assert COSTS["joystick"] is Joystick

    @dataclasses.dataclass(frozen=True)
    class Odd:
        path: object

        def __call__(self, prediction: Prediction) -> torch.Tensor:
            return prediction.features.sum((1, 2))

    with pytest.raises(TypeError, match=r"Odd\.path"):
        register_cost("odd")(Odd)
    assert "odd" not in COSTS


def test_a_plan_of_keyframes_is_no_cost() -> None:
    assert KeyframePlan not in COSTS.values()
