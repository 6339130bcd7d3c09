"""The contract between recorded data, the model and the robot: names, units and scales."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from beyondmimic_data.config import ControlConfig
from beyondmimic_data.errors import ConfigError
from beyondmimic_data.overrides import from_json
from beyondmimic_data.robots import g1, g1_facts

MAX_NAMES = 512
"""Joints or bodies of a robot; the G1 has 29 and 30. Matrices of a policy have the square of six times it."""


@dataclasses.dataclass(frozen=True)
class Contract:
    """What a state and an action mean. Every array of a body or joint follows the names given here."""

    robot: str
    """Robot model."""
    joint_names: tuple[str, ...]
    """Order of joint angles, joint velocities and actions."""
    body_names: tuple[str, ...]
    """Order of body positions and velocities; the first body is the root."""
    default_joint_pos: tuple[float, ...]
    """rad; the target of a zero action."""
    action_scale: tuple[float, ...]
    """rad a unit of action: ``target = default_joint_pos + action_scale * action``."""
    joint_stiffness: tuple[float, ...]
    """Servo gain kp, N m/rad."""
    joint_damping: tuple[float, ...]
    """Servo gain kd, N m s/rad."""
    control_hz: float
    """Actions a second."""
    physics_dt: float
    """s, physics step of the recorded data."""
    anchor_body_name: str = g1_facts.ANCHOR_BODY
    """Body that carries the head."""
    quaternion_order: str = "wxyz"
    """Order of quaternion components."""

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "Contract":
        """Rebuild a contract from its JSON form.

        Raises:
            ConfigError: a field is missing, unknown, of another type or not a number for every joint.
        """
        contract = from_json(cls, value, "contract")
        joints = len(contract.joint_names)
        if not 1 <= joints <= MAX_NAMES or not 1 <= len(contract.body_names) <= MAX_NAMES:
            found = f"{joints} joints and {len(contract.body_names)} bodies"
            raise ConfigError("contract.joint_names", found, f"1 to {MAX_NAMES} of each")
        for field in ("default_joint_pos", "action_scale", "joint_stiffness", "joint_damping"):
            if len(getattr(contract, field)) != joints:
                raise ConfigError(f"contract.{field}", len(getattr(contract, field)), f"{joints} numbers")
        ControlConfig(contract.control_hz, contract.physics_dt)  # refuses rates that are none
        return contract

    def require_names(self, joint_names: Sequence[str], body_names: Sequence[str], where: str) -> None:
        """Check that another party orders joints and bodies alike.

        Raises:
            ConfigError: the first name that differs, with its index.
        """
        for field, ours, theirs in (
            ("joint_names", self.joint_names, tuple(joint_names)),
            ("body_names", self.body_names, tuple(body_names)),
        ):
            if ours == theirs:
                continue
            index = next(
                (i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs))
            )
            expected = ours[index] if index < len(ours) else "nothing"
            found = theirs[index] if index < len(theirs) else "nothing"
            raise ConfigError(f"{where}.{field}[{index}]", found, f"{expected!r}, as in the model's contract")


def g1_contract(control: ControlConfig) -> Contract:
    """Return the contract of the G1 at a control rate."""
    table = g1.joint_table()
    return Contract(
        robot="g1_29dof",
        joint_names=g1.JOINT_NAMES,
        body_names=g1.BODY_NAMES,
        default_joint_pos=tuple(table.default_pos.tolist()),
        action_scale=tuple(table.action_scale.tolist()),
        joint_stiffness=tuple(table.stiffness.tolist()),
        joint_damping=tuple(table.damping.tolist()),
        control_hz=control.control_hz,
        physics_dt=control.physics_dt,
    )
