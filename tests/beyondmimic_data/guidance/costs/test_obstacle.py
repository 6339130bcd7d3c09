import math

import numpy as np
import pytest
import torch

from beyondmimic_data.diffusion.representation import CharacterFrame
from beyondmimic_data.diffusion.sampler import Prediction
from beyondmimic_data.errors import ConfigError
from beyondmimic_data.guidance.costs import Obstacle, barrier
from beyondmimic_data.guidance.shapes import Cylinder, Sphere

FUTURE = 16


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


def test_bodies_near_it_count_and_nothing_far_away(predict) -> None:
    pillar = Obstacle((Cylinder((0.0, 0.0, 1.0), 0.2, 2.0),), body_radius=0.1)
    near = predict(body_pos=[0.8, 0.0, 1.0] * 30)
    assert pillar(near).tolist() == pytest.approx([FUTURE * 30 * -math.log(0.5)] * 2, rel=1e-5)
    far = predict(body_pos=[5.0, 0.0, 1.0] * 30)
    assert pillar(far).tolist() == pytest.approx([0.0, 0.0], abs=1e-9)


def test_joint_angles_are_refused_but_for_the_root_alone(make_policy) -> None:
    policy = make_policy(representation="joint_rot")
    frame = CharacterFrame(torch.zeros(1, 2), torch.zeros(1))
    prediction = Prediction(torch.zeros(1, FUTURE, 70), policy, frame)
    ball = (Sphere((1.0, 0.0, 0.0), 0.1),)
    with pytest.raises(ConfigError, match="body_pos"):
        Obstacle(ball)(prediction)
    cost = Obstacle(ball, root_only=True, root_radius=0.4)(prediction)
    assert cost.tolist() == pytest.approx([FUTURE * -math.log(0.5)])


def test_gradient_of_the_root_in_closed_form(world, columns, descend, spread) -> None:
    """A ball a robot: one that the root is in, one that it is near, one beyond reach."""
    centre = np.array([[0.4, -0.2, 0.1], [2.0, 2.4, 0.2], [9.0, 9.0, 0.0]])
    cost = Obstacle((Sphere(torch.tensor(centre), 0.2),), root_only=True, root_radius=0.3, delta=0.15)
    value, gradient = descend(cost, world)

    yaw, xy = world.frame.yaw.numpy(), world.frame.xy.numpy()
    turn = np.array([[np.cos(yaw), np.sin(yaw)], [-np.sin(yaw), np.cos(yaw)]])
    local = np.concatenate([np.einsum("xyr,ry->rx", turn, centre[:, :2] - xy), centre[:, 2:]], -1)
    offset = columns("root_pos") - local[:, None]
    distance = np.linalg.norm(offset, axis=-1)
    clearance = distance - 0.2 - 0.3
    near = np.minimum(clearance, 1.0)
    below = -np.log(0.15) + 0.5 * (((near - 0.3) / 0.15) ** 2 - 1)
    expected = np.where(near >= 0.15, -np.log(np.maximum(near, 0.15)), below).sum(1)
    np.testing.assert_allclose(value, expected, atol=1e-9)
    slope = np.where(clearance >= 0.15, -1 / np.maximum(clearance, 0.15), (clearance - 0.3) / 0.15**2)
    slope = np.where(clearance < 1.0, slope, 0.0)
    assert (clearance[0] < 0.15).any()
    assert ((clearance[1] > 0.15) & (clearance[1] < 1.0)).any()
    assert (gradient[2] == 0).all()
    push = slope[..., None] * offset / distance[..., None]
    np.testing.assert_allclose(gradient, spread(root_pos=push), atol=1e-9)
