"""The robot as the retargeter sees it: lengths of its bones, and where hips, shoulders and soles are."""

import dataclasses
import functools

import numpy as np

from beyondmimic_data.motions import kinematics
from beyondmimic_data.motions.keypoints import SIDES
from beyondmimic_data.robots import g1, g1_facts


@dataclasses.dataclass(frozen=True)
class RobotBody:
    """Lengths and offsets of the robot in its zero pose, m; sided arrays are (2, 3)."""

    hips: np.ndarray
    """Hip centres in the pelvis frame: on the hip pitch axis, above the knees."""
    torso: np.ndarray
    """Torso link in the pelvis frame."""
    shoulders: np.ndarray
    """Shoulder roll links in the torso frame."""
    thigh: float
    shin: float
    upper_arm: float
    forearm: float
    ankle_height: float
    """Height of the ankle roll link over the floor when the sole is flat."""
    heel: np.ndarray
    """Corners of the heel in the ankle frame, on the sole, (2, 3)."""
    toe: np.ndarray
    """Corners of the toe, (2, 3)."""

    @property
    def sole(self) -> np.ndarray:
        """(4, 3) corners of the sole in the ankle frame."""
        return np.concatenate([self.heel, self.toe])


@functools.cache
def robot_body() -> RobotBody:
    """Measure the robot's zero pose."""
    position = dict(zip(g1.BODY_NAMES, kinematics.forward(kinematics.model().qpos0[None])[0][0]))

    def sided(link: str) -> np.ndarray:
        return np.array([position[f"{side}_{link}_link"] for side in SIDES])

    hips = sided("hip_pitch")
    hips[:, 1] = sided("hip_roll")[:, 1]
    knees, ankles, shoulders, elbows = (sided(n) for n in ("knee", "ankle_roll", "shoulder_roll", "elbow"))
    soles = [s for s in g1_facts.FOOT_SPHERES if s.link == g1_facts.FOOT_BODIES[0]]
    corners = np.array([np.subtract(s.start, (0, 0, s.radius)) for s in soles])
    return RobotBody(
        hips=hips - position["pelvis"],
        torso=position["torso_link"] - position["pelvis"],
        shoulders=shoulders - position["torso_link"],
        thigh=float(np.linalg.norm(knees[0] - hips[0])),
        shin=float(np.linalg.norm(ankles[0] - knees[0])),
        upper_arm=float(np.linalg.norm(elbows[0] - shoulders[0])),
        forearm=float(np.linalg.norm(sided("wrist_yaw")[0] - elbows[0])),
        ankle_height=float(-corners[:, 2].min()),
        heel=corners[corners[:, 0] < 0],
        toe=corners[corners[:, 0] > 0],
    )
