"""Episodes as whole_body_tracking's NPZ: exact kinematics, both orders, read back by the project's reader."""

import dataclasses
from pathlib import Path

import mujoco
import numpy as np
import pytest
from motion_samples import sway_qpos

from beyondmimic_data.errors import MotionError
from beyondmimic_data.motions import kinematics
from beyondmimic_data.motions.npz_export import Order, States, order_names, write_episode
from beyondmimic_data.motions.npz_motion import breadth_first, read_npz
from beyondmimic_data.robots import g1

FLOAT32 = float(np.finfo(np.float32).eps)


@dataclasses.dataclass(frozen=True)
class Truth:
    """A motion and what MuJoCo says of it."""

    qpos: np.ndarray
    states: States
    body_quat_w: np.ndarray
    body_ang_vel_w: np.ndarray


@pytest.fixture(scope="module")
def truth() -> Truth:
    """Velocities are drawn, so that each link has one of its own, and MuJoCo gives those of the links."""
    qpos = sway_qpos()
    generator = np.random.default_rng(0)
    qpos[:, 7:] += 0.2 * generator.normal(size=29)
    qpos[:, 3:7] = [0.9, 0.1, -0.2, 0.3]
    qpos[:, 3:7] /= np.linalg.norm(qpos[0, 3:7])
    velocity = generator.normal(size=(len(qpos), 35))
    model = kinematics.model()
    data = mujoco.MjData(model)
    bodies = [mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, name) for name in g1.BODY_NAMES]
    found: dict[str, list] = {"pos": [], "quat": [], "ang": [], "lin": []}
    for position, speed in zip(qpos, velocity):
        data.qpos[:], data.qvel[:] = position, speed
        mujoco.mj_forward(model, data)
        spatial = np.zeros((len(bodies), 6))
        for row, body in zip(spatial, bodies):
            mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_XBODY, body, row, 0)
        found["pos"].append(data.xpos[bodies].copy())
        found["quat"].append(data.xquat[bodies].copy())
        found["ang"].append(spatial[:, :3])
        found["lin"].append(spatial[:, 3:])
    pos, quat, ang, lin = (np.array(part) for part in found.values())
    states = States(qpos[:, :3], qpos[:, 3:7], ang[:, 0], pos, lin, qpos[:, 7:], velocity[:, 6:])
    plain = (np.asarray(getattr(states, field.name), np.float32) for field in dataclasses.fields(States))
    return Truth(qpos, States(*plain), quat, ang)


def test_angular_velocities_are_those_of_the_simulator(truth: Truth) -> None:
    found = kinematics.angular_velocities(
        truth.body_quat_w, truth.body_ang_vel_w[:, 0], truth.states.joint_vel.astype(float)
    )
    assert np.abs(truth.body_ang_vel_w).max() > 3
    np.testing.assert_allclose(found, truth.body_ang_vel_w, atol=1e-6)


@pytest.mark.parametrize("order", ["breadth-first", "depth-first"])
def test_an_episode_comes_back_through_the_projects_reader(
    order: Order, truth: Truth, tmp_path: Path
) -> None:
    path = tmp_path / "skill" / "episode.npz"
    write_episode(path, truth.states, 50.0, order, FLOAT32)
    qpos, fps, notes = read_npz(path)
    assert fps == 50.0
    assert notes[0] == f"{order} order and wxyz quaternions proven by kinematics"
    np.testing.assert_allclose(qpos, truth.qpos, atol=1e-6)


@pytest.mark.parametrize("order", ["breadth-first", "depth-first"])
def test_every_array_is_what_the_simulator_says_under_the_names_in_the_file(
    order: Order, truth: Truth, tmp_path: Path
) -> None:
    path = tmp_path / "episode.npz"
    write_episode(path, truth.states, 50.0, order, FLOAT32)
    with np.load(path, allow_pickle=False) as data:
        arrays = dict(data)
    expected = breadth_first() if order == "breadth-first" else (g1.BODY_NAMES, g1.JOINT_NAMES)
    assert (tuple(arrays["body_names"]), tuple(arrays["joint_names"])) == expected == order_names(order)
    np.testing.assert_array_equal(arrays["fps"], [50.0])
    bodies = [g1.BODY_NAMES.index(name) for name in arrays["body_names"]]
    joints = [g1.JOINT_NAMES.index(name) for name in arrays["joint_names"]]
    states = truth.states
    np.testing.assert_array_equal(arrays["joint_pos"], states.joint_pos[:, joints])
    np.testing.assert_array_equal(arrays["joint_vel"], states.joint_vel[:, joints])
    np.testing.assert_array_equal(arrays["body_lin_vel_w"], states.body_lin_vel_w[:, bodies])
    np.testing.assert_allclose(arrays["body_pos_w"], states.body_pos_w[:, bodies], atol=1e-6)
    np.testing.assert_allclose(arrays["body_quat_w"], truth.body_quat_w[:, bodies], atol=1e-6)
    np.testing.assert_allclose(arrays["body_ang_vel_w"], truth.body_ang_vel_w[:, bodies], atol=1e-5)
    kinds = {name: array.dtype for name, array in arrays.items() if "_pos" in name or "_vel" in name}
    assert len(kinds) == 5
    assert set(kinds.values()) == {np.dtype(np.float32)}


def test_states_in_another_order_are_refused(truth: Truth, tmp_path: Path) -> None:
    joints = [g1.JOINT_NAMES.index(name) for name in breadth_first()[1]]
    wrong = dataclasses.replace(truth.states, joint_pos=truth.states.joint_pos[:, joints])
    with pytest.raises(
        MotionError, match=r"episode: body_pos_w: found links .* mm from where the joints put"
    ):
        write_episode(tmp_path / "episode.npz", wrong, 50.0, "depth-first", FLOAT32)
    assert list(tmp_path.iterdir()) == []


def test_states_that_were_stored_as_float16_are_accepted_and_consistent(truth: Truth, tmp_path: Path) -> None:
    halves = (getattr(truth.states, f.name).astype(np.float16) for f in dataclasses.fields(States))
    rounded = States(*(half.astype(np.float32) for half in halves))
    path = tmp_path / "episode.npz"
    write_episode(path, rounded, 50.0, "breadth-first", float(np.finfo(np.float16).eps))
    qpos, _, _ = read_npz(path)
    np.testing.assert_allclose(qpos, truth.qpos, atol=2e-3)
