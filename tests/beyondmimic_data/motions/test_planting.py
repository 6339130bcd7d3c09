"""Planted feet on made-up paths, and a jogger whose feet slide."""

import numpy as np
import pytest
from motion_samples import jog_keypoints

from beyondmimic_data.bench.retarget_bench import LIMITS, end_spike
from beyondmimic_data.motions.clip import clip_from_qpos
from beyondmimic_data.motions.contacts import Contacts
from beyondmimic_data.motions.planting import plant_feet
from beyondmimic_data.motions.plausible import sole_points_of
from beyondmimic_data.motions.quality import NEAR_FLOOR, measure
from beyondmimic_data.motions.retarget import retarget
from beyondmimic_data.motions.robot_body import robot_body

FPS = 50.0


def feet(x: np.ndarray, height: np.ndarray, pitch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ankles (T, 2, 3) and orientations (T, 2, 4): the left foot as given, the right far up."""
    ankles = np.zeros((len(x), 2, 3))
    ankles[:, 0, 0], ankles[:, 0, 2] = x, robot_body().ankle_height + height
    ankles[:, 1, 2] = 0.5
    quats = np.zeros((len(x), 2, 4))
    quats[..., 0] = 1.0
    quats[:, 0, 0], quats[:, 0, 2] = np.cos(pitch / 2), np.sin(pitch / 2)
    return ankles, quats


def stance(frames: int, first: int, last: int) -> Contacts:
    heel, toe = np.zeros((frames, 2), bool), np.zeros((frames, 2), bool)
    heel[first:last, 0] = toe[first:last, 0] = True
    return Contacts(heel, toe)


def test_a_foot_that_leaves_slowly_stands_on_and_then_clears_the_floor() -> None:
    frames, last = 60, 30
    # It slides off at 0.5 m/s for four frames, a hair over the floor, and then runs away and up.
    speed = np.zeros(frames)
    speed[last : last + 4] = 0.5
    speed[last + 4 :] = 2.5
    height = np.where(np.arange(frames) < last + 4, 0.002, 0.006)
    ankles, quats = feet(np.cumsum(speed) / FPS, height, np.zeros(frames))
    planted, contacts = plant_feet(ankles, quats, stance(frames, 5, last), FPS)
    assert contacts.any[5 : last + 3, 0].all()
    assert not contacts.any[last + 6 :, 0].any()
    soles = sole_points_of(planted, quats)[:, 0]
    low = soles[..., 2].min(1) < NEAR_FLOOR
    step = np.linalg.norm(np.diff(soles.mean(1)[:, :2], axis=0), axis=1) * FPS
    bearing = low[1:] & low[:-1]
    assert bearing[5:last].all()
    assert step[bearing].max() < 0.15
    assert soles[last + 10 :, :, 2].min() > NEAR_FLOOR


def test_a_fast_foot_does_not_stand() -> None:
    frames = 60
    ankles, quats = feet(np.arange(frames) * 3.0 / FPS, np.full(frames, 0.002), np.zeros(frames))
    contacts = plant_feet(ankles, quats, stance(frames, 0, 0), FPS)[1]
    assert not contacts.any.any()


def test_a_foot_that_stands_on_its_heel_has_no_toe_under_the_floor() -> None:
    frames = 40
    ankles, quats = feet(np.zeros(frames), np.zeros(frames), np.full(frames, 0.2))
    contacts = stance(frames, 10, 30)
    contacts.toe[:] = False
    planted, _ = plant_feet(ankles, quats, contacts, FPS)
    lowest = sole_points_of(planted, quats)[:, 0, :, 2].min(1)
    assert lowest.min() > -0.002
    assert lowest[12:28] == pytest.approx(0.0, abs=0.002)


def test_the_robot_jogs_on_feet_that_stay_though_the_persons_slide() -> None:
    person = jog_keypoints(slide=0.3)
    result = retarget(person, None, FPS)
    clip = clip_from_qpos("jog", result.qpos, FPS, FPS)
    figures = measure(clip)
    assert figures["foot_skate_m_s"] <= LIMITS["skate_m_s"][1]
    assert figures["deep_share"] == 0.0
    assert figures["joint_limit_violation_rad"] == 0.0
    assert figures["joint_speed_rad_s"] <= LIMITS["joint_speed_rad_s"][1]
    assert 0.3 < result.targets.contacts.any.mean() < 0.6
    assert 100 * result.figures["ankle_error_m"] <= LIMITS["ankle_error_cm"][1]
    assert end_spike(clip) <= 1.0
    speed = (clip.body_pos_w[-1, 0, 0] - clip.body_pos_w[0, 0, 0]) / clip.duration
    assert speed == pytest.approx(2.4 * result.figures["scale"], rel=0.02)
