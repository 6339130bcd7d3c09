import math

import pytest
import torch

from beyondmimic_data.guidance.shapes import Box, Capsule, Cylinder, Sphere, signed_distance


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


@pytest.mark.parametrize(
    "at",
    [
        lambda place: Sphere(place, 0.4),
        lambda place: Capsule(place, place + 0.3, 0.2),
        lambda place: Capsule((0.0, 0.0, 0.0), place, 0.2),
        lambda place: Cylinder(place, 0.3, 0.8),
        lambda place: Box(place, (0.3, 0.5, 0.2), yaw=0.4),
    ],
    ids=["sphere", "capsule", "capsule end", "cylinder", "box"],
)
def test_places_one_a_robot_are_as_one_at_a_time(at) -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(4, 5, 6, 3, generator=generator, dtype=torch.float64)
    places = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    shared = Sphere((0.0, 0.0, 0.0), 0.1)
    together = signed_distance((at(places), shared), points)
    assert together.shape == (4, 5, 6)
    for robot in range(4):
        alone = signed_distance((at(places[robot]), shared), points[robot])
        torch.testing.assert_close(together[robot], alone)


def test_union_takes_the_nearest_shape_and_none_is_refused() -> None:
    shapes = (Sphere((0.0, 0.0, 0.0), 0.5), Sphere((4.0, 0.0, 0.0), 0.5))
    assert signed_distance(shapes, torch.tensor([[3.0, 0.0, 0.0]])).tolist() == pytest.approx([0.5])
    with pytest.raises(ValueError, match="at least one shape"):
        signed_distance((), torch.zeros(1, 3))
