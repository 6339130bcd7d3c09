"""A tracking policy's ONNX file at work: NumPy, onnxruntime and MuJoCo, no torch and no other file.

``TrackingPlayer`` is what a deployer has to write; ``play`` closes the loop in simulation.

    player = TrackingPlayer("policy.onnx")
    targets = player.target(0, state)

``state`` is what ``TrackingPlayer.target`` describes. One that cannot be a robot's is a ``ValueError`` that
names the field, what was found and what is expected; a file that is damaged is a ``BundleError``.
"""

import dataclasses
import operator
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, SupportsIndex

import numpy as np

from beyondmimic_data.config import TaskConfig
from beyondmimic_data.deploy.player import (
    BundleError,
    checked_array,
    checked_fields,
    checked_quaternions,
    open_network,
    read_bytes,
)
from beyondmimic_data.robots import g1_facts

if TYPE_CHECKING:
    import mujoco

Array = np.ndarray


ESTIMATED = {"motion_anchor_pos_b": "anchor_pos_w", "base_lin_vel": "base_lin_vel"}
"""Observations that a policy without state estimation lacks, and the field of a state each is made of."""
OUTPUTS = {"actions", "joint_pos", "joint_vel", "body_pos_w", "body_quat_w"}
"""What is read of the network's outputs."""


def matrix_of(quat: Array) -> Array:
    """Return the rotation matrix (3, 3) of a quaternion wxyz."""
    w, x, y, z = quat
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


class TrackingPlayer:
    """Turns robot states into servo targets, with the reference that travels inside the file."""

    def __init__(self, path: str | Path) -> None:
        """Load the file and read its contract.

        Raises:
            BundleError: the file is missing, damaged, or no tracking policy's.
        """
        path = Path(path)
        self.session = open_network(path, read_bytes(path))
        self.outputs = [output.name for output in self.session.get_outputs()]
        try:
            self._read_contract(self.session.get_modelmeta().custom_metadata_map)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise BundleError(
                f"{path}: found no contract of a tracking policy ({error!r}), expected one in its metadata; "
                "export the policy again"
            ) from error

    def _read_contract(self, entries: Mapping[str, str]) -> None:
        """Take names, order, scales and rate from the file's metadata."""
        self.joint_names = entries["joint_names"].split(",")
        self.observation_names = entries["observation_names"].split(",")
        self.anchor_body = entries["anchor_body_name"]
        self.body_names = entries["body_names"].split(",")
        self._anchor = self.body_names.index(self.anchor_body)
        self.control_hz = float(entries["control_hz"])
        self.default_joint_pos, self.action_scale = (
            checked_array(name, entries[name].split(","), (len(self.joint_names),))
            for name in ("default_joint_pos", "action_scale")
        )
        self._width = self.session.get_inputs()[0].shape[1]
        joints = len(self.joint_names)
        widths = {
            "command": 2 * joints,
            "motion_anchor_pos_b": 3,
            "motion_anchor_ori_b": 6,
            "base_lin_vel": 3,
        }
        widths |= {"base_ang_vel": 3, "joint_pos": joints, "joint_vel": joints, "actions": joints}
        if sum(widths[name] for name in self.observation_names) != self._width:
            raise ValueError(
                f"observation_names: found {self.observation_names}, expected {self._width} numbers"
            )
        if not set(self.outputs) >= OUTPUTS:
            raise ValueError(f"outputs: found {self.outputs}, expected {sorted(OUTPUTS)}")
        if not 0 < self.control_hz < float("inf"):
            raise ValueError(f"control_hz: found {self.control_hz}, expected a rate above 0")
        self._last_action = np.zeros(len(self.joint_names))
        self._frame, self._reference = -1, dict[str, Array]()

    def reset(self) -> None:
        """Forget the last action."""
        self._last_action[:] = 0.0

    def reference(self, frame: int) -> dict[str, Array]:
        """Return the reference at a frame, the last one for later frames.

        Raises:
            ValueError: ``frame`` is no whole number of at least 0.
        """
        frame = _checked_frame(frame)
        if frame != self._frame:
            self._frame, self._reference = frame, self._run(np.zeros(self._width), frame)
        return self._reference

    def anchor(self, frame: int) -> tuple[Array, Array]:
        """Return the anchor's position (3,) m and quaternion (4,) in the reference at a frame."""
        reference = self.reference(frame)
        return reference["body_pos_w"][self._anchor], reference["body_quat_w"][self._anchor]

    def target(self, frame: int, state: dict[str, Array]) -> Array:
        """Return servo targets (J,), rad, in the order of ``joint_names``.

        Args:
            frame: frame of the reference that the robot should reach next.
            state: ``anchor_pos_w`` (3,), ``anchor_quat_w`` (4,), ``base_lin_vel`` and ``base_ang_vel`` (3,)
                in the base's frame, ``joint_pos`` and ``joint_vel`` (J,). Without state estimation the file
                reads neither ``anchor_pos_w`` nor ``base_lin_vel``, which may be missing then.

        Raises:
            ValueError: a field is missing or cannot be a robot's, or the network gives an action that is not
                finite.
        """
        state = self._checked(state)
        reference = self.reference(frame)
        inverse = matrix_of(state["anchor_quat_w"]).T
        relative = inverse @ matrix_of(reference["body_quat_w"][self._anchor])
        terms = {
            "command": np.concatenate([reference["joint_pos"], reference["joint_vel"]]),
            "motion_anchor_ori_b": relative[:, :2].ravel(),
            "base_ang_vel": state["base_ang_vel"],
            "joint_pos": state["joint_pos"] - self.default_joint_pos,
            "joint_vel": state["joint_vel"],
            "actions": self._last_action,
        }
        if "anchor_pos_w" in state:
            offset = reference["body_pos_w"][self._anchor] - state["anchor_pos_w"]
            terms["motion_anchor_pos_b"] = inverse @ offset
        if "base_lin_vel" in state:
            terms["base_lin_vel"] = state["base_lin_vel"]
        observation = np.concatenate([terms[name] for name in self.observation_names])
        action = self._run(observation, frame)["actions"]
        self._last_action = checked_array("actions", action, self._last_action.shape)
        return self.default_joint_pos + self.action_scale * self._last_action

    def fell(self, frame: int, body_pos_w: Array, body_quat_w: Array) -> bool:
        """Tell whether a robot has left the reference by more than training allows (METHOD 1.5).

        Args:
            frame: frame of the reference that the robot should have reached.
            body_pos_w: (K, 3) m, of the bodies ``body_names``.
            body_quat_w: (K, 4)

        Raises:
            ValueError: another number of bodies, or quaternions that are no rotations. Values that are not
                finite are a fall.
        """
        body_pos_w, body_quat_w = (np.asarray(values, float) for values in (body_pos_w, body_quat_w))
        if not (np.isfinite(body_pos_w).all() and np.isfinite(body_quat_w).all()):
            return True
        body_pos_w = checked_array("body_pos_w", body_pos_w, (len(self.body_names), 3))
        body_quat_w = checked_quaternions("body_quat_w", body_quat_w, (len(self.body_names), 4))
        limits, reference, a = TaskConfig(), self.reference(frame), self._anchor
        wanted_pos, wanted_quat = reference["body_pos_w"], reference["body_quat_w"]
        robot, wanted = matrix_of(body_quat_w[a]), matrix_of(wanted_quat[a])
        # Moving the reference to the robot's place and heading changes no height.
        heights = body_pos_w[:, 2] - wanted_pos[:, 2]
        ends = [self.body_names.index(name) for name in g1_facts.END_EFFECTOR_BODIES]
        return bool(
            abs(heights[a]) > limits.anchor_height_limit
            or abs(robot[2, 2] - wanted[2, 2]) > limits.anchor_tilt_limit
            or (np.abs(heights[ends]) > limits.end_effector_height_limit).any()
        )

    def _checked(self, state: Mapping[str, Array]) -> dict[str, Array]:
        """Return the fields of a state as arrays.

        Raises:
            ValueError: one is missing, or cannot be a robot's.
        """
        joints = len(self.joint_names)
        shapes = {
            "anchor_pos_w": (3,),
            "anchor_quat_w": (4,),
            "base_lin_vel": (3,),
            "base_ang_vel": (3,),
            "joint_pos": (joints,),
            "joint_vel": (joints,),
        }
        unused = {ESTIMATED[name] for name in ESTIMATED.keys() - set(self.observation_names)}
        return checked_fields("state", state, shapes, unused)

    def _run(self, observation: Array, frame: int) -> dict[str, Array]:
        feed = {
            "obs": observation[None].astype(np.float32),
            "time_step": np.array([[frame]], np.float32),
        }
        results = self.session.run(None, feed)
        return {name: value[0].astype(float) for name, value in zip(self.outputs, results)}


def _checked_frame(frame: SupportsIndex) -> int:
    """Return a frame of the reference as a number."""
    try:
        number = operator.index(frame)
    except TypeError as error:
        raise ValueError(f"frame: found {frame!r}, expected a whole number of at least 0") from error
    if number < 0:
        raise ValueError(f"frame: found {number}, expected a whole number of at least 0")
    return number


@dataclasses.dataclass(frozen=True)
class Played:
    """What became of one start."""

    steps: int
    """Control steps until it fell or ended."""
    fell: bool
    """Whether one of METHOD 1.5's limits ended it."""
    path: Array
    """(steps, 3) m, position of the anchor after each step."""


def play(
    player: TrackingPlayer, model: "mujoco.MjModel", qpos: Array, qvel: Array, frame: int, steps: int
) -> Played:
    """Play a policy from one state in MuJoCo.

    Args:
        player: the policy.
        model: the robot, with a position servo for each joint, named alike.
        qpos: (36,) state to start from.
        qvel: (35,)
        frame: reference frame of that state.
        steps: control steps at most.
    """
    import mujoco

    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = qpos, qvel
    mujoco.mj_forward(model, data)
    joints = [model.joint(name) for name in player.joint_names]
    position = [joint.qposadr[0] for joint in joints]
    velocity = [joint.dofadr[0] for joint in joints]
    servos = [model.actuator(name).id for name in player.joint_names]
    anchor = data.body(player.anchor_body)
    substeps = round(1 / (player.control_hz * model.opt.timestep))
    player.reset()
    tracked = [model.body(name).id for name in player.body_names]
    path: list[Array] = []
    fell = False
    while len(path) < steps and not fell:
        frame += 1
        base = matrix_of(data.qpos[3:7])
        state = {
            "anchor_pos_w": anchor.xpos,
            "anchor_quat_w": anchor.xquat,
            "base_lin_vel": base.T @ data.qvel[:3],
            "base_ang_vel": data.qvel[3:6],
            "joint_pos": data.qpos[position],
            "joint_vel": data.qvel[velocity],
        }
        data.ctrl[servos] = player.target(frame, state)
        mujoco.mj_step(model, data, nstep=substeps)
        mujoco.mj_forward(model, data)
        path.append(anchor.xpos.copy())
        fell = player.fell(frame, data.xpos[tracked], data.xquat[tracked])
    return Played(len(path), fell, np.array(path))
