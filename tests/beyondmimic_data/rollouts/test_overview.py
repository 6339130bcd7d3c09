"""What episodes cover and what was drawn for them, counted and drawn."""

import numpy as np
import pytest
from PIL import Image

from beyondmimic_data.config import RandomisationConfig, RolloutConfig
from beyondmimic_data.rollouts import overview


def episode(clip="a", start=0, length=100, **more):
    return {
        "skill": "s",
        "clip": clip,
        "start_frame": start,
        "length": length,
        "termination": "time_out",
        "friction": 1.0,
        "latency_ms": 10.0,
        "damping_scale": 1.0,
        "stiffness_scale": 1.0,
        "noise_std": 1.0,
        "mass_scale": [0.9] * 30,
        "joint_offset": [0.005] * 29,
        "com_offset": [0.01, 0.02, -0.02],
        "push_seconds": [1.0, 3.5],
        "push_velocity": [0.1] * 12,
    } | more


def test_coverage_counts_passes_of_each_second():
    passes = overview.coverage([episode(), episode(start=50, length=75)], {"a": 201, "b": 76}, 50)
    np.testing.assert_allclose(passes["a"], [1, 2, 0.5, 0])
    np.testing.assert_allclose(passes["b"], [0, 0])


def test_an_episode_to_its_clips_end_covers_the_last_second():
    passes = overview.coverage([episode(start=50, length=150)], {"a": 201}, 50)
    np.testing.assert_allclose(passes["a"], [0, 1, 1, 1])


def test_what_was_drawn_stands_beside_what_was_asked_for():
    found = overview.drawn([episode(), episode()], RandomisationConfig(), RolloutConfig(), 40.0)
    by_name = {one.name: one for one in found}
    assert by_name["latency, ms"].asked == (0, 40)
    assert len(by_name["link mass, factor"].values) == 60
    assert by_name["joint zero error, mrad"].values.max() == pytest.approx(5)
    assert by_name["torso COM y, mm"].asked == (-50, 50)
    assert sorted(by_name["seconds before a push"].values) == [1.0, 1.0, 2.5, 2.5]
    assert "action noise, factor" not in by_name


def test_without_a_push_the_pictures_are_drawn_all_the_same(tmp_path):
    episodes = [episode(push_seconds=[], push_velocity=[]), episode(clip="b", length=30)]
    passes = overview.coverage(episodes, {"a": 201, "b": 51}, 50)
    overview.plot_overview(episodes, passes, 50, "clip", tmp_path / "overview.png")
    drawn = overview.drawn(episodes[:1], RandomisationConfig(), RolloutConfig(), 40.0)
    overview.plot_drawn(drawn, tmp_path / "drawn.png")
    for name in ("overview.png", "drawn.png"):
        assert np.asarray(Image.open(tmp_path / name).convert("L")).std() > 5
