"""Retargeting: inverse kinematics that lays a person's motion on the G1, frame after frame."""

import dataclasses
from collections.abc import Iterator

import mink
import numpy as np

from beyondmimic_data.motions import kinematics
from beyondmimic_data.motions.keypoints import SIDES, Keypoints
from beyondmimic_data.motions.targets import Targets, make_targets
from beyondmimic_data.robots import g1

FIRST_ITERATIONS = 60
ITERATIONS = 4
MAX_JOINT_SPEED = 20.0
"""rad/s."""


@dataclasses.dataclass(frozen=True)
class Retargeted:
    """The robot's motion and how well it follows."""

    qpos: np.ndarray
    """(T, 36) base position, base quaternion wxyz, joint angles."""
    targets: Targets
    figures: dict[str, float]
    """``scale``, ``ground_slope_deg``, mean ``ankle_error_m`` and ``wrist_error_m``."""


def retarget(points: Keypoints, rest: Keypoints | None, fps: float) -> Retargeted:
    """Lay a person's motion on the robot.

    Args:
        points: keypoints at the control rate, z up, any unit of length.
        rest: one frame of an upright rest pose, or ``None``.
        fps: control rate, Hz.
    """
    targets, figures = make_targets(points, rest, fps)
    qpos = np.stack(list(_solve(targets, fps)))
    positions, _ = kinematics.forward(qpos)
    for name, link, wanted in (
        ("ankle", "ankle_roll", targets.ankles),
        ("wrist", "wrist_yaw", targets.wrists),
    ):
        index = [g1.BODY_NAMES.index(f"{side}_{link}_link") for side in SIDES]
        figures[f"{name}_error_m"] = float(np.linalg.norm(positions[:, index] - wanted, axis=-1).mean())
    return Retargeted(qpos, targets, figures)


def _solve(targets: Targets, fps: float) -> Iterator[np.ndarray]:
    """Yield the generalised position (36,) of each frame, each solved from the one before."""
    model = kinematics.model()
    configuration = mink.Configuration(model)
    configuration.update(_start(targets))
    tasks = _tasks()
    limits = _limits()
    posture = _posture()
    dt = 1.0 / fps
    for t in range(targets.num_frames):
        _aim(tasks, targets, t)
        for _ in range(ITERATIONS if t else FIRST_ITERATIONS):
            velocity = mink.solve_ik(
                configuration, [*tasks.values(), posture], dt, "daqp", damping=1e-3, limits=limits
            )
            configuration.integrate_inplace(velocity, dt)
        yield configuration.q.copy()


def _bent_pose() -> np.ndarray:
    """Return a pose (29,) with knees and elbows bent, from which every limb can go either way."""
    pose = dict.fromkeys(g1.JOINT_NAMES, 0.0)
    for side, sign in zip(SIDES, (1.0, -1.0)):
        pose[f"{side}_hip_pitch_joint"] = -0.15
        pose[f"{side}_knee_joint"] = 0.3
        pose[f"{side}_ankle_pitch_joint"] = -0.15
        pose[f"{side}_shoulder_roll_joint"] = 0.2 * sign
        pose[f"{side}_elbow_joint"] = 0.6
    return np.array(list(pose.values()))


def _start(targets: Targets) -> np.ndarray:
    return np.concatenate([targets.pelvis_pos[0], targets.pelvis_quat[0], _bent_pose()])


def _tasks() -> dict[str, mink.FrameTask]:
    """Return one task a link that has a target."""

    def task(link: str, position: float, orientation: float) -> mink.FrameTask:
        return mink.FrameTask(
            f"{link}_link" if link != "pelvis" else link, "body", position, orientation, lm_damping=1e-3
        )

    tasks = {"pelvis": task("pelvis", 3.0, 2.0), "torso": task("torso", 0.0, 1.0)}
    for side in SIDES:
        tasks[f"{side}_knee"] = task(f"{side}_knee", 1.5, 0.0)
        tasks[f"{side}_ankle"] = task(f"{side}_ankle_roll", 20.0, 1.0)
        tasks[f"{side}_elbow"] = task(f"{side}_elbow", 2.0, 0.0)
        tasks[f"{side}_wrist"] = task(f"{side}_wrist_yaw", 2.0, 0.0)
    return tasks


def _aim(tasks: dict[str, mink.FrameTask], targets: Targets, t: int) -> None:
    """Set the targets of frame ``t``."""
    level = np.array([1.0, 0.0, 0.0, 0.0])

    def aim(name: str, position: np.ndarray, quaternion: np.ndarray = level) -> None:
        tasks[name].set_target(mink.SE3(wxyz_xyz=np.concatenate([quaternion, position])))

    aim("pelvis", targets.pelvis_pos[t], targets.pelvis_quat[t])
    aim("torso", targets.pelvis_pos[t], targets.torso_quat[t])
    for s, side in enumerate(SIDES):
        aim(f"{side}_knee", targets.knees[t, s])
        aim(f"{side}_ankle", targets.ankles[t, s], targets.foot_quat[t, s])
        aim(f"{side}_elbow", targets.elbows[t, s])
        aim(f"{side}_wrist", targets.wrists[t, s])


def _limits() -> list[mink.Limit]:
    speeds = dict.fromkeys(g1.JOINT_NAMES, MAX_JOINT_SPEED)
    model = kinematics.model()
    return [mink.ConfigurationLimit(model, gain=0.95), mink.VelocityLimit(model, speeds)]


def _posture() -> mink.PostureTask:
    """Return a weak pull of the joints to a relaxed pose, which settles what the targets leave free."""
    posture = mink.PostureTask(kinematics.model(), cost=np.r_[np.zeros(6), np.full(g1.NUM_JOINTS, 0.02)])
    pose = np.where(["hip" in n or "knee" in n or "ankle" in n for n in g1.JOINT_NAMES], 0.0, _bent_pose())
    posture.set_target(np.concatenate([g1.default_qpos()[:7], pose]))
    return posture
