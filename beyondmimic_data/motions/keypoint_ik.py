"""Inverse kinematics that follows a person's keypoints: damped Gauss-Newton steps within joint bounds."""

import daqp
import mujoco
import numpy as np

from beyondmimic_data.motions import kinematics
from beyondmimic_data.motions.keypoints import SIDES
from beyondmimic_data.motions.targets import Targets
from beyondmimic_data.robots import g1

FIRST_ITERATIONS, ITERATIONS = 80, 5
"""Most steps for the first frame, and for each that follows."""
CONVERGED = 8e-3
"""rad; a smaller step ends a frame."""
MAX_STEP = 0.4
"""rad a joint moves in one step."""
MAX_JOINT_SPEED = 18.0
"""rad/s between two frames."""
DAMPING = 1e-3
"""Of steps; as much again times the squared error is added, so that far from the targets steps are short."""
POSTURE_COST, WRIST_POSTURE_COST = 0.06, 0.6
RELAXATION = 0.1
"""Share of the way to the relaxed pose that the posture asks for in a frame."""
POSITION_COSTS = {"pelvis": 3.0, "knee": 1.5, "ankle_roll": 20.0, "elbow": 2.0, "wrist_yaw": 2.0}
"""Of an error of 1 m."""
ORIENTATION_COSTS = {"pelvis": 2.0, "torso": 1.0, "ankle_roll": 1.0}
"""Of an error of 1 rad."""
_FREE = 1e30
_BASE = 6


class KeypointSolver:
    """Follows targets frame by frame, each frame from the solution of the one before."""

    def __init__(self, targets: Targets, fps: float) -> None:
        """Lay out the rows of all targets once.

        Args:
            targets: T frames.
            fps: rate, Hz.
        """
        self._model = kinematics.model()
        self._data = mujoco.MjData(self._model)
        self._reach = MAX_JOINT_SPEED / fps
        points = {"pelvis": targets.pelvis_pos}
        turns = {"pelvis": targets.pelvis_quat, "torso_link": targets.torso_quat}
        sided = {"knee": targets.knees, "ankle_roll": targets.ankles}
        sided |= {"elbow": targets.elbows, "wrist_yaw": targets.wrists}
        for s, side in enumerate(SIDES):
            points |= {f"{side}_{link}_link": path[:, s] for link, path in sided.items()}
            turns[f"{side}_ankle_roll_link"] = targets.foot_quat[:, s]
        self._points, self._turns = np.stack([*points.values()], 1), np.stack([*turns.values()], 1)
        self._point_bodies = [self._model.body(name).id for name in points]
        self._turn_bodies = [self._model.body(name).id for name in turns]
        costs = [*(_cost(name, POSITION_COSTS) for name in points)]
        costs += [_cost(name, ORIENTATION_COSTS) for name in turns]
        self._weights = np.repeat(costs, 3)[:, None]
        self._jacobian = np.zeros((len(self._weights), self._model.nv))
        self._error = np.zeros(len(self._weights))
        posture = np.where(["wrist" in n for n in g1.JOINT_NAMES], WRIST_POSTURE_COST, POSTURE_COST)
        self._posture = posture**2
        self._relaxed = np.where(
            [any(part in n for part in ("hip", "knee", "ankle")) for n in g1.JOINT_NAMES], 0.0, bent_pose()
        )
        table = g1.joint_table()
        self._lowest, self._highest = table.lower.copy(), table.upper.copy()

    def solve(self) -> np.ndarray:
        """Solve every frame.

        Returns:
            (T, 36) generalised positions; joints within their limits, none faster than ``MAX_JOINT_SPEED``.
        """
        qpos = np.empty((len(self._points), self._model.nq))
        self._place(np.concatenate([self._points[0, 0], self._turns[0, 0], bent_pose()]))
        for t in range(len(qpos)):
            before = self._data.qpos[7:].copy()
            pull = before + RELAXATION * (self._relaxed - before)
            lowest, highest = self._lowest, self._highest
            if t:
                lowest = np.maximum(lowest, before - self._reach)
                highest = np.minimum(highest, before + self._reach)
            for _ in range(ITERATIONS if t else FIRST_ITERATIONS):
                # The first frame has none before it: each step leans to where the last one ended.
                lean = pull if t else self._data.qpos[7:] * (1 - RELAXATION) + RELAXATION * self._relaxed
                if self._step(t, lean, lowest, highest) < CONVERGED:
                    break
            qpos[t] = self._data.qpos
        return qpos

    def _place(self, qpos: np.ndarray) -> None:
        self._data.qpos[:] = qpos
        self._update()

    def _update(self) -> None:
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_comPos(self._model, self._data)

    def _step(self, t: int, lean: np.ndarray, lowest: np.ndarray, highest: np.ndarray) -> float:
        """Take one step towards frame ``t``; returns the largest turn of a joint, rad."""
        self._linearise(t)
        jacobian = self._weights * self._jacobian
        error = self._weights[:, 0] * self._error
        joints = self._data.qpos[7:]
        hessian = jacobian.T @ jacobian
        diagonal = np.einsum("ii->i", hessian)
        diagonal += DAMPING * (1 + error @ error)
        diagonal[_BASE:] += self._posture
        gradient = -(error @ jacobian)
        gradient[_BASE:] -= self._posture * (lean - joints)
        upper, lower = np.full(self._model.nv, _FREE), np.full(self._model.nv, -_FREE)
        # Rounding may leave a joint a hair beyond its bound.
        upper[_BASE:] = np.clip(highest - joints, 0, MAX_STEP)
        lower[_BASE:] = np.clip(lowest - joints, -MAX_STEP, 0)
        move, _, flag, _ = daqp.solve(hessian, gradient, _NO_ROWS, upper, lower, _NO_SENSE)
        if flag != 1:
            raise np.linalg.LinAlgError(f"no step of inverse kinematics in frame {t} (code {flag})")
        mujoco.mj_integratePos(self._model, self._data.qpos, move, 1.0)
        np.clip(self._data.qpos[7:], self._lowest, self._highest, out=self._data.qpos[7:])
        self._update()
        return float(np.abs(move[_BASE:]).max())

    def _linearise(self, t: int) -> None:
        """Fill in the errors (R,) of frame ``t``, in the world frame, and their Jacobian (R, nv)."""
        model, data = self._model, self._data
        row = 0
        for body in self._point_bodies:
            mujoco.mj_jacBody(model, data, self._jacobian[row : row + 3], None, body)
            row += 3
        self._error[:row] = (self._points[t] - data.xpos[self._point_bodies]).ravel()
        turn = np.empty(3)
        for target, body in zip(self._turns[t], self._turn_bodies):
            mujoco.mj_jacBody(model, data, None, self._jacobian[row : row + 3], body)
            mujoco.mju_subQuat(turn, target, data.xquat[body])
            mujoco.mju_rotVecQuat(self._error[row : row + 3], turn, data.xquat[body])
            row += 3


_NO_ROWS = np.zeros((0, _BASE + g1.NUM_JOINTS))
_NO_SENSE = np.zeros(_BASE + g1.NUM_JOINTS, np.int32)


def bent_pose() -> np.ndarray:
    """Return a pose (29,) with knees and elbows bent, from which every limb can go either way."""
    pose = dict.fromkeys(g1.JOINT_NAMES, 0.0)
    for side, sign in zip(SIDES, (1.0, -1.0)):
        pose[f"{side}_hip_pitch_joint"] = -0.15
        pose[f"{side}_knee_joint"] = 0.3
        pose[f"{side}_ankle_pitch_joint"] = -0.15
        pose[f"{side}_shoulder_roll_joint"] = 0.2 * sign
        pose[f"{side}_elbow_joint"] = 0.6
    return np.array(list(pose.values()))


def _cost(body: str, costs: dict[str, float]) -> float:
    return next(cost for link, cost in costs.items() if link in body)
