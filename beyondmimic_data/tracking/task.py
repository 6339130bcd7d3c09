"""The tracking task as pure functions of robot state and reference (BeyondMimic v3 §III, METHOD section 1).

Nothing here knows a simulator. N environments, K tracked bodies, J joints; float32 tensors.
"""

import dataclasses
import functools
from collections.abc import Sequence

import torch

from beyondmimic_data import rotations
from beyondmimic_data.config import TaskConfig
from beyondmimic_data.robots import g1, g1_facts
from beyondmimic_data.sim.backend import RobotState
from beyondmimic_data.tracking.reference import ReferenceFrame

TERMINATIONS = ("anchor_height", "anchor_tilt", "end_effector_height", "not_finite")
"""Causes of a fall, in the order in which ``terminations`` reports them."""


@dataclasses.dataclass(frozen=True)
class TaskBodies:
    """Where the task's bodies stand in a simulator's arrays, and its constants in that joint order."""

    tracked: torch.Tensor
    """(K,) indices into the simulator's body axis."""
    anchor: int
    """Index of the anchor among the tracked bodies."""
    end_effectors: torch.Tensor
    """Indices of feet and hands among the tracked bodies."""
    penalised: torch.Tensor
    """Columns of the contact forces that must stay untouched."""
    default_joint_pos: torch.Tensor
    """(J,) rad."""
    action_scale: torch.Tensor
    """(J,) rad a unit of action."""
    soft_lower: torch.Tensor
    """(J,) rad."""
    soft_upper: torch.Tensor
    """(J,) rad."""

    @classmethod
    def of(
        cls, body_names: Sequence[str], joint_names: Sequence[str], contact_bodies: Sequence[str]
    ) -> "TaskBodies":
        """Look everything up by name in a simulator's orders."""
        table, order = g1.joint_table(), [g1.JOINT_NAMES.index(name) for name in joint_names]

        def per_joint(values: object) -> torch.Tensor:
            return torch.tensor(values)[order].float()

        tracked = g1_facts.TRACKED_BODIES
        return cls(
            tracked=torch.tensor([body_names.index(name) for name in tracked]),
            anchor=tracked.index(g1_facts.ANCHOR_BODY),
            end_effectors=torch.tensor([tracked.index(name) for name in g1_facts.END_EFFECTOR_BODIES]),
            penalised=torch.tensor([contact_bodies.index(name) for name in g1.PENALISED_CONTACT_BODIES]),
            default_joint_pos=per_joint(table.default_pos),
            action_scale=per_joint(table.action_scale),
            soft_lower=per_joint(table.soft_lower),
            soft_upper=per_joint(table.soft_upper),
        )


@dataclasses.dataclass(frozen=True)
class Tracked:
    """The tracked bodies of the robot beside where the anchored reference wants them."""

    pos: torch.Tensor
    """(N, K, 3) m, world."""
    quat: torch.Tensor
    """(N, K, 4)."""
    lin_vel: torch.Tensor
    """(N, K, 3) m/s, world."""
    ang_vel: torch.Tensor
    """(N, K, 3) rad/s, world."""
    reference: ReferenceFrame
    anchor: int
    """Index of the anchor among the tracked bodies."""

    @functools.cached_property
    def _turn(self) -> torch.Tensor:
        """(N, 1, 4) from the reference's heading to the robot's."""
        there = rotations.conjugate(self.reference.body_quat_w[:, self.anchor])
        return rotations.yaw_only(rotations.multiply(self.quat[:, self.anchor], there))[:, None]

    @functools.cached_property
    def desired_pos(self) -> torch.Tensor:
        """(N, K, 3) m: the reference moved to the robot's place and heading."""
        ref = self.reference.body_pos_w[:, self.anchor]
        base = torch.cat([self.pos[:, self.anchor, :2], ref[:, 2:]], dim=-1)[:, None]
        return base + rotations.rotate(self._turn, self.reference.body_pos_w - ref[:, None])

    @functools.cached_property
    def desired_quat(self) -> torch.Tensor:
        """(N, K, 4): the reference turned to the robot's heading."""
        return rotations.multiply(self._turn, self.reference.body_quat_w)


def anchor_reference(state: RobotState, reference: ReferenceFrame, bodies: TaskBodies) -> Tracked:
    """Move the reference to the robot's horizontal place and heading (BeyondMimic v3 §III-A).

    Horizontal drift and heading drift are free; height, roll and pitch are not. What is desired is worked out
    when it is asked for: observations need none of it.
    """
    return Tracked(
        pos=state.body_pos_w.index_select(1, bodies.tracked),
        quat=state.body_quat_w.index_select(1, bodies.tracked),
        lin_vel=state.body_lin_vel_w.index_select(1, bodies.tracked),
        ang_vel=state.body_ang_vel_w.index_select(1, bodies.tracked),
        reference=reference,
        anchor=bodies.anchor,
    )


def actor_terms(
    state: RobotState,
    tracked: Tracked,
    reference: ReferenceFrame,
    last_action: torch.Tensor,
    joint_offset: torch.Tensor,
    bodies: TaskBodies,
) -> dict[str, torch.Tensor]:
    """Return the actor's observation terms by name, without noise (METHOD 1.2); 160 numbers in all.

    ``joint_offset`` (N, J) is each joint's zero error: encoders read positions without it.
    """
    a = bodies.anchor
    anchor_pos, anchor_quat = tracked.pos[:, a], tracked.quat[:, a]
    to_reference = reference.body_pos_w[:, a] - anchor_pos
    relative = rotations.multiply(rotations.conjugate(anchor_quat), reference.body_quat_w[:, a])
    return {
        "command": torch.cat([reference.joint_pos, reference.joint_vel], dim=-1),
        "motion_anchor_pos_b": rotations.rotate_inverse(anchor_quat, to_reference),
        "motion_anchor_ori_b": rotations.to_rot6d(relative),
        "base_lin_vel": rotations.rotate_inverse(state.root_quat_w, state.root_lin_vel_w),
        "base_ang_vel": rotations.rotate_inverse(state.root_quat_w, state.root_ang_vel_w),
        "joint_pos": state.joint_pos - bodies.default_joint_pos - joint_offset,
        "joint_vel": state.joint_vel,
        "actions": last_action,
    }


ACTOR_TERMS = (
    "command",
    "motion_anchor_pos_b",
    "motion_anchor_ori_b",
    "base_lin_vel",
    "base_ang_vel",
    "joint_pos",
    "joint_vel",
    "actions",
)
"""The actor's terms in their order."""

CRITIC_TERMS = (*ACTOR_TERMS[:3], "body_pos", "body_ori", *ACTOR_TERMS[3:], "latency")
"""The critic's terms in their order."""

ACTOR_NOISE = {
    "motion_anchor_pos_b": 0.25,
    "motion_anchor_ori_b": 0.05,
    "base_lin_vel": 0.5,
    "base_ang_vel": 0.2,
    "joint_pos": 0.01,
    "joint_vel": 0.5,
}
"""Half widths of the uniform noise on the actor's terms (whole_body_tracking's released task, METHOD 1.2)."""

STATE_ESTIMATION_TERMS = ("motion_anchor_pos_b", "base_lin_vel")
"""Terms that a robot without state estimation does not have."""


def limit_anchor_offset(observation: torch.Tensor, joints: int, config: TaskConfig) -> torch.Tensor:
    """Cut the anchor's offset in the actor's noisy observation (N, 160) at ``anchor_offset_limit``.

    What the policy was trained on, and part of its ONNX file. Without state estimation there is no offset.
    """
    if not config.state_estimation:
        return observation
    before, offset, after = observation.split([2 * joints, 3, observation.shape[-1] - 2 * joints - 3], dim=-1)
    limit = config.anchor_offset_limit
    return torch.cat([before, offset.clamp(-limit, limit), after], dim=-1)


def critic_terms(
    terms: dict[str, torch.Tensor], tracked: Tracked, latency_s: torch.Tensor, bodies: TaskBodies
) -> dict[str, torch.Tensor]:
    """Return the critic's terms: the actor's, body poses in the anchor frame, and the latency; 287 numbers.

    The latency (N, 1) s is a deviation from the paper: it explains returns that nothing else does.
    """
    a = bodies.anchor
    inverse = rotations.conjugate(tracked.quat[:, a])[:, None]
    body_pos = rotations.rotate(inverse, tracked.pos - tracked.pos[:, a, None]).flatten(1)
    body_ori = rotations.to_rot6d(rotations.multiply(inverse, tracked.quat)).flatten(1)
    all_terms = {**terms, "body_pos": body_pos, "body_ori": body_ori, "latency": latency_s}
    return {name: all_terms[name] for name in CRITIC_TERMS}


def rewards(
    state: RobotState,
    tracked: Tracked,
    reference: ReferenceFrame,
    action: torch.Tensor,
    last_action: torch.Tensor,
    bodies: TaskBodies,
    config: TaskConfig,
) -> dict[str, torch.Tensor]:
    """Return each reward term (N,), weighted, per second (BeyondMimic v4 table S1, METHOD 1.4)."""
    a = bodies.anchor

    def gaussian(squared_error: torch.Tensor, std: float) -> torch.Tensor:
        return torch.exp(-squared_error / std**2)

    anchor_pos_error = (reference.body_pos_w[:, a] - tracked.pos[:, a]).square().sum(-1)
    anchor_ori_error = rotations.angle_between(reference.body_quat_w[:, a], tracked.quat[:, a]).square()
    body_ori_error = rotations.angle_between(tracked.desired_quat, tracked.quat).square().mean(-1)

    def body_error(desired: torch.Tensor, actual: torch.Tensor) -> torch.Tensor:
        return (desired - actual).square().sum(-1).mean(-1)

    below, above = bodies.soft_lower - state.joint_pos, state.joint_pos - bodies.soft_upper
    touched = state.contact_force[:, bodies.penalised] > config.contact_force_threshold
    c = config
    return {
        "anchor_position": c.anchor_position_weight * gaussian(anchor_pos_error, c.anchor_position_std),
        "anchor_orientation": c.anchor_orientation_weight
        * gaussian(anchor_ori_error, c.anchor_orientation_std),
        "body_position": c.body_position_weight
        * gaussian(body_error(tracked.desired_pos, tracked.pos), c.body_position_std),
        "body_orientation": c.body_orientation_weight * gaussian(body_ori_error, c.body_orientation_std),
        "body_linear_velocity": c.body_linear_velocity_weight
        * gaussian(body_error(reference.body_lin_vel_w, tracked.lin_vel), c.body_linear_velocity_std),
        "body_angular_velocity": c.body_angular_velocity_weight
        * gaussian(body_error(reference.body_ang_vel_w, tracked.ang_vel), c.body_angular_velocity_std),
        "action_rate": c.action_rate_weight * (action - last_action).square().sum(-1),
        "joint_limit": c.joint_limit_weight * (below.clamp(min=0) + above.clamp(min=0)).sum(-1),
        "undesired_contact": c.undesired_contact_weight * touched.sum(-1).float(),
    }


def terminations(
    state: RobotState, tracked: Tracked, reference: ReferenceFrame, bodies: TaskBodies, config: TaskConfig
) -> torch.Tensor:
    """Return (N, 4) which causes end each episode, in the order of ``TERMINATIONS`` (METHOD 1.5)."""
    a = bodies.anchor
    height = (tracked.pos[:, a, 2] - reference.body_pos_w[:, a, 2]).abs() > config.anchor_height_limit

    def gravity_z(q: torch.Tensor) -> torch.Tensor:
        return -(1 - 2 * (q[..., 1] ** 2 + q[..., 2] ** 2))

    tilt = (
        gravity_z(tracked.quat[:, a]) - gravity_z(reference.body_quat_w[:, a])
    ).abs() > config.anchor_tilt_limit
    ends = (tracked.pos - tracked.desired_pos)[:, bodies.end_effectors, 2].abs()
    end_effector = (ends > config.end_effector_height_limit).any(-1)
    finite = torch.isfinite(state.joint_pos).all(-1) & torch.isfinite(tracked.pos).flatten(1).all(-1)
    return torch.stack([height, tilt, end_effector, ~finite], dim=-1)


def body_pos_error(tracked: Tracked) -> torch.Tensor:
    """Return the mean distance (N,) of the tracked bodies from where the anchored reference wants them, m."""
    return (tracked.desired_pos - tracked.pos).norm(dim=-1).mean(-1)


def tracking_errors(
    tracked: Tracked, reference: ReferenceFrame, state: RobotState, bodies: TaskBodies
) -> dict[str, torch.Tensor]:
    """Return tracking errors (N,): local body position and orientation, velocities, joints (METHOD 1.11)."""
    return {
        "body_pos_err_m": body_pos_error(tracked),
        "body_ori_err_rad": rotations.angle_between(tracked.desired_quat, tracked.quat).mean(-1),
        "body_lin_vel_err": (reference.body_lin_vel_w - tracked.lin_vel).norm(dim=-1).mean(-1),
        "body_ang_vel_err": (reference.body_ang_vel_w - tracked.ang_vel).norm(dim=-1).mean(-1),
        "joint_pos_err_rad": (reference.joint_pos - state.joint_pos).abs().mean(-1),
        "anchor_pos_err_m": (reference.body_pos_w[:, bodies.anchor] - tracked.pos[:, bodies.anchor]).norm(
            dim=-1
        ),
    }
