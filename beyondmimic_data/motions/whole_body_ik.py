"""Whole-body inverse kinematics: from feet, centre of mass, pelvis and torso targets to joint angles."""

import dataclasses

import mink
import mujoco
import numpy as np

from beyondmimic_data.motions import kinematics
from beyondmimic_data.robots import g1, g1_facts

MIN_KNEE = 0.12
"""rad; a knee never gets straighter, so that the leg stays away from its singular pose."""

MAX_JOINT_SPEED = 11.0
"""rad/s; targets that ask for more are followed with a lag."""

FIRST_FRAME_ITERATIONS = 60
FRAME_ITERATIONS = 4
CONVERGED = 2e-4
"""rad and m; a frame is solved when its last step was smaller: what is left is of the order of its square."""

# Costs of a unit error (m or rad). Feet stand on the floor, so they come first by two orders of magnitude.
FOOT_COST = 100.0
COM_COST = 15.0
HEIGHT_COST = 10.0
PELVIS_ORIENTATION_COST = 3.0
TORSO_ORIENTATION_COST = 3.0
LEG_POSTURE_COST = 0.02
UPPER_POSTURE_COST = 1.0


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


class FrameLimit(mink.limits.Limit):
    """Keep joints within the soft limits, knees bent, and all near the frame before."""

    def __init__(self) -> None:
        """Start without a frame before."""
        table = g1.joint_table()
        knees = np.array(["knee" in name for name in g1.JOINT_NAMES])
        self.lowest = np.where(knees, np.maximum(table.soft_lower, MIN_KNEE), table.soft_lower)
        self.highest = table.soft_upper
        self.free()
        rows = np.eye(6 + g1.NUM_JOINTS)[6:]
        self.rows = np.concatenate([rows, -rows])

    def free(self) -> None:
        """Forget the frame before."""
        self.lower, self.upper = self.lowest, self.highest

    def move(self, before: np.ndarray, dt: float) -> None:
        """Allow what ``MAX_JOINT_SPEED`` reaches in ``dt`` s from the joint angles (29,) before."""
        self.lower = np.maximum(self.lowest, before - MAX_JOINT_SPEED * dt)
        self.upper = np.minimum(self.highest, before + MAX_JOINT_SPEED * dt)

    def compute_qp_inequalities(self, configuration: mink.Configuration, dt: float) -> mink.Constraint:
        """Return the bounds on a step, whatever its ``dt``."""
        joints = configuration.q[7:]
        return mink.Constraint(
            G=self.rows, h=np.concatenate([self.upper - joints, joints - self.lower]).clip(min=0)
        )


class WholeBodySolver:
    """Damped Gauss-Newton steps under joint limits, warm-started from the frame before."""

    def __init__(self) -> None:
        """Build the tasks once; every frame only moves their targets."""
        model = kinematics.model()
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
        self.limit = FrameLimit()

    def solve(
        self,
        targets: Targets,
        dt: float,
        guess: np.ndarray | None = None,
        iterations: int = FRAME_ITERATIONS,
    ) -> np.ndarray:
        """Solve every frame, each from the one before or, where there is a guess, from that.

        Args:
            targets: T frames.
            dt: seconds between frames.
            guess: (T, 36) a solution for similar targets.
            iterations: most steps a frame.

        Returns:
            (T, 36) generalised positions: base position, base quaternion wxyz, joints.
        """
        start = g1.default_qpos()
        start[:2] = targets.com_xy[0]
        start[2], start[3:7] = targets.pelvis_height[0], targets.pelvis_quat[0]
        self.configuration.update(start)
        self.limit.free()
        qpos = np.empty((len(targets.com_xy), len(start)))
        for t in range(len(qpos)):
            self._set_targets(targets, t)
            if t:
                self.limit.move(qpos[t - 1, 7:], dt)
            if guess is not None:
                near = guess[t].copy()
                near[7:] = near[7:].clip(self.limit.lower, self.limit.upper)
                self.configuration.update(near)
            for _ in range(iterations if t else FIRST_FRAME_ITERATIONS):
                step = mink.solve_ik(
                    self.configuration, self.tasks, 1.0, "daqp", damping=1e-6, limits=[self.limit]
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


def solve(targets: Targets, dt: float) -> np.ndarray:
    """Solve a motion with a fresh solver, so that equal targets give equal angles. Returns (T, 36)."""
    return WholeBodySolver().solve(targets, dt)
