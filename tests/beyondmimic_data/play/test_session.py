import dataclasses
import shutil
import threading
import time

import numpy as np
import pytest
import torch

from beyondmimic_data import rotations
from beyondmimic_data.config import GuidanceConfig
from beyondmimic_data.diffusion.sampler import Guidance
from beyondmimic_data.diffusion.windows import RecordedWindows
from beyondmimic_data.errors import StoreError
from beyondmimic_data.guidance.costs import Sum
from beyondmimic_data.play.command import Command, Pillar
from beyondmimic_data.play.session import (
    PILLAR_SIGHT,
    Driver,
    Pace,
    Session,
    at_origin,
    run_in_real_time,
)


def test_a_start_is_carried_to_the_origin_as_a_rigid_body(start) -> None:
    moved = at_origin(start, 4)
    torch.testing.assert_close(moved.root_pos_w[:, 4, :2], torch.zeros(1, 2), atol=1e-5, rtol=0)
    assert float(rotations.yaw(moved.root_quat_w[0, 4])) == pytest.approx(0.0, abs=1e-5)
    assert float(rotations.yaw(start.root_quat_w[0, 4])) != pytest.approx(0.0, abs=0.1)
    torch.testing.assert_close(moved.joint_pos, start.joint_pos)
    torch.testing.assert_close(moved.root_pos_w[..., 2], start.root_pos_w[..., 2])
    for name in ("root_lin_vel_w", "root_ang_vel_w"):  # the same in the robot's own axes
        own = [rotations.rotate_inverse(f.root_quat_w[0, 4], getattr(f, name)[0, 4]) for f in (start, moved)]
        torch.testing.assert_close(own[0], own[1], atol=1e-5, rtol=0)
    for points in ("body_pos_w", "body_lin_vel_w"):
        values = [getattr(f, points)[0, 4].double() for f in (start, moved)]
        lengths = [torch.cdist(v, v) for v in values]
        torch.testing.assert_close(lengths[0], lengths[1], atol=1e-4, rtol=0)
    offset = [rotations.rotate_inverse(f.root_quat_w[0, 4], f.body_pos_w[0, 4, 7] - f.root_pos_w[0, 4])
              for f in (start, moved)]  # fmt: skip
    torch.testing.assert_close(offset[0], offset[1], atol=1e-5, rtol=0)


def test_a_step_shows_the_robot_and_its_plan(make_session) -> None:
    session = make_session()
    first, second = session.step(), session.step()
    assert (first.seconds, second.seconds) == pytest.approx((0.02, 0.04))
    assert first.qpos.shape == (36,)
    assert np.linalg.norm(first.qpos[:2]) < 0.1
    assert first.root_path.shape == (17, 3)
    np.testing.assert_allclose(first.root_path[0], first.qpos[:3], atol=1e-6)
    assert first.foot_paths.shape == (2, 16, 3)
    assert np.isfinite(first.root_path).all()
    assert np.abs(second.qpos - first.qpos).max() > 0
    assert not first.fallen
    assert first.step_ms > 0


def test_a_reset_starts_again_and_keeps_the_command(make_session) -> None:
    session = make_session()
    fresh = session.step()
    for _ in range(3):
        session.step()
    session.change(forward=0.5)
    session.push(3.0, 0.0)
    session.reset()
    there = session.step()
    assert there.seconds == 0.0
    assert there.command.forward == 0.5
    assert not there.push.any()
    session.change(forward=0.0)
    np.testing.assert_allclose(session.step().qpos, fresh.qpos, atol=1e-6)


def test_pushes_before_a_step_add_up_and_are_felt_once(make_session) -> None:
    calm, pushed = make_session(), make_session()
    pushed.push(0.0, 0.5)
    pushed.push(0.5, 0.0)
    still, felt = calm.step(), pushed.step()
    assert felt.push.tolist() == [0.5, 0.5, 0.0]
    assert (felt.velocity - still.velocity)[:2].min() > 0.2
    assert not pushed.step().push.any()


def test_a_fall_shows_and_a_broken_simulation_waits_for_a_reset(make_session) -> None:
    session = make_session()
    session._loop.backend._qpos[:, 2] = -0.9
    assert session.step().fallen
    session.reset()
    assert not session.step().fallen
    session._loop.state = dataclasses.replace(
        session._loop.state, body_pos_w=session._loop.state.body_pos_w * np.nan
    )
    assert [session.step().fallen for _ in range(3)] == [True] * 3
    session.reset()
    assert not session.step().fallen


def guidance_of(session: Session, command: Command) -> Guidance:
    """Return how a fresh driver steers the first plan."""
    guidance = Driver(50.0).steer(command, session._loop.history).guidance
    assert guidance is not None
    return guidance


def joystick_of(session: Session, command: Command) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what the joystick's cost asks for."""
    cost = guidance_of(session, command).cost
    joystick = cost.terms[0][1] if isinstance(cost, Sum) else cost
    return joystick.velocity[0], joystick.yaw_rate[0]


PLAIN = GuidanceConfig(
    command_gain=1.5, acceleration=1e3, turn_acceleration=1e3, integral_gain=0.0, heading_gain=0.0
)


def test_velocities_are_asked_for_with_the_gain(make_session) -> None:
    command = Command(forward=0.4, left=-0.2, turn=0.5, guidance=PLAIN)
    velocity, yaw_rate = joystick_of(make_session(), command)
    torch.testing.assert_close(velocity, torch.tensor([0.6, -0.3]))
    assert float(yaw_rate) == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("waypoint", "signs"), [((3.0, 0.0), (1, 0)), ((0.0, 3.0), (0, 1)), ((0.0, -3.0), (0, -1))]
)
def test_a_waypoint_becomes_a_velocity_and_a_turn_towards_it(make_session, waypoint, signs) -> None:
    velocity, yaw_rate = joystick_of(make_session(), Command(forward=-0.3, waypoint=waypoint, guidance=PLAIN))
    assert np.sign(velocity.numpy().round(1)).tolist() == list(signs)
    assert np.sign(round(float(yaw_rate), 2)) == signs[1]


def test_a_waypoint_behind_a_pillar_is_reached_round_it(make_session) -> None:
    velocity, _ = joystick_of(
        make_session(), Command(waypoint=(3.0, 0.0), pillars=(Pillar(1.2, -0.1),), guidance=PLAIN)
    )
    assert velocity[1] > 0.1


def test_a_joystick_leads_round_a_pillar_that_is_near_enough_to_matter(make_session) -> None:
    session = make_session()

    def asked(*pillars: Pillar, forward: float = 0.4) -> list[float]:
        velocity, _ = joystick_of(session, Command(forward=forward, pillars=pillars, guidance=PLAIN))
        return velocity.tolist()

    assert asked() == pytest.approx([0.6, 0.0])
    forward, left = asked(Pillar(1.0, -0.1))
    assert np.hypot(forward, left) == pytest.approx(0.6, abs=1e-3)
    assert left > 0.1
    assert asked(Pillar(1.0, -2.0)) == pytest.approx([0.6, 0.0], abs=0.02)
    assert asked(Pillar(PILLAR_SIGHT + 0.3, 0.0)) == pytest.approx([0.6, 0.0])
    assert asked(Pillar(1.0, 0.0), forward=0.0) == [0.0, 0.0]


def test_the_cost_of_pillars_joins_where_it_has_a_weight(make_session) -> None:
    def terms(weight: float, *pillars: Pillar) -> list[float]:
        settings = GuidanceConfig(obstacle_weight=weight)
        cost = guidance_of(make_session(), Command(forward=0.5, pillars=pillars, guidance=settings)).cost
        return [weight for weight, _ in cost.terms] if isinstance(cost, Sum) else [1.0]

    assert terms(0.03) == [1.0]
    assert terms(0.0, Pillar(1.0, 0.0)) == [1.0]
    assert terms(0.03, Pillar(1.0, 0.0)) == [1.0, 0.03]


def test_guidance_settings_reach_the_plan(make_session) -> None:
    settings = GuidanceConfig(scale=3.0, max_norm=2.0)
    for command in (Command(forward=0.4, guidance=settings), Command(waypoint=(1.0, 1.0), guidance=settings)):
        guidance = guidance_of(make_session(), command)
        assert (guidance.scale, guidance.max_norm) == (3.0, 2.0)


def test_commands_of_other_threads_arrive(make_session) -> None:
    session = make_session()
    threads = [
        threading.Thread(target=session.change, kwargs={name: 0.1 * (i + 1)})
        for i, name in enumerate(("forward", "left", "turn"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    command = session.step().command
    assert (command.forward, command.left, command.turn) == pytest.approx((0.1, 0.2, 0.3))


def test_a_policy_without_standing_starts_is_refused(policy_folder, windows, preset, tmp_path) -> None:
    shutil.copytree(policy_folder, tmp_path, dirs_exist_ok=True)
    rows = windows.sample("train", 8, np.random.default_rng(0)).clone()
    rows[:, :, windows.columns["root_pos_w"].start + 2] = 0.1
    RecordedWindows(rows, windows.columns).save(tmp_path)
    with pytest.raises(StoreError, match="does the robot stand"):
        Session.load(tmp_path, preset)


def test_the_pace_tells_the_real_time_factor_and_makes_up_for_nothing() -> None:
    pace = Pace(0.02)
    factors = [pace.wait() for _ in range(5)]
    assert factors[-1] == pytest.approx(1.0, abs=0.2)
    time.sleep(0.2)
    late = pace.wait()
    assert late < 0.7
    started = time.perf_counter()
    pace.wait()
    assert time.perf_counter() - started > 0.015


def test_the_loop_runs_until_it_is_stopped(make_session) -> None:
    session, stop, seen = make_session(), threading.Event(), []

    def show(snapshot, factor) -> None:
        seen.append((snapshot.seconds, factor))
        if len(seen) == 3:
            stop.set()

    run_in_real_time(session, stop, show)
    assert [round(seconds, 2) for seconds, _ in seen] == [0.02, 0.04, 0.06]
    assert all(factor > 0 for _, factor in seen)
