"""The MuJoCo back end: what is written is read, commands arrive late by their latency, parameters matter."""

import dataclasses

import numpy as np
import pytest
import torch

from beyondmimic_data.config import ControlConfig, RandomisationConfig
from beyondmimic_data.errors import ConfigError
from beyondmimic_data.motions import kinematics
from beyondmimic_data.robots import g1
from beyondmimic_data.sim import randomisation as rand
from beyondmimic_data.sim.mujoco_backend import MujocoBackend

DEFAULT = g1.default_qpos()


def place(backend: MujocoBackend, qpos: np.ndarray, lin_vel: np.ndarray | None = None) -> None:
    n = backend.num_envs
    zero = np.zeros((n, 3))
    backend.write(
        np.arange(n),
        qpos[:, :3],
        qpos[:, 3:7],
        zero if lin_vel is None else lin_vel,
        zero,
        qpos[:, 7:],
        np.zeros((n, 29)),
    )


def standing(n: int, height: float = 0.79) -> np.ndarray:
    qpos = np.tile(DEFAULT, (n, 1))
    qpos[:, 2] = height
    return qpos


def test_written_state_is_read_with_forward_kinematics_of_every_link():
    rng = np.random.default_rng(0)
    backend = MujocoBackend(5, ControlConfig(), num_threads=1)
    qpos = standing(5, 2.0)
    qpos[:, 7:] = rng.uniform(g1.joint_table().lower, g1.joint_table().upper, (5, 29))
    place(backend, qpos)
    state = backend.read()
    positions, quaternions = kinematics.forward(qpos)
    np.testing.assert_allclose(state.body_pos_w.numpy(), positions, atol=1e-6)
    np.testing.assert_allclose(np.abs((state.body_quat_w.numpy() * quaternions).sum(-1)), 1, atol=1e-6)
    np.testing.assert_allclose(state.joint_pos.numpy(), qpos[:, 7:], atol=1e-6)


def test_link_velocities_are_the_change_of_link_origins():
    backend = MujocoBackend(3, ControlConfig(control_hz=200), num_threads=1)
    place(backend, standing(3, 1.5), lin_vel=np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]))
    targets = np.tile(DEFAULT[7:] + 0.1, (3, 1))
    for _ in range(20):
        before = backend.read()
        backend.step(targets)
        after = backend.read()
    assert float((after.body_lin_vel_w - after.root_lin_vel_w[:, None]).abs().max()) > 0.1  # limbs do move
    change = (after.body_pos_w - before.body_pos_w) / 0.005
    torch.testing.assert_close(change, after.body_lin_vel_w, atol=0.01, rtol=0)


@pytest.mark.parametrize("steps", [0, 1, 3, 4, 7, 20])
def test_a_command_takes_effect_after_its_latency(steps):
    backend = MujocoBackend(1, ControlConfig(), num_threads=1)
    draw = rand.nominal(1)
    draw.latency_steps[:] = steps
    backend.randomise(np.array([0]), draw)
    place(backend, standing(1))
    target = DEFAULT[None, 7:].copy()
    target[0, 3] += 0.3
    backend.trace = []
    for _ in range(7):
        backend.step(target)
    applied = np.concatenate([np.repeat(event.ctrl, event.substeps, axis=0) for event in backend.trace])[:, 3]
    assert np.flatnonzero(applied > DEFAULT[10] + 0.1)[0] == steps


@pytest.mark.parametrize(
    "field", ["friction", "mass_scale", "damping_scale", "stiffness_scale", "com_offset", "latency_steps"]
)
def test_every_parameter_changes_the_motion(field):
    """Two robots slide and bend alike until one parameter of the second differs."""
    backend = MujocoBackend(2, ControlConfig(), num_threads=1)
    draw = rand.nominal(2)
    getattr(draw, field)[1] = {
        "friction": 0.05,
        "mass_scale": 1.2,
        "damping_scale": 0.5,
        "stiffness_scale": 0.8,
        "com_offset": 0.05,
        "latency_steps": 8,
    }[field]
    everyone = np.arange(2)
    for parameters, expect_same in ((rand.nominal(2), True), (draw, False)):
        backend.randomise(everyone, parameters)
        place(backend, standing(2), lin_vel=np.tile([1.0, 0.5, 0], (2, 1)))
        for t in range(15):
            backend.step(np.tile(DEFAULT[7:] + 0.3 * np.sin(0.5 * t), (2, 1)))
        difference = float((backend.read().joint_pos[0] - backend.read().joint_pos[1]).abs().max())
        assert (difference < 1e-6) == expect_same, (field, difference)


def test_draws_stay_in_their_ranges_and_depend_on_their_seed_alone():
    config, control = RandomisationConfig(latency_ms=(10, 40)), ControlConfig()
    draw = rand.draw(config, control, [np.random.default_rng(i) for i in range(500)])
    assert (draw.friction.min() >= 0.5) & (draw.friction.max() <= 2.0) & (np.ptp(draw.friction) > 1.3)
    assert set(draw.latency_steps) == set(range(2, 9))
    assert (np.abs(draw.joint_offset) <= 0.01).all()
    again = rand.draw(config, control, [np.random.default_rng(7)])
    for field in dataclasses.fields(draw):
        np.testing.assert_array_equal(getattr(again, field.name)[0], getattr(draw, field.name)[7])


def test_environments_that_nobody_looks_at_stand_still():
    whole, part = (MujocoBackend(3, ControlConfig(), num_threads=1) for _ in range(2))
    draw = dataclasses.replace(rand.nominal(3), latency_steps=np.array([3, 5, 0]))
    for backend in (whole, part):
        backend.randomise(np.arange(3), draw)
        place(backend, standing(3))
    before = part.read()
    for t in range(10):
        targets = np.tile(DEFAULT[7:] + 0.3 * np.sin(0.5 * t), (3, 1))
        whole.step(targets)
        part.step(targets, np.array([0, 2]))
    assert torch.equal(part.read().joint_pos[[0, 2]], whole.read().joint_pos[[0, 2]])
    assert torch.equal(part.read().joint_pos[1], before.joint_pos[1])


def test_results_do_not_depend_on_the_number_of_threads():
    outcomes = []
    for threads in (1, 2):
        backend = MujocoBackend(16, ControlConfig(), num_threads=threads)
        generators = [np.random.default_rng(i) for i in range(16)]
        backend.randomise(np.arange(16), rand.draw(RandomisationConfig(), ControlConfig(), generators))
        place(backend, standing(16))
        for t in range(20):
            backend.step(np.tile(DEFAULT[7:] + 0.4 * np.cos(t), (16, 1)))
        state = backend.read()
        outcomes.append((state.body_pos_w, state.body_lin_vel_w, state.contact_force))
    for first, second in zip(*outcomes):
        assert torch.equal(first, second)


def test_a_knee_on_the_floor_is_felt():
    backend = MujocoBackend(1, ControlConfig(), num_threads=1)
    qpos = standing(1, 0.45)
    qpos[:, 7 + g1.JOINT_NAMES.index("left_knee_joint")] = 2.2
    qpos[:, 7 + g1.JOINT_NAMES.index("right_knee_joint")] = 2.2
    place(backend, qpos)
    for _ in range(15):
        backend.step(qpos[:, 7:])
    state = backend.read()
    touched = {n for n, f in zip(state.contact_bodies, state.contact_force[0].tolist()) if f > 1}
    assert any("knee" in name for name in touched), touched


def test_a_push_adds_to_the_base_velocity_in_the_world_frame():
    backend = MujocoBackend(2, ControlConfig(), num_threads=1)
    qpos = standing(2, 1.5)
    qpos[:, 3:7] = [np.cos(0.5), 0, 0, np.sin(0.5)]
    place(backend, qpos)
    backend.push(np.array([1]), np.array([[0.4, -0.2, 0.1]]), np.array([[0.5, 0.0, 0.3]]))
    backend.step(qpos[:, 7:])
    change = backend.read().root_lin_vel_w[1] - backend.read().root_lin_vel_w[0]
    assert float(change[0]) > 0.2
    assert float(change[1]) < -0.05


@pytest.mark.parametrize("latency", [0, 3])
def test_a_simulation_that_explodes_is_not_finite_every_time(latency):
    backend, everyone = MujocoBackend(3, ControlConfig(), num_threads=1), np.arange(3)
    backend.set_latency(everyone, np.full(3, latency))
    for times in (1, 2, 3):
        place(backend, standing(3))
        backend.push(np.array([1]), np.array([[np.nan, 0, 0]]), np.zeros((1, 3)))
        backend.step(np.tile(DEFAULT[7:], (3, 1)))
        assert backend.read().joint_pos.isfinite().all(1).tolist() == [True, False, True]
        assert backend.failures == times


def test_too_long_a_latency_is_refused():
    draw = rand.nominal(1)
    draw.latency_steps[:] = 60
    with pytest.raises(ConfigError, match=r"randomisation\.latency_ms.*60 physics steps.*at most 28"):
        MujocoBackend(1, ControlConfig(), num_threads=1).randomise(np.array([0]), draw)
