"""Gait figures: of feet that move as laid down here, of the project's own gait, of what is no walk."""

import dataclasses

import numpy as np
import pytest
from motion_samples import squat_bvh, sway_qpos, write_csv

from beyondmimic_data import rotations
from beyondmimic_data.config import quick
from beyondmimic_data.motions.clip import Clip, clip_from_qpos
from beyondmimic_data.motions.footsteps import plan_footsteps
from beyondmimic_data.motions.gait import (
    SYNTHESISED_SPEEDS,
    compare_gaits,
    measure_gait,
    synthesised_walk,
)
from beyondmimic_data.motions.plausible import FEET
from beyondmimic_data.motions.robot_body import robot_body

RATE = 50.0


def laid_down(
    *,
    length: float = 0.5,
    step: int = 25,
    swing: int = 20,
    rise: float = 0.06,
    steps: int = 8,
    heading: float = 0.7,
) -> Clip:
    """Return a clip whose feet step as said, in m and frames; its joints do not follow them.

    A foot swings at constant speed along the way and rises as the root of a sine.
    """
    frames = np.arange(steps * step + 1)
    clip = clip_from_qpos("laid_down", sway_qpos(len(frames), RATE), RATE, RATE)
    turn = rotations.from_yaw(np.float64(heading))
    position, quat = clip.body_pos_w.copy(), clip.body_quat_w.copy()
    quat[:] = turn
    position[:, 0] = np.stack([length * frames / step, 0 * frames, 0 * frames + 0.75], -1)
    for side in range(2):
        x, z = np.zeros(len(frames)), np.zeros(len(frames))
        for k in range(side, steps, 2):
            # Step k lands at the end of its step time, one step length ahead of the other foot.
            u = np.clip((frames - (k + 1) * step + swing) / swing, 0, 1)
            x += (length if k == 0 else 2 * length) * u
            z += rise * np.sqrt(np.clip(np.sin(np.pi * u), 0, 1))
        offset = np.full(len(frames), 0.1 if side == 0 else -0.1)
        position[:, FEET[side]] = np.stack([x, offset, z + robot_body().ankle_height], -1)
    moving = np.array([0, *FEET])
    position[:, moving] = rotations.rotate(turn, position[:, moving].astype(float))
    return dataclasses.replace(clip, body_pos_w=position, body_quat_w=quat)


@pytest.mark.parametrize(("length", "step", "swing", "rise"), [(0.5, 25, 20, 0.06), (0.3, 30, 20, 0.03)])
def test_steps_that_were_laid_down_are_measured(length: float, step: int, swing: int, rise: float) -> None:
    figures = measure_gait(laid_down(length=length, step=step, swing=swing, rise=rise))
    assert figures is not None
    # Of eight landings the last is at the very end, where nothing shows that the foot stays.
    assert figures.steps == 6
    assert figures.step_length_m == pytest.approx(length, abs=1e-4)
    assert figures.step_time_s == pytest.approx(step / RATE)
    assert figures.speed_m_s == pytest.approx(length * RATE / step, abs=1e-4)
    assert figures.double_support_share == pytest.approx((step - swing) / step)
    assert figures.clearance_m == pytest.approx(rise, abs=1e-4)
    assert figures.stance_skate_m_s == pytest.approx(0.0, abs=1e-3)


def test_the_projects_gait_steps_as_planned() -> None:
    commands = np.zeros((401, 3))
    commands[65:-100, 0] = 0.7
    plan = plan_footsteps(commands, RATE)
    steady = plan.steps[2:-3]
    figures = measure_gait(synthesised_walk(0.7, RATE))
    assert figures is not None
    assert figures.steps >= len(steady)
    length = np.mean([step.after[0] - step.stance[0] for step in steady])
    assert figures.step_length_m == pytest.approx(length, rel=0.03)
    assert figures.speed_m_s == pytest.approx(0.7, rel=0.03)
    assert figures.step_time_s == pytest.approx(
        np.mean([step.land - step.start for step in steady]), rel=0.03
    )
    assert 0.04 < figures.clearance_m < 0.07


def test_what_is_no_steady_walk_has_no_figures() -> None:
    standing = clip_from_qpos("sway", sway_qpos(200, RATE), RATE, RATE)
    assert measure_gait(standing) is None
    running = laid_down(step=20, swing=24)
    assert measure_gait(running) is None
    backwards = laid_down(length=-0.4)
    assert measure_gait(backwards) is None
    hurrying = laid_down(steps=2)
    assert measure_gait(hurrying) is None


def test_a_row_for_each_clip_and_for_the_projects_gait(tmp_path) -> None:
    write_csv(tmp_path / "sway.csv", sway_qpos())
    (tmp_path / "squat.bvh").write_text(squat_bvh(seconds=1.0))
    (tmp_path / "broken.bvh").write_text("HIERARCHY")
    rows = compare_gaits([tmp_path], quick(), fps=60.0)
    assert [row["clip"] for row in rows[:3]] == ["broken", "squat", "sway"]
    assert "broken.bvh" in rows[0]["problem"]
    assert [row["problem"] for row in rows[1:3]] == ["no steady walking steps"] * 2
    own = rows[3:]
    assert [row["speed_m_s"] for row in own] == pytest.approx(SYNTHESISED_SPEEDS, rel=0.03)
    assert all(not row["problem"] and row["steps"] >= 4 for row in own)
