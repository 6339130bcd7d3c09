"""The retargeting benchmark: its figures on a made-up squat, on broken files, and what it calls a spike."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from motion_samples import squat_bvh

from beyondmimic_data.bench import retarget_bench as bench
from beyondmimic_data.errors import MotionError
from beyondmimic_data.motions.clip import clip_from_qpos
from beyondmimic_data.robots import g1


@pytest.fixture(autouse=True)
def _one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "PASSES", 1)


def test_a_squat_is_within_every_limit_and_a_broken_file_says_why(tmp_path: Path) -> None:
    (tmp_path / "squat.bvh").write_text(squat_bvh(seconds=1.0))
    (tmp_path / "cut.bvh").write_text(squat_bvh(seconds=1.0)[:4000])
    (tmp_path / "robot.csv").write_text("not a BVH file: not looked at\n")
    cut, squat = bench.bench_retarget(tmp_path)
    assert (cut.clip, squat.clip) == ("cut", "squat")
    assert "cut.bvh" in cut.problem
    assert not cut.ok
    assert squat.frames == 51
    assert squat.cpu_ms_per_frame > 0
    assert squat.bare_ratio > 0
    assert squat.skate_m_s < 0.005
    assert [name for name in squat.over if name != "cpu_ms_per_frame"] == []
    document = bench.document([cut, squat])
    assert not document["ok"]
    assert document["clips"][0]["problem"] == cut.problem
    assert "not retargeted" in bench.table([cut, squat])


def test_a_figure_over_its_limit_is_marked() -> None:
    good = bench.ClipFigures("good", frames=100, skate_m_s=0.06, deep_share=0.01)
    slides = dataclasses.replace(good, clip="slides", skate_m_s=0.061)
    assert good.ok
    assert slides.over == ["skate_m_s"]
    text = bench.table([good, slides])
    assert text.count("!") == 1
    assert "1 of 2 clips" in text


@pytest.mark.parametrize("frame", [1, -2])
def test_a_spike_at_an_end_is_measured_and_one_in_the_middle_is_not(frame: int) -> None:
    qpos = np.tile(g1.default_qpos(), (60, 1))
    qpos[frame, 10] += 0.1
    clip = clip_from_qpos("spike", qpos, 50.0, 50.0)
    assert bench.end_spike(clip) == pytest.approx(2 * 0.1 * 50**2 / bench.USUAL_ACCELERATION, rel=1e-3)
    middle = np.roll(qpos, 30, axis=0)
    assert bench.end_spike(clip_from_qpos("middle", middle, 50.0, 50.0)) == pytest.approx(0, abs=1e-3)


def test_a_motion_that_shakes_throughout_has_no_spike_at_its_ends() -> None:
    qpos = np.tile(g1.default_qpos(), (60, 1))
    qpos[:, 10] += 0.1 * (-1.0) ** np.arange(60)
    assert bench.end_spike(clip_from_qpos("shake", qpos, 50.0, 50.0)) == pytest.approx(1.0, rel=1e-3)


def test_without_a_bvh_file_there_is_nothing_to_time(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(MotionError, match="BVH"):
            bench.bench_retarget(path)
