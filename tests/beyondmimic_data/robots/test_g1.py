"""The robot model against published figures, and against the model in mjlab's wheel where that is at hand."""

import importlib.util
import os
import zipfile
from pathlib import Path

import mujoco
import numpy as np
import pytest

from beyondmimic_data.robots import g1, g1_facts


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return g1.build_spec().compile()


def test_names_masses_and_servos_are_in_depth_first_order(model):
    assert tuple(model.body(i).name for i in range(1, model.nbody)) == g1.BODY_NAMES
    assert tuple(model.joint(i).name for i in range(1, model.njnt)) == g1.JOINT_NAMES
    assert tuple(model.actuator(i).name for i in range(model.nu)) == g1.JOINT_NAMES
    assert (g1.NUM_BODIES, g1.NUM_JOINTS) == (30, 29)
    assert model.body_mass.sum() == pytest.approx(33.341, abs=1e-3)


def test_gains_and_action_scale_are_the_published_ones():
    """BeyondMimic v4 tables S3 and S4: kp, kd, scale of one joint of each motor."""
    table = g1.joint_table()
    published = {
        "left_hip_pitch_joint": (40.18, 2.558, 0.5475),
        "right_knee_joint": (99.10, 6.309, 0.3507),
        "waist_roll_joint": (28.50, 1.814, 0.4386),
        "left_elbow_joint": (14.25, 0.907, 0.4386),
        "right_wrist_yaw_joint": (16.78, 1.068, 0.0745),
    }
    for name, (kp, kd, scale) in published.items():
        i = g1.JOINT_NAMES.index(name)
        assert table.stiffness[i] == pytest.approx(kp, abs=6e-3)
        assert table.damping[i] == pytest.approx(kd, abs=6e-4)
        assert table.action_scale[i] == pytest.approx(scale, abs=6e-5)


def test_joint_limits_stop_a_joint_at_its_published_angle(model):
    np.testing.assert_allclose(model.jnt_range[1:, 0], g1.joint_table().lower)
    np.testing.assert_allclose(model.jnt_range[1:, 1], g1.joint_table().upper)
    assert model.jnt_limited[1:].all()
    assert g1.joint_table().upper[g1.JOINT_NAMES.index("left_knee_joint")] == pytest.approx(2.8798)


@pytest.mark.parametrize(("feet", "shapes"), [("spheres", 4), ("capsules", 7)])
def test_both_soles_carry_the_weight_and_lie_in_one_plane(feet, shapes):
    model = g1.build_spec(feet).compile()
    soles = [i for i in range(model.ngeom) if "foot" in model.geom(i).name]
    assert len(soles) == 2 * shapes
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, 0)
    data.qpos[2] = 0.79
    for _ in range(60):
        mujoco.mj_step(model, data)
    forces = [np.linalg.norm(data.sensor(f"contact_{name}").data) for name in g1_facts.FOOT_BODIES]
    assert sum(forces) == pytest.approx(33.34 * 9.81, rel=0.3)
    assert all(force > 50 for force in forces)


def _mjlab_xml() -> str | None:
    """Return the G1 description inside an installed mjlab, or inside a wheel named by MJLAB_WHEEL."""
    inner = "mjlab/asset_zoo/robots/unitree_g1/xmls/g1.xml"
    spec = importlib.util.find_spec("mjlab")
    if spec is not None and spec.origin is not None:
        return (Path(spec.origin).parent.parent / inner).read_text()
    wheel = os.environ.get("MJLAB_WHEEL")
    if wheel and Path(wheel).exists():
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(inner).decode()
    return None


def test_model_equals_the_one_in_mjlabs_wheel(model):
    xml = _mjlab_xml()
    if xml is None:
        pytest.skip("mjlab 1.6.0 is not here: set MJLAB_WHEEL to its wheel to compare with its g1.xml")
    spec = mujoco.MjSpec.from_string(_without_meshes(xml))
    other = spec.compile()
    np.testing.assert_allclose(other.body_mass[1:], model.body_mass[1:], atol=1e-9)
    np.testing.assert_allclose(other.body_inertia[1:], model.body_inertia[1:], atol=1e-9)
    np.testing.assert_allclose(other.jnt_range[1:], model.jnt_range[1:], atol=1e-9)
    a, b = mujoco.MjData(model), mujoco.MjData(other)
    rng = np.random.default_rng(0)
    for _ in range(20):
        q = g1.default_qpos()
        q[7:] = rng.uniform(g1.joint_table().lower, g1.joint_table().upper)
        a.qpos[:] = b.qpos[:] = q
        mujoco.mj_kinematics(model, a)
        mujoco.mj_kinematics(other, b)
        np.testing.assert_allclose(a.xpos[1:], b.xpos[1:], atol=1e-6)
        np.testing.assert_allclose(np.abs((a.xquat[1:] * b.xquat[1:]).sum(-1)), 1, atol=1e-9)


def _without_meshes(xml: str) -> str:
    """Drop visual geoms and mesh assets, whose files are not needed for masses and frames."""
    import xml.etree.ElementTree as ElementTree

    root = ElementTree.fromstring(xml)
    for asset in root.findall("asset"):
        for mesh in asset.findall("mesh"):
            asset.remove(mesh)
    for body in root.iter("body"):
        for geom in [g for g in body.findall("geom") if g.get("class") == "visual"]:
            body.remove(geom)
    return ElementTree.tostring(root, encoding="unicode")
