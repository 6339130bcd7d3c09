"""Edits: mirrored, cut, looped and chained motions whose outcome is known."""

from pathlib import Path

import numpy as np
import pytest
from motion_samples import sway_qpos, write_csv

from beyondmimic_data import rotations
from beyondmimic_data.config import quick
from beyondmimic_data.errors import MotionError
from beyondmimic_data.motions import kinematics
from beyondmimic_data.motions.check import check_paths, clips_of
from beyondmimic_data.motions.clip import Clip
from beyondmimic_data.motions.edits import Part, join, mirrored
from beyondmimic_data.motions.made_clip import make_clip
from beyondmimic_data.motions.plausible import sole_points
from beyondmimic_data.motions.walking import walk_qpos
from beyondmimic_data.robots import g1, symmetry

RATE = 50.0
LEFT_ELBOW = 7 + g1.JOINT_NAMES.index("left_elbow_joint")
RIGHT_ELBOW = 7 + g1.JOINT_NAMES.index("right_elbow_joint")


def wild_qpos(frames: int = 20) -> np.ndarray:
    """Return (T, 36) of poses that are nothing in particular."""
    rng = np.random.default_rng(0)
    qpos = np.tile(g1.default_qpos(), (frames, 1))
    qpos[:, :3] = rng.normal(0, 1, (frames, 3))
    qpos[:, 3:7] = rotations.normalize(rng.normal(0, 1, (frames, 4)))
    qpos[:, 7:] += rng.normal(0, 0.5, (frames, 29))
    return qpos


def circling_qpos(cycles: float, period: int = 50) -> np.ndarray:
    """Return (T, 36) that turns by 0.4 rad and goes on by about 0.5 m in each period, arms swinging."""
    time = np.arange(round(cycles * period) + 1) / period
    qpos = np.tile(g1.default_qpos(), (len(time), 1))
    heading = 0.4 * time
    radius = 0.5 / 0.4
    qpos[:, 0], qpos[:, 1] = radius * np.sin(heading), radius * (1 - np.cos(heading))
    qpos[:, 3:7] = rotations.from_yaw(heading)
    qpos[:, 2] -= sole_points(qpos[:1])[..., 2].min()
    qpos[:, LEFT_ELBOW] += 0.5 * np.sin(2 * np.pi * time + 1)
    return qpos


def walk(speed: float = 0.6, seconds: float = 6.0) -> np.ndarray:
    """Return (T, 36) of the synthesised gait straight ahead."""
    commands = np.zeros((round(seconds * RATE) + 1, 3))
    commands[round(1.3 * RATE) : round(-2.0 * RATE), 0] = speed
    return walk_qpos(commands, RATE)


def made(folder: Path, name: str) -> Clip:
    clips, _ = clips_of([folder], fps=RATE)
    return make_clip(next(clip for clip in clips if clip.name == name), quick())


def put(folder: Path, tables: str, **motions: np.ndarray) -> Path:
    folder.mkdir(exist_ok=True)
    for name, qpos in motions.items():
        write_csv(folder / f"{name}.csv", qpos)
    (folder / "motions.toml").write_text(f'[[files]]\nmatch = "*.csv"\nfps = 50\nquat = "xyzw"\n{tables}')
    return folder


def test_mirror_twice_is_the_motion() -> None:
    qpos = wild_qpos()
    assert np.array_equal(mirrored(mirrored(qpos)), qpos)
    assert np.abs(mirrored(qpos) - qpos).max() > 0.1


def test_mirrored_kinematics_are_the_reflection() -> None:
    qpos = wild_qpos()
    positions, quats = kinematics.forward(qpos)
    others, other_quats = kinematics.forward(mirrored(qpos))
    swap = symmetry.counterparts(g1.BODY_NAMES)
    assert np.abs(others - positions[:, swap] * [1, -1, 1]).max() < 1e-3
    for i, axis in enumerate(np.eye(3)):
        # A reflected frame is right-handed again with its own y axis turned back.
        expected = rotations.rotate(quats[:, swap], axis) * [1, -1, 1] * (-1 if i == 1 else 1)
        assert np.abs(rotations.rotate(other_quats, axis) - expected).max() < 1e-2


def test_a_loop_of_an_exact_cycle_is_the_longer_motion() -> None:
    long = circling_qpos(5.5)
    cycle = Part.of(long, RATE).cut(25, 75)
    looped, gaps = join([cycle] * 4, RATE, 0.3)
    assert len(looped) == 201
    assert np.abs(looped - long[25:226]).max() < 1e-6
    assert len(gaps) == 3
    assert all(gap.joint_rad < 1e-9 and gap.problem is None for gap in gaps)


def test_a_blend_meets_in_the_middle_and_leaves_the_rest_alone() -> None:
    before, after = sway_qpos(60), sway_qpos(60)
    for motion, elbow in ((before, 0.2), (after, 0.6)):
        motion[:, RIGHT_ELBOW] = elbow
        motion[:, LEFT_ELBOW] = 0.5
    joined, _ = join([Part.of(before, RATE), Part.of(after, RATE)], RATE, 0.4)
    assert len(joined) == 119
    elbow = joined[:, RIGHT_ELBOW]
    assert elbow[59] == pytest.approx(0.4)
    assert np.abs(elbow[:50] - 0.2).max() < 1e-9
    assert np.abs(elbow[69:] - 0.6).max() < 1e-9
    assert (np.diff(elbow) > -1e-9).all()
    # A quintic step of 0.4 rad in 0.4 s is at most 15/8 as fast as a straight one.
    assert np.abs(np.diff(elbow)).max() * RATE == pytest.approx(15 / 8, rel=0.02)
    assert np.abs(joined[:, LEFT_ELBOW] - 0.5).max() < 1e-9


def test_different_velocities_are_bridged_without_a_step() -> None:
    time = np.arange(100) / RATE
    before, after = sway_qpos(100), sway_qpos(100)
    before[:, RIGHT_ELBOW] = 0.5 + 0.3 * (time - time[-1])
    after[:, RIGHT_ELBOW] = 0.5 - 0.9 * time
    joined, _ = join([Part.of(before, RATE), Part.of(after, RATE)], RATE, 0.4)
    velocity = np.diff(joined[:, RIGHT_ELBOW]) * RATE
    assert velocity[98] == pytest.approx(-0.3, abs=0.12)
    assert np.abs(np.diff(velocity)).max() < 0.24


def test_a_standing_foot_stays_where_it_is() -> None:
    before, after = sway_qpos(60), sway_qpos(60)
    knees = [
        7 + g1.JOINT_NAMES.index(f"{side}_{joint}_joint")
        for side in ("left", "right")
        for joint in ("hip_pitch", "knee", "ankle_pitch")
    ]
    after[:, knees] += np.tile([-0.15, 0.3, -0.15], 2)
    after[:, 2] -= sole_points(after[:1])[..., 2].min()
    after[:, 3:7] = rotations.from_yaw(np.full(60, -2.0))
    after[:, :2] += [3.0, -1.0]
    joined, gaps = join([Part.of(before, RATE), Part.of(after, RATE)], RATE, 0.4)
    soles = sole_points(joined)
    assert np.abs(soles - soles[:1]).max() < 2e-3
    assert gaps[0].joint_rad == pytest.approx(0.3)
    assert np.abs(rotations.yaw(joined[:, 3:7]) - 0.7).max() < 1e-6


def test_a_looped_walk_goes_on_without_slipping(tmp_path: Path) -> None:
    qpos = walk()
    folder = put(
        tmp_path / "m",
        '[[clips]]\nname = "on"\nfrom = "walk.csv"\nstart = 2.2\nend = 3.24\nloop = 4\n',
        walk=qpos,
    )
    reports = {report["clip"]: report for report in check_paths([folder], quick())}
    # The gait repeats every second: these ends differ a little, and are blended.
    assert reports["on"]["accepted"], reports["on"]["reason"]
    figures, source = reports["on"]["metrics"], reports["walk"]["metrics"]
    assert figures["duration_s"] == pytest.approx(4 * 1.04)
    assert figures["foot_skate_m_s"] < source["foot_skate_m_s"] + 0.03
    assert figures["joint_speed_max_rad_s"] < 1.5 * source["joint_speed_max_rad_s"]
    clip = made(folder, "on")
    advance = clip.body_pos_w[-1, 0, 0] - clip.body_pos_w[0, 0, 0]
    assert advance == pytest.approx(4 * 1.04 * 0.6, rel=0.05)
    assert (np.diff(clip.body_pos_w[:, 0, 0]) > 0).all()


def test_a_cut_has_the_frames_it_names(tmp_path: Path) -> None:
    folder = put(
        tmp_path / "m",
        '[[clips]]\nname = "part"\nfrom = "a.csv"\nstart = 0.5\nend = 1.2\n',
        a=sway_qpos(90, RATE),
    )
    part, whole = made(folder, "part"), made(folder, "a")
    assert part.num_frames == 36
    assert np.abs(part.qpos - whole.qpos[25:61]).max() < 1e-6
    assert part.source["edits"] == "a.csv: 0.50 to 1.20 s"
    assert part.source["sha256"] == whole.source["sha256"]


def test_pieces_follow_each_other_and_say_so(tmp_path: Path) -> None:
    tables = (
        '[[clips]]\nname = "both"\nfrom = "a.csv"\nend = 1.0\nblend = 0.2\n'
        'then = [{ from = "b.csv", start = 0.4, end = 1.0, mirror = true }]\n'
    )
    folder = put(tmp_path / "m", tables, a=sway_qpos(90, RATE), b=sway_qpos(90, RATE))
    clip = made(folder, "both")
    assert clip.duration == pytest.approx(1.6)
    assert np.abs(clip.qpos[:45] - made(folder, "a").qpos[:45]).max() < 1e-6
    other = mirrored(made(folder, "b").qpos.astype(float))[20:51]
    assert np.abs(clip.qpos[56:, 7:] - other[6:, 7:]).max() < 1e-6
    notes = next(report for report in check_paths([folder], quick()) if report["clip"] == "both")["edits"]
    assert notes[:2] == ["a.csv: 0.00 to 1.00 s", "b.csv: 0.40 to 1.00 s, mirrored"]
    assert notes[2].startswith("joined over 0.2 s")


@pytest.mark.parametrize(
    ("keys", "field", "found"),
    [
        ("start = 5", "start", "5.00 s of a.csv"),
        ("end = 2.5", "end", "2.50 s of a.csv"),
        ("loop = 2\nend = 0.2\nblend = 0.3", "blend", "0.3 s with a piece of 0.20 s"),
        ("loop = 1000", "loop", "1780 s in all"),
        ('then = [{ from = "deep.csv" }]', "then[0]", "knee_joint 1.00 rad apart"),
        ('then = [{ from = "deep.csv" }, { from = "a.csv", start = 9 }]', "start", "9.00 s of a.csv"),
    ],
)
def test_what_cannot_be_done_is_one_error_and_the_others_go_on(
    keys: str, field: str, found: str, tmp_path: Path
) -> None:
    deep = sway_qpos(90, RATE)
    deep[:, [7 + i for i, name in enumerate(g1.JOINT_NAMES) if "knee" in name]] += 1.0
    folder = put(
        tmp_path / "m", f'[[clips]]\nname = "x"\nfrom = "a.csv"\n{keys}\n', a=sway_qpos(90, RATE), deep=deep
    )
    with pytest.raises(MotionError) as caught:
        made(folder, "x")
    assert caught.value.field == f"clips 'x'.{field}"
    assert found in str(caught.value)
    assert "motions.toml" in caught.value.file
    reports = {report["clip"]: report["accepted"] for report in check_paths([folder], quick())}
    assert not reports["x"]
    assert reports["a"]
