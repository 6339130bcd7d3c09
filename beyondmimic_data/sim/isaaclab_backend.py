"""The second back end: G1 robots in Isaac Lab 3.0 on Newton's MuJoCo Warp solver, without Isaac Sim or a GPU.

It lives in an environment of its own (``make isaaclab``). Isaac Lab keeps one simulation a process, so one
``IsaacLabBackend`` lives at a time.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import warp
from isaaclab.actuators import ImplicitActuatorCfg
from isaaclab.assets import ArticulationCfg, AssetBaseCfg
from isaaclab.scene import InteractiveScene, InteractiveSceneCfg
from isaaclab.sensors import ContactSensorCfg
from isaaclab.sim import CuboidCfg, SimulationCfg, SimulationContext, UsdFileCfg, UsdPhysicsCollisionCfg
from isaaclab.utils import configclass
from isaaclab_newton.physics import MJWarpSolverCfg, NewtonCfg, NewtonManager
from newton import ModelFlags

from beyondmimic_data.config import ControlConfig
from beyondmimic_data.robots import g1, g1_facts, g1_usd
from beyondmimic_data.sim.backend import RobotState
from beyondmimic_data.sim.latency import CommandDelay
from beyondmimic_data.sim.randomisation import Randomisation

_XYZW = [1, 2, 3, 0]
_WXYZ = [3, 0, 1, 2]


def _scene_config(num_envs: int) -> InteractiveSceneCfg:
    """Describe the scene: a slab whose top is at z = 0, one robot an environment, its contact forces."""
    table = g1.joint_table()

    def per_joint(values: np.ndarray) -> dict[str, float]:
        return dict(zip(g1.JOINT_NAMES, values.tolist()))

    servos = ImplicitActuatorCfg(
        joint_names_expr=[".*"],
        stiffness=per_joint(table.stiffness),
        damping=per_joint(table.damping),
        armature=per_joint(table.armature),
        joint_effort_limit=per_joint(table.effort),
    )

    @configclass
    class SceneConfig(InteractiveSceneCfg):
        """A flat floor and the robots."""

        ground = AssetBaseCfg(
            prim_path="/World/ground",
            spawn=CuboidCfg(size=(500.0, 500.0, 1.0), collision_props=UsdPhysicsCollisionCfg()),
            init_state=AssetBaseCfg.InitialStateCfg(pos=(0.0, 0.0, -0.5)),
        )
        robot = ArticulationCfg(
            prim_path="{ENV_REGEX_NS}/Robot",
            spawn=UsdFileCfg(usd_path=str(g1_usd.cached())),
            init_state=ArticulationCfg.InitialStateCfg(
                pos=(0.0, 0.0, g1_facts.DEFAULT_BASE_HEIGHT), joint_pos=per_joint(table.default_pos)
            ),
            actuators={"servos": servos},
        )
        contacts = ContactSensorCfg(prim_path="{ENV_REGEX_NS}/Robot/Geometry/.*", track_friction_forces=True)

    return SceneConfig(num_envs=num_envs, env_spacing=2.5)


class IsaacLabBackend:
    """N robots in Isaac Lab, each with its own parameters and latency."""

    def __init__(self, num_envs: int, control: ControlConfig, *, device: str = "cpu") -> None:
        """Build the simulation and spawn the robots.

        Args:
            num_envs: number of environments N.
            control: control and physics rates.
            device: where Warp simulates, ``cpu`` or a CUDA device; states are handed out on the CPU.

        Raises:
            MissingToolError: the robot has not been converted to USD as it is now.
        """
        self.num_envs = num_envs
        self.body_names = g1.BODY_NAMES
        self.joint_names = g1.JOINT_NAMES
        self.contact_bodies = (*g1.PENALISED_CONTACT_BODIES, *g1_facts.FOOT_BODIES)
        self.decimation = control.decimation
        self._dt = control.physics_dt
        # More line searches than MuJoCo's 20: MuJoCo Warp prints a line each time that they run out.
        solver = MJWarpSolverCfg(
            njmax=300, nconmax=100, iterations=10, ls_iterations=50, integrator="implicitfast"
        )
        physics = NewtonCfg(solver_cfg=solver, use_cuda_graph=device != "cpu")
        self._sim = SimulationContext(SimulationCfg(dt=self._dt, device=device, physics=physics))
        self._scene = InteractiveScene(_scene_config(num_envs))
        self._sim.reset()
        self._scene.reset()
        self._scene.update(self._dt)
        self._robot, self._contacts = self._scene["robot"], self._scene["contacts"]
        self._origins = self._scene.env_origins.cpu()
        # Newton happens to order bodies and joints as the project does; names decide all the same.
        self._bodies = _where(self._robot.body_names, self.body_names)
        self._joints = _where(self._robot.joint_names, self.joint_names)
        self._sensed = _where(self._contacts.sensor_names, self.contact_bodies)
        self._feet = [i for i, name in enumerate(self._robot.root_view.shape_names) if "foot" in name]
        self._friction = warp.to_torch(
            self._robot.root_view.get_attribute("shape_material_mu", NewtonManager.get_model())
        )[:, 0]
        data = self._robot.data
        self._mass, self._inertia, self._com = (
            value.torch[:, self._bodies].clone()
            for value in (data.body_mass, data.body_inertia, data.body_com_pos_b)
        )
        self._torso = self.body_names.index(g1_facts.ANCHOR_BODY)
        self._untouched = np.ones(num_envs, bool)
        self._delay = CommandDelay(num_envs, self.decimation, g1.joint_table().default_pos)

    def read(self) -> RobotState:
        """Return the state of every environment.

        Contact forces are those of the last physics step, and zero between a write and the next step: the
        solver knows no forces of a state that it has not stepped.
        """
        data = self._robot.data

        def bodies(values: Any) -> torch.Tensor:
            return values.torch[:, self._bodies].cpu()

        force = self._contacts.data.net_forces_w.torch[:, self._sensed].cpu().norm(dim=-1)
        force[self._untouched] = 0.0
        return RobotState(
            body_names=self.body_names,
            joint_names=self.joint_names,
            contact_bodies=self.contact_bodies,
            body_pos_w=bodies(data.body_link_pos_w) - self._origins[:, None],
            body_quat_w=bodies(data.body_link_quat_w)[..., _WXYZ],
            body_lin_vel_w=bodies(data.body_link_lin_vel_w),
            body_ang_vel_w=bodies(data.body_link_ang_vel_w),
            joint_pos=data.joint_pos.torch[:, self._joints].cpu(),
            joint_vel=data.joint_vel.torch[:, self._joints].cpu(),
            contact_force=force,
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
        envs = self._tensor(ids, torch.int32)
        pose = np.concatenate([root_pos + self._origins[ids].numpy(), root_quat[:, _XYZW]], axis=1)
        velocity = np.concatenate([root_lin_vel_w, root_ang_vel_w], axis=1)
        # The pose first: a link's velocity is stored at its centre of mass, which the pose moves.
        self._robot.write_root_link_pose_to_sim_index(root_pose=self._tensor(pose), env_ids=envs)
        self._robot.write_root_link_velocity_to_sim_index(root_velocity=self._tensor(velocity), env_ids=envs)
        self._robot.write_joint_state_to_sim_index(
            position=self._tensor(joint_pos),
            velocity=self._tensor(joint_vel),
            joint_ids=self._joints,
            env_ids=envs,
        )
        self._delay.restart(ids, joint_pos)
        self._untouched[ids] = True

    def step(self, targets: np.ndarray, ids: np.ndarray | None = None) -> None:
        """Advance one control step; every environment applies each target after its own latency.

        All environments are one launch on the GPU: ``ids`` saves nothing here.
        """
        for substeps, applied in self._delay.applied(targets):
            command = self._tensor(applied)
            for _ in range(substeps):
                self._robot.actuators.target_command.set_position_index(value=command, joint_ids=self._joints)
                self._scene.write_data_to_sim()
                self._sim.step(render=False)
                self._scene.update(self._dt)
        self._untouched[:] = False

    def push(self, ids: np.ndarray, lin_vel: np.ndarray, ang_vel: np.ndarray) -> None:
        """Add velocities to floating bases, world frame; seen by the next step."""
        velocity = self._robot.data.root_link_vel_w.torch[ids].clone()
        velocity += self._tensor(np.concatenate([lin_vel, ang_vel], axis=1))
        self._robot.write_root_link_velocity_to_sim_index(
            root_velocity=velocity, env_ids=self._tensor(ids, torch.int32)
        )

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
        envs, scale = self._tensor(ids, torch.int32), self._tensor(draw.mass_scale)
        where: dict[str, Any] = {"env_ids": envs, "body_ids": self._bodies}
        self._robot.set_masses_index(masses=self._mass[ids] * scale, **where)
        self._robot.set_inertias_index(inertias=self._inertia[ids] * scale[..., None], **where)
        com = self._com[ids].clone()
        com[:, self._torso] += self._tensor(draw.com_offset)
        self._robot.set_coms_index(coms=com, **where)
        table, joints = g1.joint_table(), {"joint_ids": self._joints, "env_ids": envs}
        stiffness = self._tensor(np.outer(draw.stiffness_scale, table.stiffness))
        self._robot.write_joint_stiffness_to_sim_index(stiffness=stiffness, **joints)
        damping = self._tensor(np.outer(draw.damping_scale, table.damping))
        self._robot.write_joint_damping_to_sim_index(damping=damping, **joints)
        rows = torch.from_numpy(np.asarray(ids)).to(self._friction.device)[:, None]
        self._friction[rows, self._feet] = self._tensor(draw.friction)[:, None]
        NewtonManager.add_model_change(ModelFlags.SHAPE_PROPERTIES)

    def _tensor(self, values: np.ndarray, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Copy an array to the simulation's device."""
        return torch.as_tensor(values, dtype=dtype, device=self._sim.device)


def _where(names: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Return where each wanted name stands.

    Raises:
        ValueError: a name is missing, because the robot file is of another robot.
    """
    missing = sorted(set(wanted) - set(names))
    if missing:
        raise ValueError(f"the simulated robot lacks {', '.join(missing)}; it has {', '.join(names)}")
    return [list(names).index(name) for name in wanted]
