"""The velocity error of walks whose error is known."""

import dataclasses

import pytest
import torch

from beyondmimic_data import rotations
from beyondmimic_data.sim.backend import RobotState
from beyondmimic_data.tracking.reference import ReferenceFrame
from beyondmimic_data.tracking.velocity import VelocityError

HZ = 50.0


def moving(velocity: list[list[float]], yaw: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return quaternions and world velocities of bases that move so (forward, left) in their headings."""
    heading = torch.tensor(yaw)
    quat = rotations.from_rotation_vector(torch.stack([0 * heading, 0 * heading, heading], -1))
    planar = torch.tensor(velocity)
    return quat, rotations.rotate(quat, torch.cat([planar, torch.zeros(len(planar), 1)], -1))


def state_of(quat: torch.Tensor, lin_vel: torch.Tensor) -> RobotState:
    empty = {field.name: torch.zeros(1) for field in dataclasses.fields(RobotState)}
    return RobotState(**{**empty, "body_quat_w": quat[:, None], "body_lin_vel_w": lin_vel[:, None]})


def reference_of(quat: torch.Tensor, lin_vel: torch.Tensor) -> ReferenceFrame:
    empty = {field.name: torch.zeros(1) for field in dataclasses.fields(ReferenceFrame)}
    return ReferenceFrame(**{**empty, "body_quat_w": quat[:, None], "body_lin_vel_w": lin_vel[:, None]})


def test_the_error_is_that_of_means_in_each_ones_own_heading():
    # The second robot is 0.3 m/s too slow and 0.4 m/s to the left of what its reference does, elsewhere.
    reference = reference_of(*moving([[0.5, 0.0], [0.8, 0.0]], [0.0, 2.0]))
    error = VelocityError(2, HZ)
    for step in range(100):
        wobble = 0.2 if step % 2 else -0.2
        robot = state_of(*moving([[0.5 + wobble, 0.0], [0.5, 0.4]], [1.0, -0.5]))
        error.add(robot, reference, torch.zeros(2, dtype=torch.long), torch.ones(2, dtype=torch.bool))
    assert error.mean().tolist() == pytest.approx([0.0, 0.5], abs=1e-5)


def test_windows_after_a_push_and_the_one_of_the_end_are_left_out():
    reference = reference_of(*moving([[0.0, 0.0]] * 3, [0.0] * 3))
    error = VelocityError(3, HZ)
    for step in range(200):
        second = step // 50
        # Robot 0 is pushed at 0.5 s, so windows 0 and 1 do not count; robot 1 falls in window 2.
        speeds = [[1.0, 0.0] if second < 2 else [0.1, 0.0], [0.2, 0.0], [0.3, 0.0]]
        pushes = torch.tensor([int(step >= 25), 0, 0])
        running = torch.tensor([True, step < 120, step < 20])
        error.add(state_of(*moving(speeds, [0.0] * 3)), reference, pushes, running)
    means = error.mean()
    assert means[:2].tolist() == pytest.approx([0.1, 0.2], abs=1e-6)
    assert torch.isnan(means[2]), "no window of the third counts"
