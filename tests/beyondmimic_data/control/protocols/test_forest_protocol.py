import numpy as np
import pytest
import torch
from made_recordings import HZ, record, walk_to
from scipy import ndimage

from beyondmimic_data.control.protocols import PROTOCOLS
from beyondmimic_data.control.protocols.forest import (
    GOAL_DISTANCE,
    PILLAR_RADIUS,
    PILLARS,
    draw_pillars,
    judge,
)
from beyondmimic_data.guidance.pillar_field import PillarField

GOAL = torch.tensor([[6.0, 0.0]])


def free(pillars: np.ndarray, radius: float, cell: float = 0.05) -> np.ndarray:
    """Return which cells of the ground (x from -1 to 7, y from -3 to 3 m) a disc may stand on."""
    x, y = np.meshgrid(np.arange(-1, 7, cell), np.arange(-3, 3, cell), indexing="ij")
    away = np.hypot(x[..., None] - pillars[:, 0], y[..., None] - pillars[:, 1]).min(-1)
    return away > PILLAR_RADIUS + radius


def test_every_forest_has_a_clear_start_and_goal_a_way_and_something_in_it() -> None:
    rng = np.random.default_rng(3)
    for _ in range(100):
        pillars = draw_pillars(rng)
        assert pillars.shape == (PILLARS, 2)
        ground = free(pillars, 0.4)
        regions, _ = ndimage.label(ground)
        start, goal = (regions[round((x + 1) / 0.05), 60] for x in (0.0, GOAL_DISTANCE))
        assert start == goal != 0
        assert np.linalg.norm(pillars, axis=-1).min() > 1.2
        assert np.linalg.norm(pillars - [GOAL_DISTANCE, 0], axis=-1).min() > 1.0
        assert np.abs(pillars[:, 1]).min() < 0.3
        apart = np.linalg.norm(pillars[:, None] - pillars, axis=-1) + 9 * np.eye(PILLARS)
        assert apart.min() - 2 * PILLAR_RADIUS >= 1.0


def test_forests_stand_before_their_robots(setting) -> None:
    made = setting(5)
    task = PROTOCOLS["forest"].make(made)
    local = made.frame.to_local(task.pillars.centre)
    assert ((local[..., 0] > 1.39) & (local[..., 0] < 4.81)).all()
    torch.testing.assert_close(
        made.frame.to_local(task.goal[:, None])[:, 0],
        torch.tensor([6.0, 0.0]).expand(5, 2),
        atol=1e-4,
        rtol=0,
    )
    assert not torch.equal(local[0], local[1])


def walked(clearance: float, after: float = 0.5):
    recording = record(20.0, 1)
    t = np.arange(len(recording.qpos))[:, None] / HZ
    path = np.minimum(0.6 * t, 6.0)
    walk_to(np.stack([path, 0 * path], -1), recording)
    recording.measured["clearance"] = np.where(t < 5, clearance, after)
    return recording


def test_the_goal_without_a_collision_is_success() -> None:
    success, figures = judge(GOAL, walked(0.02))
    assert success.all()
    assert figures["collisions"] == 0
    assert figures["mean_seconds_to_goal"] == pytest.approx(5.5 / 0.6, abs=0.03)


def test_a_collision_or_a_fall_or_standing_still_is_none() -> None:
    success, figures = judge(GOAL, walked(-0.01))
    assert not success.any()
    assert figures["collisions"] == 1
    fallen = walked(0.1)
    fallen.head_height[-1] = 0.0
    assert not judge(GOAL, fallen)[0].any()
    still = record(20.0, 1)
    still.measured["clearance"] = np.full((1001, 1), 0.5)
    success, figures = judge(GOAL, still)
    assert not success.any()
    assert figures["reached"] == 0


def test_clearance_is_measured_from_the_nearest_body(setting) -> None:
    made = setting(3)
    task = PROTOCOLS["forest"].make(made)
    frame = made.windows.time(slice(4, 5))
    body = frame.body_pos_w[:, 0].clone()
    body[1, 7, :2] = task.pillars.centre[1, 2] + torch.tensor([0.0, 0.3])

    class State:
        body_pos_w = body

    clearance = task.measure(0, State())["clearance"]
    assert clearance[1] == pytest.approx(0.3 - 0.2 - 0.05, abs=1e-5)
    assert (clearance[[0, 2]] > 0.5).all()


def test_pillars_of_one_robot_are_no_obstacle_to_another() -> None:
    field = PillarField(torch.tensor([[[1.0, 0.0], [5.0, 0.0]], [[0.0, 9.0], [0.0, 2.0]]]), 0.2)
    points = torch.zeros(2, 1, 30, 3, requires_grad=True)
    distance = field.distance(points)
    assert distance[:, 0, 0].tolist() == pytest.approx([0.8, 1.8])
    distance.sum().backward()
    torch.testing.assert_close(points.grad[0, 0, 0], torch.tensor([-1.0, 0.0, 0.0]))
    near = field.nearest(torch.zeros(2, 2), 1)
    assert near.centre.tolist() == [[[1.0, 0.0]], [[0.0, 2.0]]]
    on_axis = field.centre[:, :1, None].clone().requires_grad_()
    field.distance(on_axis).sum().backward()
    assert torch.isfinite(on_axis.grad).all()
