"""The synthesised clips: at rest at both ends, in balance, within limits, following their commands."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from beyondmimic_data import rotations
from beyondmimic_data.config import SYNTH_SKILLS, QualityConfig, SynthConfig
from beyondmimic_data.errors import ConfigError, MotionError
from beyondmimic_data.motions import balance, standing, synth
from beyondmimic_data.motions.clip import Clip
from beyondmimic_data.motions.quality import check_clip, self_penetration
from beyondmimic_data.motions.synth_metrics import synth_metrics
from beyondmimic_data.motions.walk_commands import path_of, walk_commands
from beyondmimic_data.robots import g1

WALK = SynthConfig(walk_seconds=12.0, seed=8)


@pytest.fixture(scope="module")
def walk() -> Clip:
    return synth.synthesise("walk", WALK, 50.0)


@pytest.fixture(scope="module")
def clips(walk: Clip) -> dict[str, Clip]:
    config = SynthConfig(seconds=10.0, locomotion_seconds=12.0)
    others = (skill for skill in SYNTH_SKILLS if skill != "walk")
    return {"walk": walk, **{skill: synth.synthesise(skill, config, 50.0) for skill in others}}


@pytest.mark.parametrize("skill", SYNTH_SKILLS)
def test_clip_starts_and_ends_at_rest_near_the_default_pose(clips: dict[str, Clip], skill: str) -> None:
    clip = clips[skill]
    for frames in (slice(0, 8), slice(-8, None)):
        assert np.abs(clip.joint_vel[frames]).max() < 0.05
        assert np.abs(clip.body_lin_vel_w[frames]).max() < 0.02
        assert np.abs(clip.joint_pos[frames] - g1.joint_table().default_pos).max() < 0.12
        assert clip.body_pos_w[frames, 0, 2] == pytest.approx(0.75, abs=0.015)


@pytest.mark.parametrize(
    ("skill", "zmp_margin", "joint_speed", "limit_margin"),
    [("stand", 0.015, 6.0, 0.005), ("squat", 0.015, 6.0, 0.01), ("walk", 0.0, 12.0, -1e-4)],
)
def test_clip_is_one_the_robot_could_do(
    clips: dict[str, Clip], skill: str, zmp_margin: float, joint_speed: float, limit_margin: float
) -> None:
    clip = clips[skill]
    found = synth_metrics(clip)
    assert found.zmp_inside_share >= 0.98
    assert found.zmp_margin >= zmp_margin
    assert found.slip_peak < 0.03
    assert found.limit_margin >= limit_margin
    assert found.joint_acceleration < 500
    quality = check_clip(clip, QualityConfig())
    assert quality.accepted
    assert quality.metrics["foot_skate_m_s"] < 0.005
    assert quality.metrics["penetration_max_m"] < 0.001
    assert quality.metrics["contact_share"] == 1
    assert 0.1 < quality.metrics["joint_speed_max_rad_s"] < joint_speed
    assert self_penetration(clip.qpos).max() == 0


@pytest.mark.parametrize("skill", ["stand", "squat"])
def test_stand_and_squat_step_on_the_spot(clips: dict[str, Clip], skill: str) -> None:
    feet = balance.feet_of(clips[skill].body_pos_w)
    lifted = feet[..., 2] > 0.06
    assert (lifted.mean(axis=0) > 0.03).all()
    assert not lifted.all(axis=1).any()
    assert np.abs(feet - feet[0])[..., :2].max() <= standing.PLACEMENT[:2].max() + 1e-3
    np.testing.assert_allclose(feet[-1], feet[0], atol=1e-3)
    assert feet[0, :, 2] == pytest.approx(0.035, abs=1e-4)


def test_squat_goes_down_on_both_feet(clips: dict[str, Clip]) -> None:
    clip = clips["squat"]
    down = clip.body_pos_w[:, 0, 2] < 0.70
    assert down.mean() > 0.1
    assert np.abs(balance.feet_of(clip.body_pos_w)[down][..., 2] - 0.035).max() < 1e-3


def test_stand_moves_its_weight_and_squat_goes_down(clips: dict[str, Clip]) -> None:
    pelvis = clips["stand"].body_pos_w[:, 0]
    assert np.ptp(pelvis[:, 1]) > 0.06
    height = clips["squat"].body_pos_w[:, 0, 2]
    assert 0.5 < height.min() < 0.58
    assert height.max() == pytest.approx(0.757, abs=0.005)


def test_walk_follows_its_commands(walk: Clip) -> None:
    commands = walk_commands(WALK, 50.0)
    path = path_of(commands, 50.0)
    assert len(path) == walk.num_frames
    assert np.linalg.norm(path[-1, :2]) > 1.0
    pelvis, heading = walk.body_pos_w[:, 0, :2], np.unwrap(rotations.yaw(walk.body_quat_w[:, 0]))
    assert np.linalg.norm(pelvis - path[:, :2], axis=-1).max() < 0.12
    assert np.linalg.norm(pelvis[-1] - path[-1, :2]) < 0.03
    assert np.abs(heading - path[:, 2]).max() < 0.2
    assert heading[-1] == pytest.approx(path[-1, 2], abs=0.03)


def test_walk_takes_turns_with_its_feet(walk: Clip) -> None:
    height = balance.feet_of(walk.body_pos_w)[..., 2]
    lifted = height > 0.06
    assert not lifted.all(axis=1).any()
    assert (lifted.mean(axis=0) > 0.1).all()


def test_arms_swing_against_the_legs(walk: Clip) -> None:
    feet = balance.feet_of(walk.body_pos_w) - walk.body_pos_w[:, :1]
    stride = rotations.rotate_inverse(rotations.yaw_only(walk.body_quat_w[:, 0]), feet[:, 0] - feet[:, 1])
    left, right = (
        walk.joint_pos[:, g1.JOINT_NAMES.index(f"{s}_shoulder_pitch_joint")] for s in ("left", "right")
    )
    # A positive shoulder pitch takes the arm back.
    assert np.corrcoef(stride[:, 0], left - right)[0, 1] > 0.9


def test_equal_configurations_give_equal_clips() -> None:
    config = SynthConfig(seconds=2.0)
    for skill in ("stand", "squat"):
        first = synth.synthesise(skill, config, 50.0)
        assert synth.synthesise(skill, config, 50.0).version == first.version
        assert synth.synthesise(skill, dataclasses.replace(config, seed=8), 50.0).version != first.version
    config = SynthConfig(walk_seconds=6.5)
    first = synth.synthesise("walk", config, 25.0)
    assert synth.synthesise("walk", config, 25.0).version == first.version


def test_locomotion_walks_differ_and_together_are_ten_minutes_by_default() -> None:
    config = SynthConfig()
    assert config.locomotion_clips * config.locomotion_seconds >= 600
    short = dataclasses.replace(config, locomotion_seconds=6.5, locomotion_clips=3)
    clips = synth.synthesise_skill("locomotion", short, 50.0)
    assert len({clip.version for clip in clips}) == 3


def test_clip_has_the_rate_and_length_asked_for() -> None:
    clip = synth.synthesise("squat", SynthConfig(seconds=3.0), 25.0)
    assert (clip.fps, clip.num_frames, clip.name) == (25.0, 76, "synth__squat")
    assert clip.source["importer"] == "synth"


@pytest.mark.parametrize(
    ("skill", "config", "field"),
    [
        ("hop", SynthConfig(), "synth.skills"),
        ("stand", SynthConfig(seconds=0.5), "synth.seconds"),
        ("squat", SynthConfig(seconds=float("nan")), "synth.seconds"),
        ("stand", SynthConfig(seconds=float("inf")), "synth.seconds"),
        ("walk", SynthConfig(walk_seconds=4.0), "synth.walk_seconds"),
        ("locomotion", SynthConfig(locomotion_seconds=4.0), "synth.locomotion_seconds"),
        ("locomotion", SynthConfig(locomotion_clips=0), "synth.locomotion_clips"),
        ("walk", SynthConfig(forward=(0.2, 0.8)), "synth.forward"),
        ("walk", SynthConfig(sideways=(-3.0, 3.0)), "synth.sideways"),
    ],
)
def test_unusable_configuration_is_refused(skill: str, config: SynthConfig, field: str) -> None:
    with pytest.raises(ConfigError) as error:
        synth.synthesise_skill(skill, config, 50.0)
    assert error.value.field == field


def test_skills_are_written_as_clips_once(tmp_path: Path) -> None:
    config = SynthConfig(
        skills=("stand", "locomotion"), seconds=2.0, locomotion_clips=2, locomotion_seconds=6.0
    )
    files = synth.write_skills(config, 50.0, tmp_path)
    names = ["stand.npz", "locomotion/1.npz", "locomotion/2.npz"]
    assert [path.relative_to(tmp_path).as_posix() for path in files] == names
    made = [
        *synth.synthesise_skill("stand", config, 50.0),
        *synth.synthesise_skill("locomotion", config, 50.0),
    ]
    assert [Clip.load(path).version for path in files] == [clip.version for clip in made]
    for path in files[:2]:
        path.unlink()
    with pytest.raises(MotionError, match=r"2\.npz: file: found one that exists"):
        synth.write_skills(config, 50.0, tmp_path)
    assert not files[0].exists()
