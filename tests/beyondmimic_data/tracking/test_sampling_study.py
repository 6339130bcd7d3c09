"""The study of start sampling at toy size."""

import dataclasses

import numpy as np

from beyondmimic_data.config import get_preset
from beyondmimic_data.motions.clip import clip_from_qpos
from beyondmimic_data.robots import g1
from beyondmimic_data.tracking import sampling_study
from beyondmimic_data.tracking.policy import TrackingPolicy
from beyondmimic_data.tracking.shipped import FOLDER, FOUNDATION


def standing(seconds: float):
    qpos = np.tile(g1.default_qpos(), (round(50 * seconds) + 1, 1))
    qpos[:, 2] = 0.785
    return clip_from_qpos("stand", qpos, 50, 50, {"file": "made here"})


def test_the_second_that_fails_is_named():
    """The reference leaps out of reach in its third second: starts before it fail, those after do not."""
    clip = standing(5.0)
    qpos = clip.qpos.copy()
    qpos[125:135, 2] += 0.5
    leap = clip_from_qpos("leap", qpos, 50, 50, {"file": "made here"})
    preset = get_preset("quick")
    preset = dataclasses.replace(
        preset, training=dataclasses.replace(preset.training, push=False), task=preset.task.without_noise()
    )
    failed, lasted = sampling_study.failures_by_second(
        TrackingPolicy.load(FOLDER / FOUNDATION), leap, preset, 1
    )
    assert failed[:2].tolist() == [1.0, 1.0]
    assert failed[3:].max() < 0.2
    assert lasted[1] < lasted[0] < 1.0


def test_an_interrupted_study_goes_on_where_it_was(tmp_path, monkeypatch):
    base = get_preset("test")
    preset = dataclasses.replace(base, training=dataclasses.replace(base.training, num_envs=16))
    first = sampling_study.study(standing(2.0), preset, 200, [1], tmp_path, 1)
    assert set(first["ways"]) == {"uniform", "kernel 1", "kernel 3"}
    assert len(first["ways"]["uniform"]["failure_rate"]) == 2
    monkeypatch.setattr(sampling_study, "Trainer", None)
    lines: list[str] = []
    assert sampling_study.study(standing(2.0), preset, 200, [1], tmp_path, 1, lines.append) == first
    assert [line.partition(":")[0] for line in lines] == [f"{way}, seed 1" for way in first["ways"]]
    assert "kernel 3" in sampling_study.table(first)
