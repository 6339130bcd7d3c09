import dataclasses
import math

import imageio.v3 as imageio
import numpy as np
import pytest
import torch

from beyondmimic_data.config import get_preset
from beyondmimic_data.control import evaluate as evaluate_module
from beyondmimic_data.control.closed_loop import Recording
from beyondmimic_data.control.evaluate import evaluate_closed_loop, get_protocol
from beyondmimic_data.control.protocols import (
    JOYSTICK_COMMANDS,
    PROTOCOLS,
    commander,
    pusher,
    register_protocol,
    standing,
    summarise,
    walking,
)
from beyondmimic_data.diffusion.frames import Frames, frames_from_rows
from beyondmimic_data.errors import ConfigError, MissingToolError
from beyondmimic_data.robots import g1
from beyondmimic_data.video import Scene, write_video

HZ = 50.0


def recording(
    seconds: float, n: int, velocity: np.ndarray | None = None, yaw: np.ndarray | None = None
) -> Recording:
    steps = round(seconds * HZ)
    return Recording(
        qpos=np.tile(g1.default_qpos(), (steps + 1, n, 1)),
        root_lin_vel=np.zeros((steps + 1, n, 3)) if velocity is None else velocity,
        yaw=np.zeros((steps + 1, n)) if yaw is None else yaw,
        head_height=np.full((steps + 1, n), 1.2),
        pushes=np.zeros((steps + 1, n, 3)),
        latency_ms=np.zeros(n),
        plan_ms=np.full(steps, 5.0),
        control_hz=HZ,
    )


def obedient(n: int) -> Recording:
    """Robots that do exactly what the joystick says."""
    t = np.arange(round(12 * HZ) + 1)
    index = np.minimum(np.maximum(t - 1, 0) // round(3 * HZ), 3)
    velocity = np.zeros((len(t), n, 3))
    velocity[..., :2] = np.array([c.velocity for c in JOYSTICK_COMMANDS])[index][:, None]
    rate = np.array([c.yaw_rate or 0.0 for c in JOYSTICK_COMMANDS])[index]
    yaw = np.cumsum(np.where(t > 0, rate, 0.0) / HZ)
    return recording(12.0, n, velocity, np.tile(yaw[:, None], (1, n)))


def test_falls_decide_standing_and_the_interval_is_wilson_s() -> None:
    fallen = recording(15.0, 10)
    fallen.head_height[100:, :2] = 0.1
    result = summarise(PROTOCOLS["stand_perturb"], fallen)
    assert result["success_rate"] == 0.8
    assert (result["wilson_low"], result["wilson_high"]) == pytest.approx((0.490, 0.943), abs=1e-3)
    assert result["falls"] == 2
    assert result["mean_seconds_upright"] == pytest.approx((2 * 99 / HZ + 8 * 15) / 10)
    assert result["success"] == [False] * 2 + [True] * 8
    assert result["criteria"]["fallen_head_height_m"] == 0.2


def test_a_robot_whose_simulation_broke_has_fallen() -> None:
    broken = recording(15.0, 2)
    broken.head_height[50:, 1] = np.nan
    assert summarise(PROTOCOLS["stand_perturb"], broken)["success"] == [True, False]


def test_doing_what_the_joystick_says_succeeds() -> None:
    result = summarise(PROTOCOLS["joystick"], obedient(3))
    assert result["success_rate"] == 1.0
    assert result["commands"]["forward"]["velocity_error_m_s"] == pytest.approx(0.0, abs=1e-9)
    assert result["commands"]["left"]["turned_rad"] == pytest.approx(1.6)
    assert result["commands"]["right"]["turned_rad"] == pytest.approx(-1.6)


def test_standing_still_or_walking_straight_does_not_follow() -> None:
    still = summarise(PROTOCOLS["joystick"], recording(12.0, 2))
    assert still["success_rate"] == 0.0
    assert [c["following"] for c in still["commands"].values()] == [0.0] * 4
    straight = obedient(2)
    straight.yaw[:] = 0
    result = summarise(PROTOCOLS["joystick"], straight)
    assert result["success_rate"] == 0.0
    assert [c["following"] for c in result["commands"].values()] == [1.0, 1.0, 0.0, 0.0]


def test_a_tolerable_error_and_a_settling_time_are_granted() -> None:
    slow = obedient(1)
    slow.root_lin_vel[:, 0, 0] += 0.2
    slow.root_lin_vel[:40, 0, 0] = -3.0
    assert summarise(PROTOCOLS["joystick"], slow)["success_rate"] == 1.0
    slow.root_lin_vel[:, 0, 0] += 0.1
    assert summarise(PROTOCOLS["joystick"], slow)["success_rate"] == 0.0


def test_a_run_that_ended_early_follows_nothing_more() -> None:
    short = dataclasses.replace(recording(4.0, 2), control_hz=HZ)
    short.head_height[-1] = 0.1
    result = summarise(PROTOCOLS["joystick"], short)
    assert result["success_rate"] == 0.0
    assert list(result["commands"]) == ["forward"]


def test_pushes_come_once_a_second_in_every_direction() -> None:
    push = pusher(2000, HZ, seed=4)
    given = [t for t in range(201) if push(t) is not None]
    assert given == [50, 100, 150, 200]
    first = push(50)
    assert first is not None
    speed = np.linalg.norm(first, axis=-1)
    assert 0.49 < speed.max() <= 0.5
    assert float(speed.mean()) == pytest.approx(0.25, abs=0.01)
    assert np.abs(first[:, :2].mean(0)).max() < 0.02
    assert (first[:, 2] == 0).all()
    np.testing.assert_array_equal(push(50), first)
    assert not np.array_equal(push(100), first)


def test_commands_follow_one_another() -> None:
    steer = commander(JOYSTICK_COMMANDS, HZ, scale=2.0)
    history = Frames(*[torch.zeros(1)] * 8)
    costs = [steer(t, history).guidance for t in (0, 149, 150, 300, 450, 599, 700)]
    speeds = [g.cost.velocity[0].item() for g in costs if g is not None]
    assert speeds == pytest.approx([0.6, 0.6, -0.4, 0.3, 0.3, 0.3, 0.3])
    assert costs[3].cost.yaw_rate == -costs[4].cost.yaw_rate == 0.8
    assert costs[0].scale == 2.0


def test_starts_are_told_apart_by_their_speed(windows) -> None:
    frames = frames_from_rows(windows.rows[:, :5], windows.columns)
    speed = frames.root_lin_vel_w[:, -1, :2].norm(dim=-1)
    assert torch.equal(walking(frames), speed > 0.3)
    assert not standing(frames).any()
    lying = dataclasses.replace(frames, root_pos_w=frames.root_pos_w * torch.tensor([1.0, 1.0, 0.3]))
    assert not walking(lying).any()


def test_unknown_and_doubled_protocols_are_refused() -> None:
    with pytest.raises(ConfigError, match="one of stand_perturb, walk_perturb, joystick"):
        get_protocol("moonwalk")
    with pytest.raises(ValueError, match="registered already"):
        register_protocol(PROTOCOLS["joystick"])


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

    def no_graphics(*args: object, **kwargs: object) -> None:
        raise MissingToolError("off-screen rendering needs EGL")

    monkeypatch.setattr(evaluate_module, "write_video", no_graphics)
    result = evaluate_closed_loop(
        policy_folder, get_preset("test"), tmp_path, protocols=["joystick"], seeds=1
    )
    assert result["video"] is None
    assert "left out: off-screen rendering needs EGL" in (tmp_path / "report.md").read_text()


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
