"""The tracking task against known answers."""

import dataclasses

import numpy as np
import pytest
import torch

from beyondmimic_data import rotations
from beyondmimic_data.config import TaskConfig, get_preset
from beyondmimic_data.motions.clip import Clip, clip_from_qpos
from beyondmimic_data.robots import g1, g1_facts
from beyondmimic_data.sim.mujoco_backend import MujocoBackend
from beyondmimic_data.tracking import task
from beyondmimic_data.tracking.world import TrackingWorld

TEST = get_preset("test")
QUIET = dataclasses.replace(TEST, task=TEST.task.without_noise())
STILL = dataclasses.replace(QUIET.randomisation, push=False, latency_ms=(0, 0), joint_offset=0.0)


def standing_clip(seconds: float = 2.0, *, heading: float = 0.0) -> Clip:
    qpos = np.tile(g1.default_qpos(), (round(50 * seconds) + 1, 1))
    qpos[:, 2] = 0.79
    qpos[:, 3:7] = rotations.from_yaw(np.full(len(qpos), heading))
    return clip_from_qpos("stand", qpos, 50, 50)


def world_on(clip: Clip, n: int = 3, preset=QUIET) -> TrackingWorld:
    world = TrackingWorld(
        MujocoBackend(n, preset.control, num_threads=1), [clip], preset.control, preset.task, STILL, 0
    )
    world.reset(np.arange(n), np.zeros(n, int))
    world.refresh()
    return world


def reward_sum(world: TrackingWorld) -> torch.Tensor:
    zero = torch.zeros_like(world.last_action)
    terms = task.rewards(world.state, world.tracked, world.reference, zero, zero, world.bodies, world.config)
    return torch.stack(list(terms.values())).sum(0)


def test_the_robot_on_its_reference_earns_the_full_five():
    torch.testing.assert_close(
        reward_sum(world_on(standing_clip())), torch.full((3,), 5.0), atol=1e-4, rtol=0
    )


def test_observation_sizes_are_those_of_the_released_task_plus_the_latency():
    world = world_on(standing_clip())
    actor, critic = world.observe()
    assert (actor.shape[1], critic.shape[1]) == (160, 287)
    blind = dataclasses.replace(QUIET, task=dataclasses.replace(QUIET.task, state_estimation=False))
    assert world_on(standing_clip(), preset=blind).observe()[0].shape[1] == 154


def test_observation_on_the_reference_is_the_command_and_nothing_else():
    clip = standing_clip()
    actor, _ = world_on(clip).observe()
    expected = np.concatenate(
        [clip.joint_pos[1], clip.joint_vel[1], np.zeros(3), [1, 0, 0, 1, 0, 0], np.zeros(93)]
    )
    np.testing.assert_allclose(actor[0].numpy(), expected, atol=1e-5)


def test_an_anchor_metres_off_reads_as_far_off_as_the_limit():
    world = world_on(standing_clip(), n=1)
    moved = standing_clip().qpos[:1]
    moved[:, :3] += [-3.0, 0.2, 0.0]
    zero = np.zeros((1, 3))
    world.backend.write(
        np.arange(1), moved[:, :3], moved[:, 3:7], zero, zero, moved[:, 7:], np.zeros((1, 29))
    )
    world.refresh()
    actor, critic = world.observe()
    torch.testing.assert_close(actor[0, 58:61], torch.tensor([0.5, -0.2, 0.0]), atol=1e-4, rtol=0)
    assert float(critic[0, 58]) == pytest.approx(3.0, abs=1e-4)


def test_place_and_heading_of_the_robot_are_free_but_height_is_not():
    """BeyondMimic v3 §III-A: body terms follow the robot's own place and heading."""
    world = world_on(standing_clip(), n=2)
    moved = standing_clip(heading=1.2).qpos[:2]
    moved[:, :2] += [3.0, -2.0]
    moved[1, 2] += 0.1
    zero = np.zeros((2, 3))
    world.backend.write(
        np.arange(2), moved[:, :3], moved[:, 3:7], zero, zero, moved[:, 7:], np.zeros((2, 29))
    )
    world.refresh()
    errors = task.tracking_errors(world.tracked, world.reference, world.state, world.bodies)
    assert float(errors["body_pos_err_m"][0]) == pytest.approx(0.0, abs=1e-5)
    assert float(errors["body_ori_err_rad"][0]) == pytest.approx(0.0, abs=1e-3)
    assert float(errors["body_pos_err_m"][1]) == pytest.approx(0.1, abs=1e-5)


def test_gaussian_terms_fall_to_1_over_e_at_their_deviation():
    world = world_on(standing_clip(), n=1)
    config = TaskConfig()
    shifted = dataclasses.replace(
        world.reference, body_pos_w=world.reference.body_pos_w + torch.tensor([0.3, 0, 0])
    )
    zero = torch.zeros(1, 29)
    terms = task.rewards(world.state, world.tracked, shifted, zero, zero, world.bodies, config)
    assert float(terms["anchor_position"][0]) == pytest.approx(0.5 / np.e, rel=1e-4)
    assert float(terms["body_position"][0]) == pytest.approx(1.0, abs=1e-5)  # anchored: the shift is free


def test_penalties_count_action_changes_and_joints_beyond_soft_limits():
    world = world_on(standing_clip(), n=1)
    action = torch.zeros(1, 29)
    action[0, :3] = 2.0
    state = dataclasses.replace(world.state, joint_pos=world.bodies.soft_upper[None] + 0.01)
    terms = task.rewards(
        state, world.tracked, world.reference, action, torch.zeros(1, 29), world.bodies, TaskConfig()
    )
    assert float(terms["action_rate"][0]) == pytest.approx(-0.1 * 12, rel=1e-5)
    assert float(terms["joint_limit"][0]) == pytest.approx(-10 * 29 * 0.01, rel=1e-3)


@pytest.mark.parametrize(("force", "penalty"), [(0.9, 0.0), (1.1, -0.1)])
def test_a_touch_counts_above_one_newton_but_never_on_feet_and_hands(force, penalty):
    world = world_on(standing_clip(), n=1)
    forces = torch.zeros(1, len(world.state.contact_bodies))
    forces[0, world.state.contact_bodies.index("left_knee_link")] = force
    for foot in g1_facts.FOOT_BODIES:
        forces[0, world.state.contact_bodies.index(foot)] = 300.0
    state = dataclasses.replace(world.state, contact_force=forces)
    zero = torch.zeros(1, 29)
    terms = task.rewards(state, world.tracked, world.reference, zero, zero, world.bodies, TaskConfig())
    assert float(terms["undesired_contact"][0]) == pytest.approx(penalty)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ("low", "anchor_height"),
        ("tilted", "anchor_tilt"),
        ("hand", "end_effector_height"),
        ("nan", "not_finite"),
        ("", None),
    ],
)
def test_each_cause_ends_the_episode(change, cause):
    world = world_on(standing_clip(), n=1)
    state, reference = world.state, world.reference
    if change == "low":
        reference = dataclasses.replace(
            reference, body_pos_w=reference.body_pos_w + torch.tensor([0, 0, 0.26])
        )
    if change == "tilted":
        tilt = rotations.from_rotation_vector(torch.tensor([[[0.0, 1.4, 0.0]]]))
        state = dataclasses.replace(state, body_quat_w=rotations.multiply(tilt, state.body_quat_w))
    if change == "hand":
        positions = state.body_pos_w.clone()
        positions[0, g1.BODY_NAMES.index("left_wrist_yaw_link"), 2] += 0.26
        state = dataclasses.replace(state, body_pos_w=positions)
    if change == "nan":
        state = dataclasses.replace(state, joint_pos=torch.full((1, 29), float("nan")))
    tracked = task.anchor_reference(state, reference, world.bodies)
    causes = task.terminations(state, tracked, reference, world.bodies, world.config)[0]
    ended = {name for name, value in zip(task.TERMINATIONS, causes.tolist()) if value}
    assert (cause in ended) if cause else not ended


def test_joint_offsets_shift_targets_and_observations_alike():
    world = world_on(standing_clip(), n=2)
    draw = dataclasses.replace(world.draw, joint_offset=np.stack([np.zeros(29), np.full(29, 0.01)]))
    world.randomise(np.arange(2), draw)
    joint_pos = slice(58 + 3 + 6 + 3 + 3, 58 + 3 + 6 + 3 + 3 + 29)
    difference = world.observe()[0][1, joint_pos] - world.observe()[0][0, joint_pos]
    torch.testing.assert_close(difference, torch.full((29,), -0.01), atol=1e-6, rtol=0)
    world.backend.trace = []
    world.step(torch.zeros(2, 29))
    applied = world.backend.trace[-1].ctrl
    np.testing.assert_allclose(applied[1] - applied[0], 0.01, atol=1e-6)


def test_the_reference_advances_one_frame_a_step_and_the_clip_ends_once():
    clip = standing_clip(0.2)
    world = world_on(clip, n=1)
    ends = []
    for _ in range(clip.num_frames - 1):
        ends.append(bool(world.step(torch.zeros(1, 29)).clip_end[0]))
    assert ends == [False] * (clip.num_frames - 2) + [True]


def test_an_exploded_robot_ends_its_episode_with_no_reward():
    world = world_on(standing_clip(), n=2)
    world.backend.push(np.array([0]), np.array([[np.nan, 0, 0]]), np.zeros((1, 3)))
    step = world.step(torch.zeros(2, 29))
    assert step.fell.tolist() == [True, False]
    assert float(step.reward[0]) == 0.0
    assert float(step.reward[1]) > 0.05
