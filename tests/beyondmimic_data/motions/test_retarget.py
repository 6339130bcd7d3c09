"""Retargeting: known answers on a made-up squat, figures on real clips where they are at hand."""

import os
from pathlib import Path

import numpy as np
import pytest
from motion_samples import SHIN, THIGH, squat_bvh

from beyondmimic_data.bench.retarget_bench import end_spike
from beyondmimic_data.config import quick
from beyondmimic_data.motions import contacts, kinematics
from beyondmimic_data.motions.bvh_motion import read_bvh
from beyondmimic_data.motions.clearance import clear_arms, closest_points
from beyondmimic_data.motions.importer import import_motion
from beyondmimic_data.motions.keypoints import resample, smooth
from beyondmimic_data.motions.motion_config import facts_of
from beyondmimic_data.motions.plausible import sole_points
from beyondmimic_data.motions.quality import check_clip, measure, self_penetration
from beyondmimic_data.motions.retarget import Retargeted, retarget
from beyondmimic_data.motions.robot_body import robot_body
from beyondmimic_data.motions.skeletons import DAZ, LAFAN1, MIXAMO, SKELETONS, Skeleton, detect
from beyondmimic_data.robots import g1

MOTIONS = Path(
    os.environ.get("BEYONDMIMIC_MOTIONS", Path(__file__).resolve().parents[3].parent / "shared" / "motions")
)

REAL_CLIPS = (
    "02_01 02_03 02_04 02_05 05_02 05_11 06_08 06_10 07_01 07_04 09_01 09_03 09_07 09_11 09_12 10_01 12_01 "
    "13_11 13_30 13_32"
)
"""Walks, runs, jumps, kicks, dances and turns of the CMU database."""


def squat(tmp_path: Path, skeleton: Skeleton, rest: str = "upright") -> Retargeted:
    path = tmp_path / f"{skeleton.name}_{rest}.bvh"
    path.write_text(squat_bvh(skeleton=skeleton, rest=rest))
    person = read_bvh(path, 50.0)
    assert person.skeleton == skeleton.name
    assert (person.rest is None) == (rest == "lying")
    return retarget(person.points, person.rest, 50.0)


def joint(result: Retargeted, name: str) -> np.ndarray:
    return result.qpos[:, 7 + g1.JOINT_NAMES.index(name)]


def test_squat_bends_the_robot_as_the_person(tmp_path: Path) -> None:
    result = squat(tmp_path, DAZ)
    body = robot_body()
    scale = (body.thigh + body.shin) / (THIGH + SHIN)
    assert result.figures["scale"] == pytest.approx(scale, rel=1e-3)
    middle = len(result.qpos) // 2
    # The person's thigh turns by 0.7 rad and the shin back by as much: knee 1.4, hip and ankle 0.7.
    for side in ("left", "right"):
        assert joint(result, f"{side}_knee_joint")[middle] == pytest.approx(1.4, abs=0.06)
        assert joint(result, f"{side}_hip_pitch_joint")[middle] == pytest.approx(-0.7, abs=0.06)
        assert joint(result, f"{side}_ankle_pitch_joint")[middle] == pytest.approx(-0.7, abs=0.06)
    drop = (THIGH + SHIN) * (1 - np.cos(0.7)) * scale
    standing = body.hips[0, 2] * -1 + body.thigh + body.shin + body.ankle_height
    assert result.qpos[middle, 2] == pytest.approx(standing - drop, abs=0.01)


def test_squatting_feet_stay_flat_and_still(tmp_path: Path) -> None:
    soles = sole_points(squat(tmp_path, DAZ).qpos)
    assert np.abs(soles[..., 2]).max() < 0.002
    assert np.abs(soles - soles[:1])[..., :2].max() < 0.002


def test_motion_keeps_within_joint_limits_and_has_no_jumps(tmp_path: Path) -> None:
    qpos = squat(tmp_path, DAZ).qpos
    table = g1.joint_table()
    assert (qpos[:, 7:] >= table.lower - 1e-9).all()
    assert (qpos[:, 7:] <= table.upper + 1e-9).all()
    acceleration = np.diff(qpos[:, 7:], 2, axis=0) * 50**2
    assert np.abs(acceleration).max() < 100.0


@pytest.mark.parametrize(("skeleton", "rest"), [(LAFAN1, "lying"), (MIXAMO, "upright"), (DAZ, "lying")])
def test_names_and_rest_pose_of_a_skeleton_do_not_matter(
    skeleton: Skeleton, rest: str, tmp_path: Path
) -> None:
    expected = squat(tmp_path, DAZ).qpos
    assert np.abs(squat(tmp_path, skeleton, rest).qpos - expected).max() < 1e-3


def test_two_retargetings_are_equal(tmp_path: Path) -> None:
    assert np.array_equal(squat(tmp_path, DAZ).qpos, squat(tmp_path, DAZ).qpos)


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=lambda s: s.name)
def test_each_skeleton_is_found_by_its_own_joints(skeleton: Skeleton) -> None:
    found = detect(skeleton.joints)
    assert found is not None
    assert found.joints == skeleton.joints
    assert detect(skeleton.joints[1:]) != skeleton


def test_calibration_pose_and_its_smear_are_dropped(tmp_path: Path) -> None:
    text = squat_bvh()
    head, motion = text.split("MOTION\n")
    lines = motion.splitlines()
    frames = np.array([line.split() for line in lines[2:]], float)
    # A pose with bent arms that is left over five frames, as conversions of the CMU data have it.
    apart = np.zeros(frames.shape[1])
    apart[9:] = 40.0
    for i, share in enumerate((1.0, 0.8, 0.6, 0.35, 0.1)):
        frames[i] += share * apart
    moving = np.random.default_rng(0).normal(0, 0.3, frames.shape).cumsum(0) * 0.05
    body = [" ".join(f"{v:.5f}" for v in row) for row in frames + moving]
    path = tmp_path / "cmu.bvh"
    path.write_text(f"{head}MOTION\n{lines[0]}\n{lines[1]}\n" + "\n".join(body) + "\n")
    person = read_bvh(path, 100.0)
    assert len(person.notes) == 1
    dropped = len(frames) - person.points.num_frames
    assert 5 <= dropped <= 8


def test_standing_points_are_held_and_others_move_least() -> None:
    time = np.arange(100)
    path = np.stack([0.002 * time, 0.01 * np.sin(time / 7)], -1)[:, None]
    still = np.zeros((100, 1), bool)
    still[30:60] = True
    correction = contacts.hold_still(path, still)
    held = (path[:, 0] + correction)[30:60]
    assert np.abs(held - held.mean(0)).max() < 1e-3
    assert np.abs(correction[[0, -1]]).max() < 0.01
    assert np.abs(np.diff(correction, 2, axis=0)).max() < 5e-3


def test_reach_meets_what_is_asked_and_fades() -> None:
    wanted = np.full((200, 1), np.nan)
    wanted[100] = 0.05
    correction = contacts.reach(wanted)
    assert correction[100, 0] == pytest.approx(0.05, rel=0.01)
    assert abs(correction[0, 0]) < 1e-4
    assert correction[100, 0] == correction.max()


def test_lift_clears_the_floor_and_leaves_fixed_frames() -> None:
    heights = 0.02 * np.cos(np.arange(120) / 9)
    fixed = np.zeros(120, bool)
    fixed[:10] = True
    lift = contacts.raise_above(heights, np.zeros(120), fixed)
    assert (heights + lift)[10:].min() > -2e-3
    assert np.abs(lift[:10]).max() < 1e-3
    assert (lift >= 0).all()


def test_smoothing_keeps_straight_lines_to_their_ends() -> None:
    line = np.linspace(3.0, 8.0, 40)[:, None]
    assert np.allclose(smooth(line, 3.0), line)


def test_resampling_keeps_a_slow_wave() -> None:
    time = np.arange(121) / 120
    values = np.sin(2 * np.pi * time)
    assert np.allclose(resample(values, 120.0, 50.0), np.sin(2 * np.pi * np.arange(51) / 50), atol=1e-5)


def test_closest_points_of_segments() -> None:
    def points(*rows: tuple[float, float, float]) -> np.ndarray:
        return np.array(rows)

    s, t = closest_points(
        points((0, 0, 0), (0, 0, 0)),
        points((2, 0, 0), (1, 0, 0)),
        points((1, -1, 1), (3, 5, 0)),
        points((1, 1, 1), (3, 2, 0)),
    )
    assert s == pytest.approx([0.5, 1.0])
    assert t == pytest.approx([0.5, 1.0])


def test_arms_leave_the_body_and_free_arms_stay() -> None:
    frames = 40
    elbows = np.tile(np.array([[0.03, 0.2, 1.0], [0.0, -0.4, 1.0]]), (frames, 1, 1))
    wrists = np.tile(np.array([[0.03, 0.06, 0.87], [0.0, -0.4, 0.82]]), (frames, 1, 1))
    trunk = (np.tile([0.0, 0.0, 0.7], (frames, 1)), np.tile([0.0, 0.0, 1.1], (frames, 1)), 0.1)
    new_elbows, new_wrists = clear_arms(elbows, wrists, [trunk])
    forearm = new_wrists[:, 0] - new_elbows[:, 0]
    tip = new_wrists[:, 0] + 0.15 * forearm / np.linalg.norm(forearm, axis=-1, keepdims=True)
    along = np.linspace(0, 1, 30)[:, None, None]
    arm = new_elbows[:, 0] + along * (tip - new_elbows[:, 0])
    assert np.linalg.norm(arm[..., :2], axis=-1).min() > 0.1 + 0.03
    assert np.linalg.norm(new_wrists - wrists, axis=-1).max() < 0.15
    assert np.array_equal(new_wrists[:, 1], wrists[:, 1])
    assert np.array_equal(new_elbows[:, 1], elbows[:, 1])


def test_self_penetration_of_the_default_pose_is_none_and_of_crossed_legs_is() -> None:
    pose = g1.default_qpos()
    crossed = pose.copy()
    crossed[7 + g1.JOINT_NAMES.index("left_hip_roll_joint")] = -0.5
    depth = self_penetration(np.stack([pose, crossed]))
    assert depth[0] < 1e-3
    assert depth[1] > 0.01


@pytest.mark.skipif(not MOTIONS.is_dir(), reason=f"no motion folder at {MOTIONS}; set BEYONDMIMIC_MOTIONS")
@pytest.mark.parametrize("name", REAL_CLIPS.split())
def test_real_clips_reach_the_figures_that_training_needs(name: str) -> None:
    path = MOTIONS / "human" / "cmu_bvh" / f"{name}.bvh"
    preset = quick()
    clip = import_motion(path, name=name, facts=facts_of(path), preset=preset)
    report = check_clip(clip, preset.quality)
    figures = measure(clip)
    assert report.accepted, report.reason
    assert float(clip.source["ankle_error_m"]) < 0.001
    assert figures["deep_share"] <= 0.01
    assert figures["joint_limit_violation_rad"] == 0.0
    assert figures["foot_skate_m_s"] <= 0.06
    assert figures["joint_speed_max_rad_s"] < 18.0
    assert end_spike(clip) <= 1.0
    assert "calibration" in clip.source["repairs"]
    positions, _ = kinematics.forward(clip.qpos)
    assert np.abs(positions - clip.body_pos_w).max() < 1e-5
