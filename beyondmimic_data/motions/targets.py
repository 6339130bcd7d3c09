"""From a person's keypoints to targets for the robot: bone directions on the robot's bone lengths."""

import dataclasses
import functools

import mujoco
import numpy as np

from beyondmimic_data import rotations
from beyondmimic_data.motions import kinematics
from beyondmimic_data.motions.clearance import Capsule, clear_arms
from beyondmimic_data.motions.contacts import (
    Contacts,
    find_contacts,
    hold_still,
    level_ground,
    raise_above,
    reach,
)
from beyondmimic_data.motions.keypoints import (
    SIDES,
    Keypoints,
    frame_from_xz,
    frame_from_zy,
    smooth,
    unit,
)
from beyondmimic_data.motions.planting import plant_feet
from beyondmimic_data.motions.robot_body import robot_body
from beyondmimic_data.robots import g1, g1_facts

UP = np.array([0.0, 0.0, 1.0])
KNEE_BIAS = 0.02
"""m; how much a knee is pulled forward where a straight leg says nothing."""
MAX_LEG_STRETCH = 0.975
"""Longest hip-to-ankle distance as a share of the straight leg; the pelvis is lowered beyond it."""


@dataclasses.dataclass(frozen=True)
class Targets:
    """Where the robot's links should be, world frame; sided arrays are (T, 2, ...) left and right."""

    pelvis_pos: np.ndarray
    """(T, 3) m."""
    pelvis_quat: np.ndarray
    """(T, 4) wxyz."""
    torso_quat: np.ndarray
    """(T, 4)."""
    knees: np.ndarray
    """(T, 2, 3) m."""
    ankles: np.ndarray
    """(T, 2, 3) m, ankle roll links."""
    foot_quat: np.ndarray
    """(T, 2, 4)."""
    elbows: np.ndarray
    """(T, 2, 3) m."""
    wrists: np.ndarray
    """(T, 2, 3) m, wrist yaw links."""
    contacts: Contacts


def make_targets(points: Keypoints, rest: Keypoints | None, fps: float) -> tuple[Targets, dict[str, float]]:
    """Turn keypoints into targets for the robot.

    Args:
        points: the person at the control rate, z up, any unit.
        rest: one frame of an upright rest pose that calibrates pelvis, torso and feet; ``None`` takes the
            joints' directions as they are and calibrates feet by their stance.
        fps: control rate, Hz.

    Returns:
        The targets and figures: ``scale`` (robot metres a unit) and ``ground_slope_deg``.
    """
    body = robot_body()
    scale = (body.thigh + body.shin) / points.leg_length
    points, slopes = level_ground(points, scale, fps)
    contacts = find_contacts(points, fps)
    origin = np.append(points.pelvis[0, :2], -body.ankle_height)
    points = points.map(lambda a: a - origin)

    pelvis_rot, torso_rot = _trunk_frames(points)
    if rest is not None:
        rest_pelvis, rest_torso = _trunk_frames(rest)
        pelvis_rot, torso_rot = pelvis_rot @ rest_pelvis[0].T, torso_rot @ rest_torso[0].T
    foot_quat = _flatten(_foot_quats(points, rest, contacts), contacts)

    pelvis = points.pelvis - pelvis_rot @ body.hips.mean(0)
    hips = pelvis[:, None] + np.einsum("tij,sj->tsi", pelvis_rot, body.hips)
    ankles = _chain(hips, points.hips, points.knees, points.ankles, body.thigh, body.shin)[1]
    ankles, contacts = plant_feet(ankles, foot_quat, contacts, fps)
    lowering = _lowering(hips, ankles, (body.thigh + body.shin) * MAX_LEG_STRETCH)
    pelvis, hips = pelvis - lowering[:, None] * UP, hips - lowering[:, None, None] * UP
    wanted = hips + body.thigh * unit(points.knees - points.hips)
    forward = rotations.rotate(foot_quat, np.array([1.0, 0.0, 0.0]))
    knees = _knees(hips, wanted, ankles, forward)

    torso = pelvis + pelvis_rot @ body.torso
    shoulders = torso[:, None] + np.einsum("tij,sj->tsi", torso_rot, body.shoulders)
    elbows, wrists = _chain(
        shoulders, points.shoulders, points.elbows, points.wrists, body.upper_arm, body.forearm
    )
    elbows, wrists = clear_arms(
        elbows, wrists, _obstacles(pelvis, pelvis_rot, torso_rot, (hips, knees, ankles))
    )
    targets = Targets(
        pelvis_pos=pelvis,
        pelvis_quat=to_quaternions(pelvis_rot),
        torso_quat=to_quaternions(torso_rot),
        knees=knees,
        ankles=ankles,
        foot_quat=foot_quat,
        elbows=elbows,
        wrists=wrists,
        contacts=contacts,
    )
    return targets, {"scale": scale, "ground_slope_deg": float(np.degrees(np.abs(slopes).max()))}


def to_quaternions(matrices: np.ndarray) -> np.ndarray:
    """Turn rotation matrices (..., 3, 3) into quaternions wxyz."""
    flat = matrices.reshape(-1, 9)
    out = np.empty((len(flat), 4))
    for row, matrix in zip(out, flat):
        mujoco.mju_mat2Quat(row, matrix)
    return out.reshape(*matrices.shape[:-2], 4)


def _trunk_frames(points: Keypoints) -> tuple[np.ndarray, np.ndarray]:
    """Return orientations (T, 3, 3) of pelvis and torso."""
    pelvis = frame_from_zy(points.spine - points.pelvis, points.hips[:, 0] - points.hips[:, 1])
    torso = frame_from_zy(points.neck - points.pelvis, points.shoulders[:, 0] - points.shoulders[:, 1])
    return pelvis, torso


def _foot_frames(points: Keypoints) -> np.ndarray:
    """Return foot orientations (T, 2, 3, 3) with x along the foot.

    The world's up says where the instep is while the foot is near level under an upright shin; else the shin
    does, as a heel kicked back may turn the sole up.
    """
    along = unit(points.toes - points.ankles)
    shin = unit(points.knees - points.ankles)
    level = np.clip(1.15 - 1.6 * along[..., 2:] ** 2, 0, 1)
    upright = np.clip(2.5 * (shin[..., 2:] - 0.3), 0, 1)
    trust = level * upright
    return frame_from_xz(along, trust * UP + (1 - trust) * shin)


def _foot_quats(points: Keypoints, rest: Keypoints | None, contacts: Contacts) -> np.ndarray:
    """Return foot orientations (T, 2, 4), level when the person's foot is flat, heading along its toes."""
    quats = to_quaternions(_foot_frames(points))
    reference = None if rest is None else to_quaternions(_foot_frames(rest))[0]
    out = np.empty_like(quats)
    for s in range(2):
        standing = quats[contacts.flat[:, s], s]
        if reference is not None:
            flat = reference[s]
        else:
            flat = standing[_median_pitch(standing)] if len(standing) else quats[0, s]
        to_level = rotations.multiply(rotations.conjugate(flat), rotations.yaw_only(flat))
        out[:, s] = rotations.multiply(quats[:, s], to_level)
    return out


def _median_pitch(quats: np.ndarray) -> int:
    """Return the index of the quaternion of (N, 4) whose x axis has the median slope."""
    slope = rotations.to_rot6d(quats)[:, 4]
    return int(np.argsort(slope)[len(slope) // 2])


def _flatten(quats: np.ndarray, contacts: Contacts) -> np.ndarray:
    """Make feet level, with one heading a stance, while heel and toe stand; (T, 2, 4)."""
    out = np.empty_like(quats)
    for s in range(2):
        heading = np.unwrap(rotations.yaw(quats[:, s]))
        heading += hold_still(heading[:, None, None], contacts.flat[:, s : s + 1])[:, 0]
        level = rotations.from_yaw(heading)
        change = rotations.to_rotation_vector(rotations.multiply(rotations.conjugate(quats[:, s]), level))
        change[~contacts.flat[:, s]] = np.nan
        out[:, s] = rotations.multiply(quats[:, s], rotations.from_rotation_vector(reach(change)))
    return out


def _chain(
    roots: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray, upper: float, lower: float
) -> tuple[np.ndarray, np.ndarray]:
    """Lay a person's two bones a-b and b-c, (T, 2, 3), on the robot's lengths from ``roots``."""
    middle = roots + upper * unit(b - a)
    return middle, middle + lower * unit(c - b)


def _knees(hips: np.ndarray, wanted: np.ndarray, ankles: np.ndarray, forward: np.ndarray) -> np.ndarray:
    """Place knees so that thigh and shin reach from hip to ankle, bent towards where they are wanted.

    Nearly straight legs bend towards ``forward``: the robot's knees, like a person's, go one way only.

    Args:
        hips: (T, 2, 3) m; likewise the others.
        wanted: the person's thigh directions laid from the hips.
        ankles: planted ankles.
        forward: unit vectors along the feet.
    """
    body = robot_body()
    leg = ankles - hips
    length = np.linalg.norm(leg, axis=-1, keepdims=True)
    along = leg / length
    span = np.clip(length, abs(body.thigh - body.shin) + 1e-3, body.thigh + body.shin)
    foot_of_knee = (body.thigh**2 - body.shin**2 + span**2) / (2 * span)
    out = np.sqrt(np.maximum(body.thigh**2 - foot_of_knee**2, 0.0))
    bend = wanted - hips + KNEE_BIAS * forward
    bend = unit(bend - (bend * along).sum(-1, keepdims=True) * along)
    return hips + foot_of_knee * along + out * bend


def _lowering(hips: np.ndarray, ankles: np.ndarray, longest: float) -> np.ndarray:
    """Return how far (T,) the pelvis must come down so that no leg is longer than ``longest``."""
    level = np.linalg.norm((hips - ankles)[..., :2], axis=-1)
    tallest = ankles[..., 2] + np.sqrt(np.maximum(longest**2 - level**2, 0.0))
    headroom = (tallest - hips[..., 2]).min(1)
    return smooth(raise_above(headroom, np.zeros(len(hips)), np.zeros(len(hips), bool)), 1.0)


def _obstacles(
    pelvis: np.ndarray, pelvis_rot: np.ndarray, torso_rot: np.ndarray, legs: tuple[np.ndarray, ...]
) -> list[Capsule]:
    """Return the robot's trunk, head and legs as capsules that move with the targets.

    Args:
        pelvis: (T, 3) m.
        pelvis_rot: (T, 3, 3).
        torso_rot: (T, 3, 3).
        legs: hips, knees and ankles, (T, 2, 3) m.
    """
    hips, knees, ankles = legs
    torso = pelvis + pelvis_rot @ robot_body().torso
    thigh = frame_from_zy(hips - knees, pelvis_rot[:, None, :, 1])
    shin = frame_from_zy(knees - ankles, thigh[..., 1])
    frames = {"pelvis": (pelvis, pelvis_rot), "torso_link": (torso, torso_rot)}
    for s, side in enumerate(SIDES):
        for link in ("hip_roll", "hip_yaw"):
            frames[f"{side}_{link}_link"] = (hips[:, s], thigh[:, s])
        frames[f"{side}_knee_link"] = (knees[:, s], shin[:, s])
    return [
        (origin + rotation @ start, origin + rotation @ end, radius)
        for link, (origin, rotation) in frames.items()
        for start, end, radius in _shapes_in_zero_pose()[link]
    ]


@functools.cache
def _shapes_in_zero_pose() -> dict[str, list[tuple[np.ndarray, np.ndarray, float]]]:
    """Return each link's capsules along the zero pose's axes, from the origin used in ``_obstacles``."""
    pose = kinematics.forward(kinematics.model().qpos0[None])
    positions, quaternions = (dict(zip(g1.BODY_NAMES, a[0])) for a in pose)
    origins = dict(positions)
    for s, side in enumerate(SIDES):
        for link in ("hip_roll", "hip_yaw"):
            origins[f"{side}_{link}_link"] = positions["pelvis"] + robot_body().hips[s]
    shapes: dict[str, list[tuple[np.ndarray, np.ndarray, float]]] = {link: [] for link in g1.BODY_NAMES}
    for shape in g1_facts.BODY_SHAPES:
        start, end = (
            positions[shape.link]
            + rotations.rotate(quaternions[shape.link], np.array(point))
            - origins[shape.link]
            for point in (shape.start, shape.end)
        )
        shapes[shape.link].append((start, end, shape.radius))
    return shapes
