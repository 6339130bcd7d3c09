"""Whole-body inverse kinematics: from feet, centre of mass, pelvis and torso targets to joint angles."""

import copy
import dataclasses
import functools

import mink
import mujoco
import numpy as np

from beyondmimic_data.motions import kinematics
from beyondmimic_data.robots import g1, g1_facts

MIN_KNEE = 0.12
"""rad; a knee never gets straighter, so that the leg stays away from its singular pose."""

FIRST_FRAME_ITERATIONS = 60
FRAME_ITERATIONS = 4
CONVERGED = 1e-5
"""rad and m; a frame is solved when its last step was smaller."""

# Costs of a unit error (m or rad). Feet stand on the floor, so they come first by two orders of magnitude.
FOOT_COST = 100.0
COM_COST = 30.0
HEIGHT_COST = 10.0
PELVIS_ORIENTATION_COST = 3.0
TORSO_ORIENTATION_COST = 3.0
LEG_POSTURE_COST = 0.02
UPPER_POSTURE_COST = 0.3


@dataclasses.dataclass(frozen=True)
class Targets:
    """What the body shall do in each of T frames; world frame, z up, SI units."""

    foot_pos: np.ndarray
    """(T, 2, 3) origins of the left and right ankle roll links."""
    foot_quat: np.ndarray
    """(T, 2, 4) wxyz orientations of the same links."""
    com_xy: np.ndarray
    """(T, 2) centre of mass of the whole robot."""
    pelvis_height: np.ndarray
    """(T,) height of the pelvis origin."""
    pelvis_quat: np.ndarray
    """(T, 4) wxyz."""
    torso_quat: np.ndarray
    """(T, 4) wxyz."""
    posture: np.ndarray
    """(T, 29) joint angles; they decide for the arms and, weakly, what the rest leaves open."""


class HeightTask(mink.Task):
    """Keep a body's origin at a height, wherever it is in the plane."""

    def __init__(self, model: mujoco.MjModel, body: str, cost: float) -> None:
        """Watch ``body`` with ``cost`` a metre."""
        super().__init__(cost=np.array([cost]))
        self.body_id = model.body(body).id
        self.height = 0.0

    def compute_error(self, configuration: mink.Configuration) -> np.ndarray:
        """Return height minus target, (1,) m."""
        return configuration.data.xpos[self.body_id, 2:] - self.height

    def compute_jacobian(self, configuration: mink.Configuration) -> np.ndarray:
        """Return the derivative of the height, (1, nv)."""
        jacobian = np.empty((3, configuration.nv))
        mujoco.mj_jacBody(configuration.model, configuration.data, jacobian, None, self.body_id)
        return jacobian[2:]


@functools.cache
def limited_model() -> mujoco.MjModel:
    """Return the robot with its soft joint limits as limits and knees that stay bent."""
    model = copy.copy(kinematics.model())
    table = g1.joint_table()
    lower = table.soft_lower.copy()
    for i, name in enumerate(g1.JOINT_NAMES):
        if "knee" in name:
            lower[i] = MIN_KNEE
    model.jnt_range[1:, 0], model.jnt_range[1:, 1] = lower, table.soft_upper
    return model


class WholeBodySolver:
    """Damped Gauss-Newton steps under joint limits, warm-started from the frame before."""

    def __init__(self) -> None:
        """Build the tasks once; every frame only moves their targets."""
        model = limited_model()
        self.configuration = mink.Configuration(model)
        self.feet = [
            mink.FrameTask(name, "body", position_cost=FOOT_COST, orientation_cost=FOOT_COST)
            for name in g1_facts.FOOT_BODIES
        ]
        self.com = mink.ComTask(cost=[COM_COST, COM_COST, 0.0])
        self.height = HeightTask(model, "pelvis", HEIGHT_COST)
        self.pelvis = mink.FrameTask(
            "pelvis", "body", position_cost=0.0, orientation_cost=PELVIS_ORIENTATION_COST
        )
        self.torso = mink.FrameTask(
            "torso_link", "body", position_cost=0.0, orientation_cost=TORSO_ORIENTATION_COST
        )
        legs = sum(1 for name in g1.JOINT_NAMES if any(part in name for part in ("hip", "knee", "ankle")))
        cost = np.full(model.nv, UPPER_POSTURE_COST)
        cost[:6], cost[6 : 6 + legs] = 0.0, LEG_POSTURE_COST
        self.posture = mink.PostureTask(model, cost=cost)
        self.tasks = [*self.feet, self.com, self.height, self.pelvis, self.torso, self.posture]
        self.limits = [mink.ConfigurationLimit(model, gain=1.0)]

    def solve(self, targets: Targets) -> np.ndarray:
        """Solve every frame.

        Args:
            targets: T frames.

        Returns:
            (T, 36) generalised positions: base position, base quaternion wxyz, joints.
        """
        start = g1.default_qpos()
        start[:2] = targets.com_xy[0]
        start[2], start[3:7] = targets.pelvis_height[0], targets.pelvis_quat[0]
        self.configuration.update(start)
        qpos = np.empty((len(targets.com_xy), len(start)))
        for t in range(len(qpos)):
            self._set_targets(targets, t)
            for _ in range(FRAME_ITERATIONS if t else FIRST_FRAME_ITERATIONS):
                step = mink.solve_ik(
                    self.configuration, self.tasks, 1.0, "daqp", damping=1e-6, limits=self.limits
                )
                self.configuration.integrate_inplace(step, 1.0)
                if np.abs(step).max() < CONVERGED:
                    break
            qpos[t] = self.configuration.q
        return qpos

    def _set_targets(self, targets: Targets, t: int) -> None:
        """Move the tasks to frame t."""
        for side, task in enumerate(self.feet):
            task.set_target(mink.SE3(np.concatenate([targets.foot_quat[t, side], targets.foot_pos[t, side]])))
        self.com.set_target(np.append(targets.com_xy[t], 0.0))
        self.height.height = targets.pelvis_height[t]
        self.pelvis.set_target(mink.SE3(np.append(targets.pelvis_quat[t], np.zeros(3))))
        self.torso.set_target(mink.SE3(np.append(targets.torso_quat[t], np.zeros(3))))
        self.posture.set_target(np.append(np.zeros(7), targets.posture[t]))


def solve(targets: Targets) -> np.ndarray:
    """Solve a motion with a fresh solver: equal targets give equal angles. Returns (T, 36)."""
    return WholeBodySolver().solve(targets)
