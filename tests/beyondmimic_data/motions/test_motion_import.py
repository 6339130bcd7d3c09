"""CSV, NPZ and quality: orders that are found, orders that are proven, repairs, limits."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from motion_samples import sway_qpos, tracking_arrays, write_csv

from beyondmimic_data import rotations
from beyondmimic_data.config import QualityConfig, quick
from beyondmimic_data.errors import MotionError
from beyondmimic_data.motions.clip import Clip, clip_from_qpos
from beyondmimic_data.motions.csv_motion import read_csv
from beyondmimic_data.motions.importer import import_motion
from beyondmimic_data.motions.motion_config import MotionFacts, facts_of
from beyondmimic_data.motions.npz_motion import breadth_first, read_npz
from beyondmimic_data.motions.plausible import sole_points
from beyondmimic_data.motions.quality import check_clip, measure, skate
from beyondmimic_data.motions.repairs import ground_offset, remove_flips, repair
from beyondmimic_data.robots import g1

MOTIONS = Path(
    os.environ.get("BEYONDMIMIC_MOTIONS", Path(__file__).resolve().parents[3].parent / "shared" / "motions")
)
needs_motions = pytest.mark.skipif(
    not MOTIONS.is_dir(), reason=f"no motion folder at {MOTIONS}; set BEYONDMIMIC_MOTIONS"
)


@pytest.mark.parametrize("quat", ["wxyz", "xyzw"])
@pytest.mark.parametrize("given", [True, False])
def test_csv_comes_back_in_either_quaternion_order(quat: str, given: bool, tmp_path: Path) -> None:
    expected = sway_qpos()
    path = write_csv(tmp_path / "sway.csv", expected, quat)
    qpos, fps, notes = read_csv(path, 60.0, quat if given else None)
    assert np.abs(qpos - expected).max() < 1e-6
    assert fps == 60.0
    assert (notes == ()) == given
    if not given:
        assert quat in notes[0]


def test_quaternion_order_that_posture_leaves_open_is_asked_for(tmp_path: Path) -> None:
    # Heading along x, (0, 0, 0, 1) stands as xyzw, and facing backwards as wxyz.
    qpos = sway_qpos()
    qpos[:, 3:7] = [1.0, 0.0, 0.0, 0.0]
    path = write_csv(tmp_path / "sway.csv", qpos, "xyzw")
    with pytest.raises(MotionError, match="root quaternion order: found both") as caught:
        read_csv(path, 60.0, None)
    assert "--quat" in str(caught.value)
    assert np.abs(read_csv(path, 60.0, "xyzw")[0] - qpos).max() < 1e-6


def test_imported_csv_is_resampled_to_the_control_rate(tmp_path: Path) -> None:
    qpos = sway_qpos(frames=121)
    facts = MotionFacts(fps=60.0, quat="xyzw")
    clip = import_motion(write_csv(tmp_path / "a.csv", qpos), name="folder__a", facts=facts, preset=quick())
    assert (clip.name, clip.fps, clip.num_frames) == ("folder__a", 50.0, 101)
    column = g1.JOINT_NAMES.index("left_shoulder_pitch_joint")
    time = np.arange(101) / 50
    expected = g1.joint_table().default_pos[column] + 0.4 * np.sin(2 * np.pi * time)
    assert np.abs(clip.joint_pos[:, column] - expected).max() < 2e-3
    velocity = 0.4 * 2 * np.pi * np.cos(2 * np.pi * time)
    assert np.abs(clip.joint_vel[:, column] - velocity)[1:-1].max() < 0.05
    assert clip.source["file"] == "a.csv"
    assert len(clip.source["sha256"]) == 64


def test_equal_bytes_give_an_equal_clip(tmp_path: Path) -> None:
    facts = MotionFacts(fps=60.0, quat="xyzw")
    path = write_csv(tmp_path / "a.csv", sway_qpos())
    versions = {import_motion(path, name="a", facts=facts, preset=quick()).version for _ in range(2)}
    assert len(versions) == 1


def test_breadth_first_order_is_isaacs() -> None:
    bodies, joints = breadth_first()
    assert bodies[:7] == (
        "pelvis",
        "left_hip_pitch_link",
        "right_hip_pitch_link",
        "waist_yaw_link",
        "left_hip_roll_link",
        "right_hip_roll_link",
        "waist_roll_link",
    )
    assert joints[:3] == ("left_hip_pitch_joint", "right_hip_pitch_joint", "waist_yaw_joint")
    assert sorted(bodies) == sorted(g1.BODY_NAMES)
    assert sorted(joints) == sorted(g1.JOINT_NAMES)


@pytest.mark.parametrize("kind", ["depth-first", "breadth-first"])
@pytest.mark.parametrize("quat", ["wxyz", "xyzw"])
def test_order_of_an_npz_is_proven_and_its_velocities_are_left_aside(
    kind: str, quat: str, tmp_path: Path
) -> None:
    expected = sway_qpos()
    orders = {"depth-first": (g1.BODY_NAMES, g1.JOINT_NAMES), "breadth-first": breadth_first()}
    arrays = tracking_arrays(expected, *orders[kind])
    if quat == "xyzw":
        arrays["body_quat_w"] = arrays["body_quat_w"][..., [1, 2, 3, 0]]
    path = tmp_path / "motion.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    qpos, fps, notes = read_npz(path)
    assert fps == 60.0
    assert np.abs(qpos - expected).max() < 1e-5
    assert kind in notes[0]
    assert quat in notes[0]
    clip = import_motion(path, name="m", facts=MotionFacts(), preset=quick())
    assert np.abs(clip.joint_vel).max() < 3.0  # the file says 7


def test_two_millimetres_disprove_an_order(tmp_path: Path) -> None:
    arrays = tracking_arrays(sway_qpos(), g1.BODY_NAMES, g1.JOINT_NAMES)
    arrays["body_pos_w"][:, 20, 1] += 0.002
    np.savez(tmp_path / "m.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(MotionError, match="order of joints and bodies"):
        read_npz(tmp_path / "m.npz")


def test_saved_clip_is_a_motion_file_too(tmp_path: Path) -> None:
    clip = clip_from_qpos("synth__sway", sway_qpos(), 60.0, 50.0)
    clip.save(tmp_path / "sway.npz")
    again = import_motion(tmp_path / "sway.npz", name="synth__sway", facts=MotionFacts(), preset=quick())
    assert isinstance(again, Clip)
    assert np.abs(again.joint_pos - clip.joint_pos).max() < 1e-6
    assert np.abs(again.body_pos_w - clip.body_pos_w).max() < 1e-5
    assert np.abs(again.joint_vel - clip.joint_vel).max() < 1e-3


def test_flips_are_bridged_and_fast_moves_stay() -> None:
    qpos = sway_qpos(frames=120)
    knee = 7 + g1.JOINT_NAMES.index("left_knee_joint")
    hip = 7 + g1.JOINT_NAMES.index("right_hip_pitch_joint")
    broken = qpos.copy()
    broken[40:43, knee] += 1.0
    broken[70, knee] -= 0.9
    broken[90:, hip] += 0.8  # goes and does not come back: no flip
    mended, bridged = remove_flips(broken, 60.0)
    assert bridged == {"left_knee_joint": 4}
    assert np.abs(mended[:, knee] - qpos[:, knee]).max() < 0.02
    assert np.array_equal(mended[:, hip], broken[:, hip])


@pytest.mark.parametrize("height", [0.07, -0.04])
def test_motion_is_put_onto_the_floor(height: float) -> None:
    qpos = sway_qpos()
    qpos[:, 2] += height
    assert ground_offset(qpos, 60.0) == pytest.approx(height, abs=1e-3)
    mended, notes = repair(qpos, 60.0)
    assert np.abs(sole_points(mended)[..., 2].min((1, 2))).max() < 1e-3
    assert ("lowered by 7.0 cm" if height > 0 else "raised by 4.0 cm") in notes[0]


def test_sound_motion_is_left_alone() -> None:
    qpos = sway_qpos()
    mended, notes = repair(qpos, 60.0)
    assert notes == ()
    assert np.array_equal(mended, qpos)


def clip_of(qpos: np.ndarray) -> Clip:
    return clip_from_qpos("clip", qpos, 50.0, 50.0)


def test_skate_of_a_sliding_foot_is_its_speed_and_of_a_swing_is_none() -> None:
    frames = 50
    soles = np.zeros((frames, 2, 4, 3))
    soles[:, 0, :, 0] = 0.3 * np.arange(frames)[:, None] / 50.0
    soles[:, 1, :, 0] = 2.0 * np.arange(frames)[:, None] / 50.0
    soles[:, 1, :, 2] = 0.012  # swings low beside the other
    assert skate(soles, 50.0) == pytest.approx(0.3)


def slide(qpos: np.ndarray) -> np.ndarray:
    qpos[:, 0] += np.arange(len(qpos)) / 50.0
    return qpos


def shift(height: float, qpos: np.ndarray) -> np.ndarray:
    qpos[:, 2] += height
    return qpos


def bend_too_far(qpos: np.ndarray) -> np.ndarray:
    qpos[:, 7 + g1.JOINT_NAMES.index("left_elbow_joint")] = 2.5
    return qpos


def whirl(qpos: np.ndarray) -> np.ndarray:
    qpos[:, 7 + g1.JOINT_NAMES.index("left_shoulder_yaw_joint")] = np.where(
        np.arange(len(qpos)) % 2, 0.5, -0.5
    )
    qpos[::2, 7 + g1.JOINT_NAMES.index("left_shoulder_yaw_joint")] *= 1.0 + np.arange(len(qpos[::2])) % 2
    return qpos


def teleport(qpos: np.ndarray) -> np.ndarray:
    qpos[60:, 0] += 2.0
    return qpos


@pytest.mark.parametrize(
    ("change", "metric"),
    [
        (slide, "foot_skate_m_s"),
        (lambda q: shift(0.3, q), "float_height_m"),
        (lambda q: shift(-0.1, q), "penetration_m"),
        (bend_too_far, "joint_limit_violation_rad"),
        (whirl, "joint_speed_rad_s"),
        (teleport, "base_speed_m_s"),
        (lambda q: q[:10], "duration_s"),
        (lambda q: shift(0.3, q), "contact_share"),
    ],
)
def test_each_limit_refuses_its_defect(change, metric: str) -> None:  # type: ignore[no-untyped-def]
    good = check_clip(clip_of(sway_qpos(120)), QualityConfig())
    assert good.accepted, good.reason
    assert good.reason == ""
    report = check_clip(clip_of(change(sway_qpos(120))), QualityConfig())
    assert not report.accepted
    assert metric in report.reason


def test_report_is_plain_values() -> None:
    clip = dataclasses.replace(clip_of(sway_qpos()), source={"repairs": "raised by 2.0 cm; bridged 2 frames"})
    report = check_clip(clip, QualityConfig()).to_dict()
    assert list(report) == ["clip", "accepted", "reason", "edits", "repairs", "metrics"]
    assert report["repairs"] == ["raised by 2.0 cm", "bridged 2 frames"]
    assert all(isinstance(v, float) for v in report["metrics"].values())
    assert report["metrics"] == measure(clip)


@needs_motions
def test_npz_layouts_of_both_orders_match_their_csv() -> None:
    pairs = {"depth_first_M_ShortMove12": "M_ShortMove12", "breadth_first_M_ShortMove15": "M_ShortMove15"}
    for layout, csv in pairs.items():
        qpos, fps, notes = read_npz(MOTIONS / "g1" / "npz_layouts" / f"{layout}.npz")
        path = MOTIONS / "g1" / "g1_moves_csv" / f"{csv}.csv"
        facts = facts_of(path)
        reference, reference_fps, _ = read_csv(path, facts.fps, facts.quat)
        assert fps == reference_fps
        assert layout.split("_")[0] in notes[0]
        same = min(len(qpos), len(reference))
        assert same > 300
        assert np.abs(qpos[:same, 7:] - reference[:same, 7:]).max() < 0.02


@needs_motions
def test_every_robot_csv_stands_in_the_order_its_facts_say() -> None:
    files = sorted((MOTIONS / "g1").rglob("*.csv"))
    assert len(files) > 20
    for path in files:
        facts = facts_of(path)
        assert facts.fps is not None
        qpos, _, _ = read_csv(path, facts.fps, facts.quat)
        assert rotations.rotate(qpos[:, 3:7], np.array([0.0, 0.0, 1.0]))[:, 2].mean() > 0.8
