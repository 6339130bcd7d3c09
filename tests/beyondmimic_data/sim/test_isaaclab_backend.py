"""The second back end against the first: the same script in both, compared array by array.

Isaac Lab lives in an environment of its own, so its half of the script runs there, in another process.
"""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from beyondmimic_data.config import SynthConfig
from beyondmimic_data.errors import MissingToolError
from beyondmimic_data.motions.synth import synthesise
from beyondmimic_data.robots import g1, g1_facts, g1_usd
from beyondmimic_data.sim import conformance
from beyondmimic_data.tracking import shipped, task
from beyondmimic_data.tracking.policy import TrackingPolicy

PROJECT = Path(__file__).parents[3]
PYTHON = PROJECT / ".venv-isaaclab" / "bin" / "python"
POLICY = shipped.FOLDER / shipped.FOUNDATION
CONTACT_BODIES = (*g1.PENALISED_CONTACT_BODIES, *g1_facts.FOOT_BODIES)
REWARDS = (
    "anchor_position",
    "anchor_orientation",
    "body_position",
    "body_orientation",
    "body_linear_velocity",
    "body_angular_velocity",
    "action_rate",
    "joint_limit",
    "undesired_contact",
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> tuple[conformance.Trace, conformance.Trace]:
    """Traces of MuJoCo and of Isaac Lab."""
    if not PYTHON.exists():
        pytest.skip(f"{PYTHON} is missing: 'make isaaclab' builds the second simulator's environment")
    try:
        g1_usd.cached()
    except MissingToolError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("conformance")
    clip = synthesise("stand", SynthConfig(seconds=4.0), 50.0)
    clip.save(folder / "clip.npz")
    command = [
        PYTHON,
        "-m",
        conformance.__name__,
        "isaaclab",
        folder / "clip.npz",
        POLICY,
        folder / "trace.npz",
    ]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    ran = subprocess.run(
        command, capture_output=True, text=True, cwd=PROJECT, timeout=500, check=False, env=environment
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    backend = conformance.build("mujoco", conformance.NUM_ENVS)
    ours = conformance.record(backend, clip, TrackingPolicy.load(POLICY))
    with np.load(folder / "trace.npz") as theirs:
        return ours, dict(theirs)


def test_the_policy_that_isaac_lab_plays_ships():
    assert TrackingPolicy.load(POLICY).observation_dim == 160


def assert_close(traces: tuple[conformance.Trace, conformance.Trace], name: str, tolerance: float) -> None:
    ours, theirs = traces
    assert ours[name].size
    np.testing.assert_allclose(theirs[name], ours[name], rtol=0, atol=tolerance, err_msg=name)


def test_both_traces_hold_the_same_arrays(traces):
    ours, theirs = ({name: value.shape for name, value in trace.items()} for trace in traces)
    assert ours == theirs


def test_every_link_stands_where_mujoco_puts_it_and_moves_as_it_says(traces):
    ours, theirs = traces
    assert_close(traces, "kinematics/joint_pos", 1e-6)
    assert_close(traces, "kinematics/joint_vel", 1e-6)
    assert_close(traces, "kinematics/body_pos_w", 1e-5)  # a hundredth of the millimetre that is asked for
    assert_close(traces, "kinematics/body_lin_vel_w", 1e-4)
    assert_close(traces, "kinematics/body_ang_vel_w", 1e-4)
    turned = (ours["kinematics/body_quat_w"] * theirs["kinematics/body_quat_w"]).sum(-1)
    np.testing.assert_allclose(np.abs(turned), 1, atol=1e-5)


@pytest.mark.parametrize("term", [*task.CRITIC_TERMS, *REWARDS])
def test_terms_of_one_state_are_equal(traces, term):
    assert_close(traces, f"terms/{term}", 1e-5)


def test_a_falling_robot_swings_its_joints_alike(traces):
    ours, _ = traces
    assert np.ptp(ours["free_fall/joint_pos"], axis=0).max() > 0.05
    assert_close(traces, "free_fall/joint_pos", 1e-4)
    assert_close(traces, "free_fall/body_pos_w", 1e-4)
    assert_close(traces, "free_fall/body_lin_vel_w", 2e-3)


def test_a_lying_robot_touches_with_the_same_bodies(traces):
    ours, theirs = (trace["lying/force"].mean(axis=(0, 1)) for trace in traces)
    touching = {name for name, force in zip(CONTACT_BODIES, ours) if force > 1}
    assert touching & set(g1.PENALISED_CONTACT_BODIES)
    np.testing.assert_allclose(theirs, ours, atol=1.0)
    for trace in traces:
        assert not trace["lying/force_when_lifted"].any()


@pytest.mark.parametrize("name", [change for change in conformance.CHANGES if change != "nothing"])
def test_a_parameter_changes_the_motion_as_it_does_in_mujoco(traces, name):
    effects = []
    for trace in traces:
        joints = trace[f"parameters/{name}/joint_pos"]
        unchanged = trace["parameters/nothing/joint_pos"]
        np.testing.assert_allclose(joints[0], unchanged[0], atol=1e-4)  # the other environment's robot
        effects.append(joints[1] - unchanged[1])
    assert np.linalg.norm(effects[0]) > 0.02
    np.testing.assert_allclose(effects[1], effects[0], atol=1e-3)


def test_a_policy_trained_in_mujoco_stands_in_isaac_lab(traces):
    ours, theirs = traces
    assert len(theirs["episode/reward"]) == 150
    assert all(
        np.isfinite(theirs[f"episode/{name}"]).all() for name in ("actor", "critic", "reward", *REWARDS)
    )
    assert not theirs["episode/fell"].any()
    assert theirs["episode/reward"].mean() == pytest.approx(ours["episode/reward"].mean(), rel=0.01)
    # Contact amplifies rounding, so two runs drift apart; the robots stay within a centimetre.
    assert_close(traces, "episode/body_pos_w", 0.01)
    weight = 9.81 * sum(link.mass for link in g1_facts.LINKS)
    assert theirs["episode/foot_force"][-50:].mean() == pytest.approx(weight, rel=0.05)
