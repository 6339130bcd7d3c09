import dataclasses
import json
import math

import imageio.v3 as imageio
import numpy as np
import pytest

from beyondmimic_data.config import get_preset
from beyondmimic_data.control import closed_loop as closed_loop_module
from beyondmimic_data.control import evaluate as evaluate_module
from beyondmimic_data.control.evaluate import evaluate_closed_loop
from beyondmimic_data.control.protocols import PROTOCOLS
from beyondmimic_data.errors import MissingToolError
from beyondmimic_data.robots import g1
from beyondmimic_data.video import Scene, write_video

HZ = 50.0


def test_an_evaluation_writes_figures_report_pictures_and_video(policy_folder, tmp_path, monkeypatch) -> None:
    for name in ("walk_perturb", "joystick"):
        monkeypatch.setitem(PROTOCOLS, name, dataclasses.replace(PROTOCOLS[name], seconds=0.12))
    lines: list[str] = []
    result = evaluate_closed_loop(
        policy_folder,
        get_preset("test"),
        tmp_path,
        protocols=("stand_perturb", "walk_perturb", "joystick"),
        seeds=1,
        progress=lines.append,
    )
    figures = result["protocols"]
    # Every recorded robot of this policy wanders: there is no standing start.
    assert figures["stand_perturb"]["skipped"] == "none of the policy's recorded windows is standing"
    assert figures["walk_perturb"]["n"] == 1
    assert 0 <= figures["walk_perturb"]["wilson_low"] <= figures["walk_perturb"]["success_rate"]
    report = (tmp_path / "report.md").read_text()
    assert "stand_perturb | left out" in report
    assert "![joystick](joystick.png)" in report
    for name in ("closed_loop.json", "walk_perturb.png", "joystick.png"):
        assert (tmp_path / name).stat().st_size > 500, name
    assert any("succeed" in line for line in lines)
    if result["video"] is None:
        pytest.skip(result["video_skipped"])
    images = imageio.imread(tmp_path / "video.mp4")
    assert images.shape[1:] == (120, 160, 3)
    assert len(images) == 2 * (math.floor(0.12 * 25) + 1)


def test_without_rendering_the_report_says_so(policy_folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(PROTOCOLS, "joystick", dataclasses.replace(PROTOCOLS["joystick"], seconds=0.1))

    monkeypatch.setattr(evaluate_module, "write_video", no_graphics)
    result = evaluate_closed_loop(
        policy_folder, get_preset("test"), tmp_path, protocols=["joystick"], seeds=1
    )
    assert result["video"] is None
    assert "left out: off-screen rendering needs EGL" in (tmp_path / "report.md").read_text()


def test_every_protocol_runs_and_its_figures_are_plain_json(policy_folder, tmp_path, monkeypatch) -> None:
    for name, protocol in list(PROTOCOLS.items()):
        monkeypatch.setitem(PROTOCOLS, name, dataclasses.replace(protocol, seconds=0.06))
    monkeypatch.setattr(evaluate_module, "write_video", no_graphics)
    result = evaluate_closed_loop(
        policy_folder, get_preset("test"), tmp_path, protocols=list(PROTOCOLS), seeds=2
    )
    json.dumps(result, allow_nan=False)
    for name, figures in result["protocols"].items():
        if name.startswith("stand_"):  # no recorded robot of this policy stands
            assert "standing" in figures["skipped"]
            continue
        assert {"success_rate", "wilson_low", "wilson_high", "n", "falls"} <= figures.keys(), name
        assert figures["n"] == 2
        assert 500 < (tmp_path / f"{name}.png").stat().st_size < 50_000, name
    report = (tmp_path / "report.md").read_text()
    assert "BeyondMimic v3, Table III" in report


def test_a_sweep_of_latency_has_a_line_for_each_delay(policy_folder, monkeypatch) -> None:
    monkeypatch.setitem(PROTOCOLS, "joystick", dataclasses.replace(PROTOCOLS["joystick"], seconds=0.04))
    figures = evaluate_closed_loop(
        policy_folder,
        get_preset("test"),
        protocols=["joystick"],
        seeds=1,
        latency_ms=(10.0, 10.0),
        latency_sweep=True,
    )["protocols"]["joystick"]
    assert figures["latency_ms"] == [10.0]
    assert [line["latency_ms"] for line in figures["latency"]] == [0, 20, 40, 60, 80, 100]
    assert all(
        {"success_rate", "wilson_low", "wilson_high", "n", "falls"} <= f.keys() for f in figures["latency"]
    )


def test_the_second_contact_model_plays_the_same_runs(policy_folder, monkeypatch) -> None:
    monkeypatch.setitem(PROTOCOLS, "joystick", dataclasses.replace(PROTOCOLS["joystick"], seconds=0.04))
    shapes, simulate = [], closed_loop_module.MujocoBackend

    def backend(*args, **kwargs):
        shapes.append(kwargs["feet"])
        return simulate(*args, **kwargs)

    monkeypatch.setattr(closed_loop_module, "MujocoBackend", backend)
    figures = evaluate_closed_loop(
        policy_folder, get_preset("test"), protocols=["joystick"], seeds=2, second_contact_model=True
    )["protocols"]["joystick"]
    assert shapes == ["spheres", "capsules"]
    second = figures["second_contact_model"]
    assert second["n"] == 2
    assert second["loss"] == figures["success_rate"] - second["success_rate"]
    assert second["loss_low"] <= second["loss"] <= second["loss_high"]


def no_graphics(*args: object, **kwargs: object) -> None:
    raise MissingToolError("off-screen rendering needs EGL")


def test_a_video_shows_the_robot_and_what_acts_on_it(tmp_path) -> None:
    qpos = np.tile(g1.default_qpos(), (11, 1))
    pushes, commands = np.zeros((11, 3)), np.zeros((11, 3))
    scenes = [Scene(qpos, HZ)]
    pushed, commanded = pushes.copy(), commands.copy()
    pushed[0], commanded[:] = [0.5, 0, 0], [0.5, 0.5, 0]
    scenes.append(Scene(qpos, HZ, pushed, commanded))
    try:
        write_video(scenes, tmp_path / "video.mp4", width=160, height=120)
    except MissingToolError as error:
        pytest.skip(str(error))
    images = imageio.imread(tmp_path / "video.mp4").astype(int)
    assert len(images) == 12
    plain, acted = images[3], images[9]
    assert plain.std() > 10
    assert (np.abs(plain - acted).sum(-1) > 60).sum() > 20
