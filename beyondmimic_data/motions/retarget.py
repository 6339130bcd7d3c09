"""Retargeting: inverse kinematics that lays a person's motion on the G1, frame after frame."""

import dataclasses
from collections.abc import Iterator

import mink
import numpy as np
from scipy.ndimage import binary_dilation

from beyondmimic_data.motions import kinematics
from beyondmimic_data.motions.keypoints import SIDES, Keypoints, smooth
from beyondmimic_data.motions.targets import Targets, make_targets
from beyondmimic_data.robots import g1

FIRST_ROUNDS = 20
"""Most times that the first frame is solved, each from the solution before."""
ITERATIONS = 4
CONVERGED = 8e-3
"""rad; a smaller step ends a frame."""
POSTURE_COST, WRIST_POSTURE_COST = 0.06, 0.6
ARM_PARTS = ("shoulder", "elbow", "wrist")
ARM_SMOOTHING, FREE_ANKLE_SMOOTHING = 1.0, 1.5
"""Frames; standard deviations of the filters over arm joints, which jump where an arm is straight, and over
ankles in the air, which jump where a pointed foot is beyond their limits."""
RELAXATION = 0.1
"""Share of the way to the relaxed pose that the posture task asks for in a frame."""
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
    qpos = _settle(np.stack(list(_solve(targets, fps))), targets.contacts.any)
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
    posture, relaxed = _posture()
    dt = 1.0 / fps
    for t in range(targets.num_frames):
        _aim(tasks, targets, t)
        for _ in range(1 if t else FIRST_ROUNDS):
            _lean(posture, relaxed, configuration.q)
            if _descend(configuration, [*tasks.values(), posture], limits, dt) == 1:
                break
        yield configuration.q.copy()


def _descend(
    configuration: mink.Configuration, tasks: list[mink.Task], limits: list[mink.Limit], dt: float
) -> int:
    """Take steps until they are small; returns how many it took."""
    for step in range(ITERATIONS):
        velocity = mink.solve_ik(configuration, tasks, dt, "daqp", damping=1e-3, limits=limits)
        configuration.integrate_inplace(velocity, dt)
        if np.abs(velocity[6:]).max() * dt < CONVERGED:
            return step + 1
    return ITERATIONS


def _settle(qpos: np.ndarray, standing: np.ndarray) -> np.ndarray:
    """Smooth what nothing holds to the floor: arms, and ankles in the air. Means of poses stay within limits.

    Args:
        qpos: (T, 36).
        standing: (T, 2) frames in which each foot has contact.
    """
    out = qpos.copy()
    arms = [7 + i for i, n in enumerate(g1.JOINT_NAMES) if any(part in n for part in ARM_PARTS)]
    out[:, arms] = smooth(qpos[:, arms], ARM_SMOOTHING)
    for s, side in enumerate(SIDES):
        ankle = [7 + i for i, n in enumerate(g1.JOINT_NAMES) if n.startswith(f"{side}_ankle")]
        near_floor = np.clip(
            2 * smooth(binary_dilation(standing[:, s], iterations=2).astype(float), 1.0), 0, 1
        )
        free = smooth(qpos[:, ankle], FREE_ANKLE_SMOOTHING)
        out[:, ankle] = free + near_floor[:, None] * (qpos[:, ankle] - free)
    limits = g1.joint_table()
    out[:, 7:] = np.clip(out[:, 7:], limits.lower, limits.upper)
    return out


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


def _posture() -> tuple[mink.PostureTask, np.ndarray]:
    """Return a weak task that settles what the targets leave free, and the relaxed pose (29,) it leans to.

    Hands stay straight on their forearms: what they hold is not in the keypoints.
    """
    cost = np.where(["wrist" in n for n in g1.JOINT_NAMES], WRIST_POSTURE_COST, POSTURE_COST)
    task = mink.PostureTask(kinematics.model(), cost=np.r_[np.zeros(6), cost])
    leg = ["hip" in n or "knee" in n or "ankle" in n for n in g1.JOINT_NAMES]
    return task, np.where(leg, 0.0, _bent_pose())


def _lean(task: mink.PostureTask, relaxed: np.ndarray, last: np.ndarray) -> None:
    """Pull to the last frame's joints, and a little to the relaxed pose: at a straight arm the upper arm's
    twist would else be anybody's.
    """
    task.set_target(np.concatenate([last[:7], last[7:] + RELAXATION * (relaxed - last[7:])]))
