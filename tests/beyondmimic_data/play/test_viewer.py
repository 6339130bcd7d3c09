import socket
import urllib.request

import mujoco
import numpy as np
import pytest

from beyondmimic_data import rotations
from beyondmimic_data.errors import BeyondMimicError, MissingToolError
from beyondmimic_data.play import viewer as viewer_module
from beyondmimic_data.play.command import Command, Pillar
from beyondmimic_data.play.viewer import Viewer, status_text
from beyondmimic_data.rendering import picture_spec


@pytest.fixture
def viewer(make_session, free_port):
    pytest.importorskip("viser", reason="viser is not installed: extra play")
    made = Viewer(make_session(command=Command(pillars=(Pillar(2.0, 0.5),))), port=free_port)
    yield made
    made.close()


def test_bodies_are_drawn_with_the_shapes_of_the_model() -> None:
    pytest.importorskip("trimesh", reason="trimesh is not installed: extra play")
    from beyondmimic_data.play.meshes import body_meshes

    model = picture_spec().compile()
    meshes = body_meshes(model)
    assert {mesh.body for mesh in meshes} == set(model.geom_bodyid) - {0}
    head = [mesh for mesh in meshes if model.body(mesh.body).name == "torso_link"]
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    for mesh in head:
        assert mesh.faces.max() == len(mesh.vertices) - 1
        world = rotations.rotate(data.xquat[mesh.body], mesh.vertices) + data.xpos[mesh.body]
        geoms = np.flatnonzero(model.geom_bodyid == mesh.body)
        for axis in range(3):
            lowest = (data.geom_xpos[geoms, axis] - model.geom_rbound[geoms]).min()
            highest = (data.geom_xpos[geoms, axis] + model.geom_rbound[geoms]).max()
            assert lowest - 1e-6 <= world[:, axis].min()
            assert world[:, axis].max() <= highest + 1e-6


def test_the_page_answers_and_the_robot_runs(viewer) -> None:
    with urllib.request.urlopen(viewer.url, timeout=10) as answer:
        assert answer.status == 200
    viewer.run(seconds=1.0)
    assert viewer._latest is not None
    assert viewer._latest[0].seconds > 0.1
    assert "real time" in viewer._status.content
    pelvis = viewer._data.xpos[1]
    np.testing.assert_allclose(pelvis, viewer._data.qpos[:3], atol=1e-6)


def test_controls_reach_the_session(viewer) -> None:
    session = viewer._session
    assert session.command.pillars == (Pillar(2.0, 0.5),)
    viewer._nudge("forward", 0.1)
    viewer._nudge("turn", -0.2)
    assert (session.command.forward, session.command.turn) == pytest.approx((0.1, -0.2))
    for _ in range(30):
        viewer._nudge("forward", 0.1)
    assert session.command.forward == pytest.approx(1.0)
    viewer._set_waypoint(np.array([0.0, 0.0, 2.0]), np.array([1.0, 0.5, -1.0]) / 1.5)
    assert session.command.waypoint == pytest.approx((2.0, 1.0))
    assert viewer._waypoint.visible
    viewer._halt()
    assert session.command.waypoint is None
    assert session.command.forward == 0.0
    viewer._add_ahead()
    assert len(session.command.pillars) == 2
    viewer._remove_pillars(1)
    assert session.command.pillars == (Pillar(2.0, 0.5),)
    viewer._push("left")
    np.testing.assert_allclose(session.step().push, [0.0, 0.5, 0.0], atol=1e-9)


def test_a_click_at_the_sky_sets_nothing(viewer) -> None:
    viewer._set_waypoint(np.array([0.0, 0.0, 2.0]), np.array([1.0, 0.0, 0.1]))
    assert viewer._session.command.waypoint is None


def test_what_breaks_the_robot_ends_the_viewer(viewer, monkeypatch) -> None:
    def broken() -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr(viewer._session, "step", broken)
    with pytest.raises(RuntimeError, match="out of order"):
        viewer.run(seconds=5.0)


def test_a_taken_port_and_a_missing_package_are_named(make_session, monkeypatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        if viewer_module.importlib.util.find_spec("viser"):
            with pytest.raises(BeyondMimicError, match=f"port {port} of 127.0.0.1 is taken"):
                Viewer(make_session(), port=port)
    monkeypatch.setitem(__import__("sys").modules, "viser", None)
    with pytest.raises(MissingToolError, match="extra 'play'"):
        Viewer(make_session(), port=port)


def test_a_fall_and_the_way_left_are_told(make_session) -> None:
    import dataclasses

    snapshot = make_session(command=Command(waypoint=(3.0, 4.0))).step()
    shown = dataclasses.replace(snapshot, qpos=np.zeros(36), fallen=True, velocity=np.array([0.3, 0.4, 0.0]))
    text = status_text(shown, 0.97, 0.02)
    assert "0.50 m/s" in text
    assert "× **0.97**" in text
    assert "5.00 m away" in text
    assert "Reset" in text
