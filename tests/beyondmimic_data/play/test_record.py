import dataclasses

import imageio.v3 as iio
import numpy as np
import pytest

from beyondmimic_data.errors import MissingToolError
from beyondmimic_data.play.command import Command, Pillar
from beyondmimic_data.play.record import make_scene, record, run_script, summarise
from beyondmimic_data.play.script import Script, Shove, Stage
from beyondmimic_data.robots import g1
from beyondmimic_data.video import BEHIND, SIDE, Column, Polyline, Scene, render

MAGENTA = (1.0, 0.0, 1.0, 1.0)
PILLARS = (Pillar(1.0, 0.5),)
SCRIPT = Script(
    (
        Stage(0.1, Command(forward=0.5, pillars=PILLARS)),
        Stage(0.1, Command(waypoint=(1.0, 0.0), pillars=PILLARS)),
    ),
    (Shove(0.06, (0.0, 0.4)),),
)


def pictures(scene: Scene) -> list[np.ndarray]:
    try:
        return list(render([scene], width=160, height=120))
    except MissingToolError as error:
        pytest.skip(str(error))


def magenta(picture: np.ndarray) -> int:
    """Count pixels of the overlays' colour."""
    red, green, blue = (picture[..., i].astype(int) for i in range(3))
    return int(((red > 100) & (blue > 100) & (green < 0.4 * red)).sum())


def standing(rows: int) -> np.ndarray:
    return np.tile(g1.default_qpos(), (rows, 1))


@pytest.mark.parametrize("camera", [BEHIND, SIDE])
def test_lines_and_columns_are_seen_in_the_rows_that_have_them(camera) -> None:
    line = np.full((4, 3, 3), np.nan)
    line[2:] = [[-1.0, -1.0, 0.5], [0.0, 1.2, 1.2], [1.0, -1.0, 0.5]]
    places = np.full((4, 3), np.nan)
    places[2:] = [0.6, 0.6, 0.0]
    for overlay in (Polyline(line, MAGENTA, 0.05), Column(places, MAGENTA, 0.2, 1.0)):
        first, last = pictures(Scene(standing(4), 50.0, overlays=[overlay], camera=camera))
        assert magenta(first) == 0
        assert magenta(last) > 30


def test_a_camera_from_behind_turns_with_the_robot() -> None:
    column = Column(np.tile([2.0, 0.0, 0.0], (1, 1)), MAGENTA, 0.3, 2.5)
    ahead = standing(1)
    away = standing(1)
    away[:, 3:7] = [
        0.0,
        0.0,
        0.0,
        1.0,
    ]  # looks along -x: what stands at +x is behind the camera's back or near it
    seen = [
        magenta(pictures(Scene(qpos, 50.0, overlays=[column], camera=BEHIND))[0]) for qpos in (ahead, away)
    ]
    assert seen[0] > 30
    fixed = [
        magenta(
            pictures(Scene(qpos, 50.0, overlays=[column], camera=dataclasses.replace(BEHIND, turns=False)))[0]
        )
        for qpos in (ahead, away)
    ]
    assert seen[0] == pytest.approx(fixed[0], abs=5)
    assert seen[1] != pytest.approx(fixed[1], rel=0.1)


def test_a_script_is_followed_command_by_command_and_push_by_push(make_session) -> None:
    session = make_session()
    snapshots = run_script(session, SCRIPT)
    assert len(snapshots) == 10
    assert [s.command.waypoint for s in snapshots] == [None] * 5 + [(1.0, 0.0)] * 5
    assert [s.command.forward for s in snapshots] == [0.5] * 5 + [0.0] * 5
    assert all(s.command.pillars == PILLARS for s in snapshots)
    assert [bool(s.push.any()) for s in snapshots] == [i == 3 for i in range(10)]
    figures = summarise(snapshots, SCRIPT, session.dt)
    assert figures["seconds"] == pytest.approx(0.2)
    assert figures["fell"] is False
    place = snapshots[-1].qpos[:2]
    assert figures["commands"][1]["distance_left_m"] == pytest.approx(np.hypot(place[0] - 1.0, place[1]))
    gap = min(np.hypot(*(s.qpos[:2] - [1.0, 0.5])) for s in snapshots) - 0.2
    assert figures["least_gap_to_a_pillar_m"] == pytest.approx(gap)
    expected = np.mean([s.velocity[0] for s in snapshots[2:5]])
    assert figures["commands"][0]["found_forward"] == pytest.approx(expected)


def test_the_shot_shows_plan_feet_target_and_pillars(make_session) -> None:
    snapshots = run_script(make_session(), SCRIPT)
    scene = make_scene(snapshots, 0.02, SIDE)
    plan, floor, left, right, target, pillar = scene.overlays
    np.testing.assert_array_equal(plan.points[3], snapshots[3].root_path)
    assert (floor.points[..., 2] < 0.05).all()
    np.testing.assert_array_equal(left.points[3], snapshots[3].foot_paths[0])
    np.testing.assert_array_equal(right.points[3], snapshots[3].foot_paths[1])
    assert np.isnan(target.positions[:5]).any(axis=1).all()
    np.testing.assert_array_equal(target.positions[5:], np.tile([1.0, 0.0, 0.0], (5, 1)))
    np.testing.assert_array_equal(pillar.positions[0], [1.0, 0.5, 0.0])
    assert np.linalg.norm(scene.commands[:5], axis=-1) == pytest.approx(0.5)
    assert not scene.commands[5:].any()
    assert scene.pushes[3].tolist() == [0.0, 0.4, 0.0]


def test_a_video_is_written_with_its_figures(make_session, tmp_path) -> None:
    path = tmp_path / "run.mp4"
    try:
        figures = record(make_session(), SCRIPT, path, camera="side", width=160, height=120)
    except MissingToolError as error:
        pytest.skip(str(error))
    assert figures["video"] == str(path)
    assert iio.imread(path).shape[1:] == (120, 160, 3)
