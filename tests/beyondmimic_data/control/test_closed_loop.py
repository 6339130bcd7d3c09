import dataclasses

import numpy as np
import pytest
import torch

from beyondmimic_data.config import ControlConfig, PlanningConfig
from beyondmimic_data.control.closed_loop import ClosedLoop, Steering, run
from beyondmimic_data.diffusion.frames import frames_from_rows
from beyondmimic_data.diffusion.sampler import Guidance
from beyondmimic_data.errors import ConfigError
from beyondmimic_data.guidance.costs import Joystick
from beyondmimic_data.robots import g1


@pytest.fixture
def starts(windows):
    rows = windows.sample("validation", 2, np.random.default_rng(3))
    return frames_from_rows(rows, windows.columns).time(slice(0, 5))


def test_robots_begin_exactly_at_the_recorded_start(policy, starts) -> None:
    loop = ClosedLoop(policy, starts, ControlConfig(), num_threads=1)
    torch.testing.assert_close(loop.state.root_pos_w, starts.root_pos_w[:, -1])
    torch.testing.assert_close(loop.state.joint_vel, starts.joint_vel[:, -1])
    torch.testing.assert_close(loop.state.body_pos_w, starts.body_pos_w[:, -1], atol=1e-4, rtol=0)
    torch.testing.assert_close(loop.history.joint_pos[:, :-1], starts.joint_pos[:, :-1])


def test_the_current_action_of_the_plan_becomes_the_servo_target(policy, starts, monkeypatch) -> None:
    loop = ClosedLoop(policy, starts, ControlConfig(), num_threads=1)
    plans, targets = [], []
    plan, step = loop.sampler.plan, loop.backend.step
    monkeypatch.setattr(loop.sampler, "plan", lambda *a: plans.append(plan(*a)) or plans[-1])
    monkeypatch.setattr(loop.backend, "step", lambda t: targets.append(t) or step(t))
    loop.step(Steering(), None)
    table = g1.joint_table()
    expected = table.default_pos + table.action_scale * plans[0].actions[:, 4].double().numpy()
    np.testing.assert_allclose(targets[0], expected, atol=1e-5)


def test_history_moves_on_by_one_observation_a_step(policy, starts) -> None:
    loop = ClosedLoop(policy, starts, ControlConfig(), num_threads=1)
    before = loop.history
    loop.step(Steering(), None)
    assert loop.history.num_frames == 5
    torch.testing.assert_close(loop.history.joint_pos[:, :-1], before.joint_pos[:, 1:])
    torch.testing.assert_close(loop.history.joint_pos[:, -1], loop.state.joint_pos)


def test_a_push_is_added_to_the_base_velocity(policy, starts) -> None:
    still = ClosedLoop(policy, starts, ControlConfig(), num_threads=1)
    pushed = ClosedLoop(policy, starts, ControlConfig(), num_threads=1)
    still.step(Steering(), None)
    pushed.step(Steering(), np.array([[0.5, 0.0, 0.0], [0.0, -0.5, 0.0]]))
    difference = (pushed.state.root_lin_vel_w - still.state.root_lin_vel_w).numpy()
    assert difference[0, 0] > 0.2
    assert difference[1, 1] < -0.2


def test_equal_seeds_give_equal_runs_and_latency_matters(policy, starts) -> None:
    def motion(seed: int, latency: float) -> np.ndarray:
        loop = ClosedLoop(
            policy, starts, ControlConfig(), seed=seed, latency_ms=(latency, latency), num_threads=1
        )
        recording = run(loop, 3)
        assert recording.latency_ms.tolist() == [latency, latency]
        return recording.qpos

    np.testing.assert_array_equal(motion(0, 0.0), motion(0, 0.0))
    assert np.abs(motion(0, 0.0) - motion(1, 0.0)).max() > 1e-4
    assert np.abs(motion(0, 0.0) - motion(0, 40.0)).max() > 1e-4


@pytest.mark.parametrize("sampler", ["rolling", "full"])
def test_guidance_reaches_the_plan_and_the_executed_action(policy, starts, sampler) -> None:
    guidance = Guidance(Joystick(torch.tensor([5.0, 0.0])), scale=8.0)
    velocity = policy.representation.slices["root_lin_vel"]
    speeds, actions = [], []
    for chosen in (None, guidance):
        planning = PlanningConfig(sampler=sampler)
        loop = ClosedLoop(policy, starts, ControlConfig(), planning=planning, num_threads=1)
        plan = loop.sampler.plan(loop.history, chosen)
        speeds.append(plan.features[:, 5:, velocity][..., 0].mean())
        actions.append(plan.actions[:, 4])
    assert speeds[1] > speeds[0] + 0.05
    assert not torch.equal(actions[0], actions[1])


def test_a_recording_holds_what_was_seen(policy, starts) -> None:
    loop = ClosedLoop(policy, starts, ControlConfig(), num_threads=1)
    recording = run(loop, 4, push=lambda t: np.full((2, 3), 0.1) if t == 2 else None)
    assert recording.qpos.shape == (5, 2, 36)
    assert recording.pushes[:, 0, 0].tolist() == pytest.approx([0, 0, 0, 0.1, 0])
    np.testing.assert_allclose(recording.qpos[0, :, 7:], starts.joint_pos[:, -1].numpy())
    world_speed = loop.state.root_lin_vel_w[:, :2].norm(dim=-1).numpy()
    np.testing.assert_allclose(
        np.linalg.norm(recording.root_lin_vel[-1, :, :2], axis=-1), world_speed, rtol=1e-4
    )
    # The default pose carries the head's centre at about 1.2 m.
    assert (np.abs(recording.head_height[0] - 1.2) < 0.1).all()
    assert not recording.fell.any()


def test_a_run_ends_when_everyone_has_fallen(policy, starts) -> None:
    sunk = dataclasses.replace(starts, root_pos_w=starts.root_pos_w - torch.tensor([0.0, 0.0, 1.1]))
    recording = run(ClosedLoop(policy, sunk, ControlConfig(), num_threads=1), 50)
    assert recording.fell.all()
    assert len(recording.qpos) == 2
    assert recording.seconds_upright.tolist() == [0.0, 0.0]


def test_another_rate_or_another_order_of_joints_is_refused(policy, starts) -> None:
    with pytest.raises(ConfigError, match="rate the policy was trained at"):
        ClosedLoop(policy, starts, ControlConfig(control_hz=25.0))
    names = policy.contract.joint_names
    policy.contract = dataclasses.replace(policy.contract, joint_names=(names[1], names[0], *names[2:]))
    with pytest.raises(ConfigError, match=r"simulation\.joint_names\[0\]"):
        ClosedLoop(policy, starts, ControlConfig())


@pytest.mark.parametrize("sampler", ["plan_first", "full"])
def test_restarting_one_robot_places_it_and_leaves_the_other_as_it_was(policy, starts, sampler) -> None:
    planning = PlanningConfig(sampler=sampler)
    calm, disturbed = (
        ClosedLoop(policy, starts, ControlConfig(), planning=planning, latency_ms=(20.0, 20.0), num_threads=1)
        for _ in range(2)
    )
    for loop in (calm, disturbed):
        loop.step(Steering(), None)
        loop.step(Steering(), None)
    fresh = starts.select(slice(1, 2))
    disturbed.reset(np.array([1]), fresh)
    torch.testing.assert_close(disturbed.history.root_pos_w[1], fresh.root_pos_w[0])
    torch.testing.assert_close(disturbed.state.joint_vel[1], fresh.joint_vel[0, -1])
    assert disturbed.planned.tolist() == [True, False]
    assert disturbed.action[1].eq(0).all()
    assert torch.equal(disturbed.action[0], calm.action[0])
    for _ in range(2):
        calm.step(Steering(), None)
        disturbed.step(Steering(), None)
        assert torch.equal(disturbed.plan.features[0], calm.plan.features[0])
        assert torch.equal(disturbed.plan.actions[0], calm.plan.actions[0])
        assert torch.equal(disturbed.history.joint_pos[0], calm.history.joint_pos[0])
    assert disturbed.planned.all()
    assert not torch.equal(disturbed.plan.features[1], calm.plan.features[1])


def test_plans_that_all_begin_together_refuse_to_restart_one_robot(policy, starts) -> None:
    for planning in (PlanningConfig(sampler="rolling"), PlanningConfig(execute=2)):
        loop = ClosedLoop(policy, starts, ControlConfig(), planning=planning, num_threads=1)
        before = loop.state.root_pos_w.clone()
        with pytest.raises(ConfigError, match="to restart robots"):
            loop.reset(np.array([0]), starts.select(slice(1, 2)))
        assert torch.equal(loop.state.root_pos_w, before)
