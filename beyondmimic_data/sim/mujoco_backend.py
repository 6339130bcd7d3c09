"""The embedded default back end: G1 robots on ``mujoco.batch``, a C thread pool over independent states."""

import dataclasses
import time

import mujoco
import numpy as np
import torch
from mujoco.batch import Batch, SimulationError

from beyondmimic_data import rotations
from beyondmimic_data.config import ControlConfig
from beyondmimic_data.robots import g1, g1_facts
from beyondmimic_data.sim.backend import RobotState
from beyondmimic_data.sim.latency import CommandDelay
from beyondmimic_data.sim.randomisation import Randomisation

_VEL = int(mujoco.mjtStage.mjSTAGE_VEL.value)
_ACC = int(mujoco.mjtStage.mjSTAGE_ACC.value)
_NONE = int(mujoco.mjtStage.mjSTAGE_NONE.value)


@dataclasses.dataclass(frozen=True)
class Written:
    """A recorded state write."""

    ids: np.ndarray
    qpos: np.ndarray
    qvel: np.ndarray


@dataclasses.dataclass(frozen=True)
class Stepped:
    """A recorded call of the batch's ``step``."""

    ctrl: np.ndarray
    substeps: int
    stage: int
    ids: np.ndarray | None


TraceEvent = Written | Stepped

_UNSTABLE = [
    int(warning)
    for warning in (
        mujoco.mjtWarning.mjWARN_BADQPOS,
        mujoco.mjtWarning.mjWARN_BADQVEL,
        mujoco.mjtWarning.mjWARN_BADQACC,
        mujoco.mjtWarning.mjWARN_BADCTRL,
    )
]


class MujocoBackend:
    """N robots in MuJoCo, each with its own parameters and latency."""

    def __init__(
        self, num_envs: int, control: ControlConfig, *, feet: g1.Feet = "spheres", num_threads: int = 0
    ) -> None:
        """Compile the robot and allocate the batch.

        Args:
            num_envs: number of environments N.
            control: control and physics rates.
            feet: sole shapes.
            num_threads: physics threads; 0 takes every core.
        """
        self.num_envs = num_envs
        self.body_names = g1.BODY_NAMES
        self.joint_names = g1.JOINT_NAMES
        self.contact_bodies = (*g1.PENALISED_CONTACT_BODIES, *g1_facts.FOOT_BODIES)
        self.decimation = control.decimation
        self.model = g1.build_spec(feet, timestep=control.physics_dt).compile()
        self.batch = Batch(self.model, num_envs, num_threads)
        self._qpos, self._qvel, self._ctrl = (self.batch.bind(name) for name in ("qpos", "qvel", "ctrl"))
        self._outputs = {name: self.batch.bind(name) for name in ("xpos", "xquat", "cvel", "sensordata")}
        self._com = self.batch.bind("subtree_com")
        self._feet = np.array(
            [i for i in range(self.model.ngeom) if "foot" in self.model.geom(i).name], dtype=np.int64
        )
        self._torso = self.model.body(g1_facts.ANCHOR_BODY).id
        self._delay = CommandDelay(num_envs, self.decimation, g1.joint_table().default_pos)
        self.trace: list[TraceEvent] | None = None
        """Set to a list to record every write and step, for ``replay``."""
        self.physics_seconds = 0.0
        """Time spent stepping since the start."""
        self.failures = 0
        """Simulations that became unstable since the start; the task ends episodes that are not finite."""

    def read(self) -> RobotState:
        """Return the state of every environment."""
        xpos, xquat, cvel = (
            torch.from_numpy(self._outputs[name][:, 1:].astype(np.float32))
            for name in ("xpos", "xquat", "cvel")
        )
        com = torch.from_numpy(self._com[:, 1:2].astype(np.float32))
        ang_vel = cvel[..., :3]
        force = self._outputs["sensordata"].reshape(self.num_envs, len(self.contact_bodies), 3)
        return RobotState(
            body_names=self.body_names,
            joint_names=self.joint_names,
            contact_bodies=self.contact_bodies,
            body_pos_w=xpos,
            body_quat_w=xquat,
            # cvel is the velocity at the robot's centre of mass: carry it to the link origin.
            body_lin_vel_w=cvel[..., 3:] - rotations.cross(ang_vel, com - xpos),
            body_ang_vel_w=ang_vel,
            joint_pos=torch.from_numpy(self._qpos[:, 7:].astype(np.float32)),
            joint_vel=torch.from_numpy(self._qvel[:, 6:].astype(np.float32)),
            contact_force=torch.from_numpy(np.linalg.norm(force, axis=-1).astype(np.float32)),
        )

    def write(
        self,
        ids: np.ndarray,
        root_pos: np.ndarray,
        root_quat: np.ndarray,
        root_lin_vel_w: np.ndarray,
        root_ang_vel_w: np.ndarray,
        joint_pos: np.ndarray,
        joint_vel: np.ndarray,
    ) -> None:
        """Set the state of some environments, sorted ids; pending commands become the joint angles."""
        if not len(ids):
            return
        self.batch.reset(ids=ids, stage=_NONE)
        self._qpos[ids] = np.concatenate([root_pos, root_quat, joint_pos], axis=1)
        # A free joint's angular velocity is in the body frame.
        ang_vel_b = rotations.rotate_inverse(root_quat, root_ang_vel_w)
        self._qvel[ids] = np.concatenate([root_lin_vel_w, ang_vel_b, joint_vel], axis=1)
        self._delay.restart(ids, joint_pos)
        self._ctrl[ids] = joint_pos
        if self.trace is not None:
            self.trace.append(Written(ids, self._qpos[ids].copy(), self._qvel[ids].copy()))
        # All stages: a contact force that no call computed would be another simulation's.
        self.batch.forward(ids=ids, stage=_ACC)

    def step(self, targets: np.ndarray, ids: np.ndarray | None = None) -> None:
        """Advance all or the named environments; each applies each target after its own latency."""
        remaining = self.decimation
        failed = np.zeros(self.num_envs, bool)
        for substeps, applied in self._delay.applied(targets):
            self._ctrl[:] = applied
            remaining -= substeps
            failed |= self._step(substeps, _NONE if remaining else _VEL, ids)
        # Only now: MuJoCo would make another default pose of a state that it is handed like this.
        self._qpos[failed] = np.nan
        self.failures += int(failed.sum())

    def _step(self, substeps: int, stage: int, ids: np.ndarray | None) -> np.ndarray:
        """Advance by physics steps; returns (N,) which simulations became unstable in them."""
        if self.trace is not None:
            self.trace.append(Stepped(self._ctrl.copy(), substeps, stage, ids))
        # MuJoCo puts an unstable robot back to its default pose, which clears its warnings, and leaves one:
        # how many there were before says nothing.
        self.batch.warning[:, _UNSTABLE, 1] = 0
        started = time.perf_counter()
        failed = np.zeros(self.num_envs, bool)
        try:
            self.batch.step(ids=ids, nstep=substeps, stage=stage)
        except SimulationError as error:
            failed[error.ids] = True
        self.physics_seconds += time.perf_counter() - started
        return failed | self.batch.warning[:, _UNSTABLE, 1].any(1)

    def replay(self, trace: "list[TraceEvent]") -> float:
        """Step the batch bare through a recorded trace and return the seconds it took."""
        started = time.perf_counter()
        for event in trace:
            if isinstance(event, Written):
                self.batch.reset(ids=event.ids, stage=_NONE)
                self._qpos[event.ids], self._qvel[event.ids] = event.qpos, event.qvel
                self.batch.forward(ids=event.ids, stage=_ACC)
            else:
                self._ctrl[:] = event.ctrl
                self.batch.step(ids=event.ids, nstep=event.substeps, stage=event.stage)
        return time.perf_counter() - started

    def push(self, ids: np.ndarray, lin_vel: np.ndarray, ang_vel: np.ndarray) -> None:
        """Add velocities to floating bases, world frame; seen by the next step."""
        self._qvel[ids, :3] += lin_vel
        self._qvel[ids, 3:6] += rotations.rotate_inverse(self._qpos[ids, 3:7], ang_vel)

    def set_latency(self, ids: np.ndarray, steps: np.ndarray) -> None:
        """Delay the commands of some environments by (n,) physics steps each.

        Raises:
            ConfigError: a latency is longer than the kept history of commands.
        """
        self._delay.set(ids, steps)

    def randomise(self, ids: np.ndarray, draw: Randomisation) -> None:
        """Set friction, masses, inertias, the torso's centre of mass, the servos' gains and latency.

        Joint offsets belong to the task: they shift targets and observations, not physics.

        Raises:
            ConfigError: a latency is longer than the kept history of commands.
        """
        if not len(ids):
            return
        self.set_latency(ids, draw.latency_steps)
        friction = self.batch.expand("geom_friction")
        friction[np.ix_(ids, self._feet, [0])] = draw.friction[:, None, None]
        model, rows = self.model, np.ix_(ids, np.arange(1, self.model.nbody))
        self.batch.expand("body_mass")[rows] = model.body_mass[1:] * draw.mass_scale
        self.batch.expand("body_inertia")[rows] = model.body_inertia[1:] * draw.mass_scale[..., None]
        self.batch.expand("body_ipos")[ids, self._torso] = model.body_ipos[self._torso] + draw.com_offset
        # A position servo's kp stands in the gain and, negative, in the bias; its kd in the bias alone.
        stiffness, damping = draw.stiffness_scale[:, None], draw.damping_scale[:, None]
        bias = self.batch.expand("actuator_biasprm")
        bias[ids, :, 1] = model.actuator_biasprm[:, 1] * stiffness
        bias[ids, :, 2] = model.actuator_biasprm[:, 2] * damping
        self.batch.expand("actuator_gainprm")[ids, :, 0] = model.actuator_gainprm[:, 0] * stiffness
        self.batch.set_const(ids)
