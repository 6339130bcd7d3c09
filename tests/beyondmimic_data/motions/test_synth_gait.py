"""Commands, footsteps, foot motion and the targets of standing: known answers and properties."""

import itertools

import numpy as np
import pytest

from beyondmimic_data import rotations
from beyondmimic_data.config import SynthConfig
from beyondmimic_data.errors import ConfigError
from beyondmimic_data.motions import balance, foot_motion, footsteps, posture, standing, walk_commands

RATE = 50.0


def commands_of(forward: float, sideways: float, turn: float, seconds: float = 9.0) -> np.ndarray:
    raw = np.zeros((round(seconds * RATE) + 1, 3))
    raw[50:-150] = forward, sideways, turn
    return raw


@pytest.mark.parametrize("seed", range(8))
def test_commands_rest_at_both_ends_and_stay_in_range(seed: int) -> None:
    config = SynthConfig(walk_seconds=25.0, seed=seed)
    commands = walk_commands.walk_commands(config, RATE)
    assert commands.shape == (1251, 3)
    assert not commands[: round(walk_commands.LEAD_SECONDS * RATE)].any()
    assert not commands[-round(walk_commands.TAIL_SECONDS * RATE) :].any()
    for column, (low, high) in zip(commands.T, (config.forward, config.sideways, config.turn)):
        assert column.min() >= low - 1e-12
        assert column.max() <= high + 1e-12
    assert (np.abs(np.diff(commands, axis=0)) <= walk_commands.ACCELERATION / RATE + 1e-12).all()
    assert np.abs(commands).max() > 0.2


def test_commands_change_and_stop_on_the_way() -> None:
    seen = [walk_commands.walk_commands(SynthConfig(walk_seconds=60.0, seed=s), RATE) for s in range(6)]
    every = np.concatenate(seen)
    assert every[:, 0].max() > 0.8
    assert every[:, 0].min() < -0.3
    assert np.abs(every[:, 1]).max() > 0.25
    assert np.abs(every[:, 2]).max() > 0.7
    still = [~np.abs(c).max(axis=1).astype(bool) for c in seen]
    assert any(s[200:-200].any() for s in still)


def test_shares_of_kinds_are_obeyed() -> None:
    """Only walking forward, and turning that round."""
    shares = ("arc=0", "backward=0", "sideways=0", "turn=0", "mixed=0", "stop=0", "reverse=0.5")
    config = SynthConfig(walk_seconds=120.0, segment_shares=shares)
    commands = walk_commands.walk_commands(config, RATE)
    assert not commands[:, 1:].any()
    forward, backward = commands[commands[:, 0] > 0, 0], commands[commands[:, 0] < 0, 0]
    assert forward.max() > 0.5
    assert len(backward) > 0.2 * len(forward)
    assert backward.min() == pytest.approx(config.forward[0]), "as far back as the range goes"
    with pytest.raises(ConfigError, match=r"synth\.segment_shares"):
        walk_commands.walk_commands(SynthConfig(segment_shares=("hop=1",)), RATE)


def test_a_share_that_is_not_asked_for_changes_nothing() -> None:
    usual, same = (
        walk_commands.walk_commands(SynthConfig(segment_shares=shares), RATE)
        for shares in ((), ("stop=0.08",))
    )
    np.testing.assert_array_equal(usual, same)


def test_path_of_a_constant_turn_is_a_circle() -> None:
    path = walk_commands.path_of(np.tile([0.6, 0.0, 0.5], (629, 1)), RATE)
    t = np.arange(629) / RATE
    np.testing.assert_allclose(path[:, 2], 0.5 * t, atol=1e-9)
    circle = np.stack([1.2 * np.sin(0.5 * t), 1.2 * (1 - np.cos(0.5 * t))], -1)
    np.testing.assert_allclose(path[:, :2], circle, atol=1e-4)


def test_steps_of_constant_speed_are_as_long_as_speed_times_duration() -> None:
    plan = footsteps.plan_footsteps(commands_of(0.6, 0.0, 0.0), RATE)
    steady = [s for s in plan.steps if s.lift > 3.0 and s.land < 5.0]
    assert len(steady) >= 3
    for step in steady:
        length = step.after[0] - step.stance[0]
        assert length == pytest.approx(0.6 * (step.land - step.start), abs=1e-3)
        assert step.after[2] == 0


@pytest.mark.parametrize("command", [(0.8, 0, 0), (-0.4, 0, 0), (0, 0.35, 0), (0, 0, -0.9), (0.5, -0.1, 0.6)])
def test_feet_take_turns_and_end_side_by_side_on_the_path(command: tuple[float, float, float]) -> None:
    commands = commands_of(*command)
    plan = footsteps.plan_footsteps(commands, RATE)
    assert len(plan.steps) > 6
    feet = plan.feet.copy()
    for step, following in zip(plan.steps, [*plan.steps[1:], None]):
        np.testing.assert_array_equal(step.before, feet[step.foot])
        np.testing.assert_array_equal(step.stance, feet[1 - step.foot])
        assert step.start < step.lift < step.land
        feet[step.foot] = step.after
        offset = (step.after - step.stance)[:2]
        left = np.array([-np.sin(step.after[2]), np.cos(step.after[2])])
        assert (1 if step.foot == 0 else -1) * left @ offset >= footsteps.MIN_SEPARATION - 1e-9
        if following is not None:
            assert following.foot != step.foot
            assert following.start == step.land
    assert plan.steps[-1].stops
    end = walk_commands.path_of(commands, RATE)[-1]
    np.testing.assert_allclose(feet.mean(axis=0), end, atol=0.02)
    assert np.linalg.norm(feet[0, :2] - feet[1, :2]) == pytest.approx(2 * footsteps.HALF_WIDTH, abs=0.03)


def test_no_command_no_step() -> None:
    plan = footsteps.plan_footsteps(np.zeros((200, 3)), RATE)
    t = np.arange(200) / RATE
    position, quaternion = foot_motion.foot_motion(plan, t)
    assert plan.steps == ()
    assert np.ptp(position, axis=0).max() == 0
    np.testing.assert_array_equal(quaternion, np.broadcast_to([1.0, 0, 0, 0], quaternion.shape))
    middle = foot_motion.pressure_reference(plan, t)
    np.testing.assert_allclose(middle, np.tile([foot_motion.PRESSURE_AHEAD, 0.0], (200, 1)), atol=1e-12)


@pytest.mark.parametrize("command", [(0.9, 0, 0), (-0.4, 0, 0), (0, 0.4, 0), (0.5, 0, 0.7)])
def test_stance_feet_hold_and_rolling_soles_do_not_slip(command: tuple[float, float, float]) -> None:
    plan = footsteps.plan_footsteps(commands_of(*command), RATE)
    t = np.arange(0, 9, 0.002)
    position, quaternion = foot_motion.foot_motion(plan, t)
    corners = balance.sole_corners(position, quaternion)
    assert corners[..., 2].min() > -1e-6
    velocity = np.gradient(position, 0.002, axis=0)
    turning = rotations.angular_velocity(quaternion, 0.002)
    arm = corners - position[:, :, None]
    slip = np.linalg.norm((velocity[:, :, None] + np.cross(turning[:, :, None], arm))[..., :2], axis=-1)
    assert slip[corners[..., 2] < 2e-4].max() < 0.01
    for step in plan.steps:
        stance = (t > step.lift) & (t < step.land) & (t > 0.1)
        stood = position[stance, 1 - step.foot]
        settled = t[stance] > step.lift + foot_motion.ROLL_DOWN
        assert np.abs(stood[settled] - stood[-1]).max() < 1e-6


def test_swing_feet_clear_the_floor() -> None:
    plan = footsteps.plan_footsteps(commands_of(0.7, 0, 0), RATE)
    for step in plan.steps:
        t = step.lift + np.linspace(0.25, 0.75, 20) * (step.land - step.lift)
        corners = balance.sole_corners(*foot_motion.foot_motion(plan, t))
        assert corners[:, step.foot, :, 2].min() > 0.025


def test_planned_pressure_is_under_the_stance_foot_while_the_other_swings() -> None:
    plan = footsteps.plan_footsteps(commands_of(0.6, 0, 0), RATE)
    for step in plan.steps:
        t = np.linspace(step.lift, step.land, 9)
        reference = foot_motion.pressure_reference(plan, t)
        corners = balance.sole_corners(*foot_motion.foot_motion(plan, t))
        only_stance = corners[:, [1 - step.foot]]
        # At the lift the stance foot may still be on its heel; its flat outline is the last one.
        flat = np.repeat(only_stance[-1:], len(t), axis=0)
        assert balance.support_margin(reference, flat).min() > 0.015


def test_ramp_is_a_minimum_jerk_step() -> None:
    s = np.linspace(-0.5, 1.5, 4001)
    values = posture.ramp(s)
    assert values[s <= 0].max() == 0
    assert values[s >= 1].min() == 1
    acceleration = np.gradient(np.gradient(values, s), s)
    assert np.abs(np.diff(acceleration)).max() < 0.05
    assert acceleration.max() == pytest.approx(10 / np.sqrt(3), rel=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_bouts_take_turns_and_end_at_home(seed: int) -> None:
    rng = np.random.default_rng(seed)
    bouts = standing.stand_bouts(20.0, rng)
    plan = standing.plan_bouts(bouts, rng)
    assert len(plan.steps) == sum(bout.steps for bout in bouts) > 6
    feet = plan.feet.copy()
    for step in plan.steps:
        np.testing.assert_array_equal(step.before, feet[step.foot])
        np.testing.assert_array_equal(step.stance, feet[1 - step.foot])
        assert step.start < step.lift < step.land
        assert (np.abs(step.after - plan.feet[step.foot]) <= standing.PLACEMENT).all()
        feet[step.foot] = step.after
    np.testing.assert_array_equal(feet, plan.feet)
    assert sum(step.stops for step in plan.steps) == len(bouts)
    for bout, following in zip(bouts, [*bouts[1:], None]):
        own = [s for s in plan.steps if bout.start <= s.start < bout.end]
        assert own[-1].land + footsteps.SETTLE == pytest.approx(bout.end)
        assert [s.foot != o.foot for s, o in itertools.pairwise(own)] == [True] * (bout.steps - 1)
        assert following is None or following.start >= bout.end + standing.STAND_PAUSE[0]


def test_a_quiet_window_is_open_between_its_spans_only() -> None:
    t = posture.frame_times(10.0, RATE)
    window = standing.quiet(t, [(3.0, 5.0)])
    assert window[(t >= 3.0) & (t <= 5.0)].max() == 0
    assert window[(t <= standing.REST_SECONDS) | (t >= 10 - standing.REST_SECONDS)].max() == 0
    assert window[(t > 1.25) & (t < 2.25)].min() == 1
    assert window[(t > 5.75) & (t < 8.75)].min() == 1
    assert np.abs(np.diff(window)).max() < 0.06


def test_squats_of_a_short_clip_are_shallower() -> None:
    rng = np.random.default_rng(0)
    depths = []
    for seconds in (10.0, 2.0):
        t = posture.frame_times(seconds, RATE)
        bouts, squats = standing.squat_spans(seconds, rng)
        down = standing.squat_depth(t, squats, rng)
        assert down[0] == down[-1] == 0
        for bout in bouts:
            assert down[(t >= bout.start) & (t <= bout.end)].max() < 1e-6
        acceleration = np.gradient(np.gradient(down, 1 / RATE), 1 / RATE)
        assert np.abs(acceleration).max() <= standing.SQUAT_PEAK_ACCELERATION * 1.02
        depths.append(down.max())
    assert depths[0] > 0.17 > depths[1] > 0.02
