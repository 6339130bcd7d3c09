import math

import pytest
import torch

from beyondmimic_data.diffusion.representation import CharacterFrame
from beyondmimic_data.diffusion.sampler import Prediction
from beyondmimic_data.errors import ConfigError
from beyondmimic_data.guidance import COSTS, register_cost
from beyondmimic_data.guidance.costs import Joystick, Obstacle, Sum, Waypoint, barrier
from beyondmimic_data.guidance.shapes import Box, Capsule, Cylinder, Sphere, signed_distance

FUTURE = 16


@pytest.fixture
def predict(make_policy):
    """Build a prediction (2, 16, 192) in double precision from fields given in the character frame."""
    policy = make_policy()

    def make(
        features: torch.Tensor | None = None, yaw: float = 0.0, xy: tuple[float, float] = (0.0, 0.0), **fields
    ):
        if features is None:
            features = torch.zeros(2, FUTURE, 192, dtype=torch.float64)
            for name, value in fields.items():
                features[..., policy.representation.slices[name]] = torch.tensor(value, dtype=torch.float64)
        batch = len(features)
        frame = CharacterFrame(
            torch.tensor(xy, dtype=torch.float64).expand(batch, 2),
            torch.full((batch,), yaw, dtype=torch.float64),
        )
        return Prediction(features, policy, frame)

    return make


def random_features() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, FUTURE, 192, generator=generator, dtype=torch.float64) * 0.3


def test_joystick_is_half_the_squared_velocity_error_over_steps(predict) -> None:
    prediction = predict(root_lin_vel=[0.3, 0.1, 9.0])
    cost = Joystick(torch.tensor([0.5, 0.0], dtype=torch.float64))(prediction)
    assert cost.tolist() == pytest.approx([FUTURE * 0.5 * (0.04 + 0.01)] * 2)


def test_joystick_commands_may_differ_by_robot(predict) -> None:
    prediction = predict(root_lin_vel=[0.5, 0.0, 0.0])
    cost = Joystick(torch.tensor([[0.5, 0.0], [-0.5, 0.0]], dtype=torch.float64))(prediction)
    assert cost.tolist() == pytest.approx([0.0, FUTURE * 0.5])


def test_turning_joystick_asks_for_a_curve(predict) -> None:
    features = torch.zeros(1, FUTURE, 192, dtype=torch.float64)
    angle = 1.5 * torch.arange(1, FUTURE + 1, dtype=torch.float64) / 50
    features[0, :, 186] = 0.4 * torch.cos(angle)
    features[0, :, 187] = 0.4 * torch.sin(angle)
    features[0, :, 191] = 1.5
    command = torch.tensor([0.4, 0.0], dtype=torch.float64)
    assert float(Joystick(command, 1.5)(predict(features))) == pytest.approx(0.0, abs=1e-12)
    assert float(Joystick(command, -1.5)(predict(features))) > FUTURE * 0.5 * 9.0 * 0.99


def test_waypoint_far_away_is_the_squared_distance_and_close_by_the_velocity(predict) -> None:
    goal = Waypoint(torch.tensor([3.0, 4.0], dtype=torch.float64))
    weight = math.exp(-2 * 5.0)
    expected = FUTURE * ((1 - weight) * 25.0 + weight * 0.25)
    assert goal(predict(root_lin_vel=[0.5, 0.0, 0.0])).tolist() == pytest.approx([expected] * 2)
    there = predict(root_pos=[3.0, 4.0, 0.7], root_lin_vel=[0.5, 0.0, 0.0])
    assert goal(there).tolist() == pytest.approx([FUTURE * 0.25] * 2)


def test_waypoint_is_a_place_in_the_world(predict) -> None:
    """One metre ahead of a robot at (2, 1) that looks along y is (2, 2)."""
    prediction = predict(yaw=math.pi / 2, xy=(2.0, 1.0), root_pos=[1.0, 0.0, 0.7])
    assert Waypoint(torch.tensor([2.0, 2.0], dtype=torch.float64))(prediction).tolist() == pytest.approx(
        [0.0, 0.0]
    )


def test_barrier_is_smooth_where_its_parts_meet() -> None:
    delta = 0.1
    x = torch.tensor([delta - 1e-7, delta + 1e-7], dtype=torch.float64, requires_grad=True)
    value = barrier(x, delta)
    (slope,) = torch.autograd.grad(value.sum(), x)
    assert value.tolist() == pytest.approx([-math.log(delta)] * 2, abs=1e-5)
    assert slope.tolist() == pytest.approx([-1 / delta] * 2, rel=1e-5)
    assert float(barrier(torch.tensor(0.5), delta)) == pytest.approx(-math.log(0.5))
    inside = barrier(torch.tensor(-0.2, dtype=torch.float64), delta)
    assert float(inside) == pytest.approx(-math.log(delta) + 0.5 * (((-0.2 - 0.2) / 0.1) ** 2 - 1))


@pytest.mark.parametrize(
    ("shape", "point", "distance"),
    [
        (Sphere((1.0, 0.0, 0.0), 0.5), (3.0, 0.0, 0.0), 1.5),
        (Sphere((1.0, 0.0, 0.0), 0.5), (1.0, 0.0, 0.0), -0.5),
        (Capsule((0.0, 0.0, 0.0), (0.0, 0.0, 2.0), 0.2), (1.0, 0.0, 1.0), 0.8),
        (Capsule((0.0, 0.0, 0.0), (0.0, 0.0, 2.0), 0.2), (0.0, 0.0, 3.0), 0.8),
        (Cylinder((0.0, 0.0, 1.0), 0.3, 2.0), (1.0, 0.0, 1.5), 0.7),
        (Cylinder((0.0, 0.0, 1.0), 0.3, 2.0), (0.0, 0.0, 2.5), 0.5),
        (Cylinder((0.0, 0.0, 1.0), 0.3, 2.0), (0.6, 0.0, 2.4), 0.5),
        (Cylinder((0.0, 0.0, 1.0), 0.3, 2.0), (0.1, 0.0, 1.0), -0.2),
        (Box((0.0, 0.0, 0.5), (1.0, 0.5, 0.5)), (1.3, 0.9, 0.5), 0.5),
        (Box((0.0, 0.0, 0.5), (1.0, 0.5, 0.5)), (0.9, 0.0, 0.5), -0.1),
        (Box((0.0, 0.0, 0.5), (1.0, 0.5, 0.5), yaw=math.pi / 2), (0.0, 1.3, 0.5), 0.3),
    ],
)
def test_signed_distances_known_by_hand(shape, point, distance) -> None:
    found = shape.distance(torch.tensor([point], dtype=torch.float64))
    assert float(found) == pytest.approx(distance, abs=1e-6)


@pytest.mark.parametrize(
    "shape",
    [
        Sphere((0.1, 0.0, 0.2), 0.4),
        Capsule((0.0, 0.0, 0.0), (0.5, 0.2, 0.7), 0.2),
        Cylinder((0.0, 0.1, 0.3), 0.3, 0.8),
        Box((0.0, 0.0, 0.5), (0.3, 0.5, 0.2), yaw=0.4),
    ],
)
def test_distances_grow_by_one_metre_a_metre(shape) -> None:
    points = torch.randn(200, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    points.requires_grad_()
    (gradient,) = torch.autograd.grad(shape.distance(points).sum(), points)
    torch.testing.assert_close(gradient.norm(dim=-1), torch.ones(200, dtype=torch.float64), atol=1e-6, rtol=0)


def test_union_takes_the_nearest_shape_and_none_is_refused() -> None:
    shapes = (Sphere((0.0, 0.0, 0.0), 0.5), Sphere((4.0, 0.0, 0.0), 0.5))
    assert signed_distance(shapes, torch.tensor([[3.0, 0.0, 0.0]])).tolist() == pytest.approx([0.5])
    with pytest.raises(ValueError, match="at least one shape"):
        signed_distance((), torch.zeros(1, 3))


def test_obstacle_counts_bodies_near_it_and_nothing_far_away(predict) -> None:
    pillar = Obstacle((Cylinder((0.0, 0.0, 1.0), 0.2, 2.0),), body_radius=0.1)
    near = predict(body_pos=[0.8, 0.0, 1.0] * 30)
    assert pillar(near).tolist() == pytest.approx([FUTURE * 30 * -math.log(0.5)] * 2, rel=1e-5)
    far = predict(body_pos=[5.0, 0.0, 1.0] * 30)
    assert pillar(far).tolist() == pytest.approx([0.0, 0.0], abs=1e-9)


def test_obstacle_on_joint_angles_is_refused(make_policy) -> None:
    policy = make_policy(representation="joint_rot")
    frame = CharacterFrame(torch.zeros(1, 2), torch.zeros(1))
    with pytest.raises(ConfigError, match="body_pos"):
        Obstacle((Sphere((0.0, 0.0, 0.0), 1.0),))(Prediction(torch.zeros(1, FUTURE, 70), policy, frame))


@pytest.mark.parametrize(
    "cost",
    [
        Joystick(torch.tensor([0.5, -0.2], dtype=torch.float64)),
        Joystick(torch.tensor([0.5, -0.2], dtype=torch.float64), yaw_rate=0.7),
        Obstacle((Cylinder((0.3, 0.0, 0.5), 0.2, 1.0), Box((-0.4, 0.2, 0.3), (0.2, 0.1, 0.3), 0.3))),
        Sum(
            (
                (2.0, Joystick(torch.tensor([0.5, 0.0], dtype=torch.float64))),
                (0.5, Obstacle((Sphere((0.2, 0.1, 0.3), 0.2),))),
            )
        ),
    ],
    ids=["joystick", "turning", "obstacle", "sum"],
)
def test_gradients_equal_finite_differences(cost, predict) -> None:
    features = random_features()
    direction = torch.randn(features.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def value(step: float) -> torch.Tensor:
        return cost(predict(features + step * direction, yaw=0.8, xy=(0.3, -0.2))).sum()

    point = features.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(cost(predict(point, yaw=0.8, xy=(0.3, -0.2))).sum(), point)
    numeric = float(value(1e-7) - value(-1e-7)) / 2e-7
    assert float((gradient * direction).sum()) == pytest.approx(numeric, rel=1e-5)
    assert abs(numeric) > 1e-3


def test_waypoint_gradient_holds_the_blend_fixed(predict) -> None:
    features = random_features()
    point = features.clone().requires_grad_()
    goal = torch.tensor([0.4, -0.3], dtype=torch.float64)
    (gradient,) = torch.autograd.grad(Waypoint(goal)(predict(point)).sum(), point)
    offset = features[..., 180:182] - goal
    far = 1 - torch.exp(-2 * offset.norm(dim=-1, keepdim=True))
    torch.testing.assert_close(gradient[..., 180:182], 2 * far * offset)
    torch.testing.assert_close(gradient[..., 186:188], 2 * (1 - far) * features[..., 186:188])


def test_sum_adds_weighted_costs_and_needs_one(predict) -> None:
    prediction = predict(root_lin_vel=[0.5, 0.0, 0.0])
    stop = Joystick(torch.zeros(2, dtype=torch.float64))
    both = Sum(((1.0, stop), (3.0, stop)))
    torch.testing.assert_close(both(prediction), 4 * stop(prediction))
    with pytest.raises(ValueError, match="at least one term"):
        Sum(())(prediction)


def test_registry_knows_every_cost_and_refuses_a_second_of_a_name() -> None:
    assert set(COSTS) >= {"joystick", "waypoint", "obstacle", "keyframes", "sum"}
    with pytest.raises(ValueError, match="registered already"):
        register_cost("joystick")(Joystick)
    assert COSTS["joystick"] is Joystick
