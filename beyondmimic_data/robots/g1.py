"""The G1 model: names and constants without a simulator, and its MuJoCo specification on demand."""

import dataclasses
import functools
from typing import TYPE_CHECKING, Literal

import numpy as np

from beyondmimic_data.robots import g1_facts as facts
from beyondmimic_data.robots.mujoco_warnings import warnings_to_log

if TYPE_CHECKING:
    import mujoco

Feet = Literal["spheres", "capsules"]

BODY_NAMES: tuple[str, ...] = tuple(link.name for link in facts.LINKS)
JOINT_NAMES: tuple[str, ...] = tuple(
    link.name.replace("_link", "_joint") if link.name != "torso_link" else "waist_pitch_joint"
    for link in facts.LINKS
    if link.axis is not None
)
NUM_BODIES = len(BODY_NAMES)
NUM_JOINTS = len(JOINT_NAMES)

# Bodies whose touch is penalised: all that have a shape, but feet and hands (METHOD section 1.4).
PENALISED_CONTACT_BODIES: tuple[str, ...] = tuple(
    dict.fromkeys(s.link for s in facts.BODY_SHAPES if s.link not in facts.END_EFFECTOR_BODIES)
)


@dataclasses.dataclass(frozen=True)
class JointTable:
    """Per-joint constants in the order of ``JOINT_NAMES``, each ``(29,)`` float64."""

    default_pos: np.ndarray
    """Default pose, rad."""
    armature: np.ndarray
    """Reflected rotor inertia, kg m^2."""
    stiffness: np.ndarray
    """Servo gain kp, N m/rad."""
    damping: np.ndarray
    """Servo gain kd, N m s/rad."""
    effort: np.ndarray
    """Torque limit, N m."""
    speed: np.ndarray
    """Speed limit, rad/s."""
    action_scale: np.ndarray
    """Radians of target a unit of action, METHOD section 1.3."""
    lower: np.ndarray
    """Lower joint limit, rad."""
    upper: np.ndarray
    """Upper joint limit, rad."""

    @property
    def soft_lower(self) -> np.ndarray:
        """Lower soft limit, rad."""
        middle, half = (self.upper + self.lower) / 2, (self.upper - self.lower) / 2
        return middle - facts.SOFT_LIMIT_FACTOR * half

    @property
    def soft_upper(self) -> np.ndarray:
        """Upper soft limit, rad."""
        middle, half = (self.upper + self.lower) / 2, (self.upper - self.lower) / 2
        return middle + facts.SOFT_LIMIT_FACTOR * half


def motor_of(joint: str) -> facts.Motor:
    """Return the motor that drives a joint.

    Raises:
        KeyError: no motor is listed for the joint.
    """
    for part, motor in facts.MOTOR_OF_JOINT:
        if part in joint:
            return facts.MOTORS[motor]
    raise KeyError(joint)


@functools.cache
def joint_table() -> JointTable:
    """Return the per-joint constants: kp = I w^2, kd = 2 I zeta w, scale = 0.25 effort / kp (METHOD 1.3)."""
    motors = [motor_of(name) for name in JOINT_NAMES]
    omega = 2 * np.pi * facts.NATURAL_FREQUENCY_HZ
    armature = np.array([m.armature for m in motors])
    effort = np.array([m.effort for m in motors])
    stiffness = armature * omega**2
    ranges = np.array([link.range for link in facts.LINKS if link.range is not None])
    return JointTable(
        default_pos=np.array([facts.DEFAULT_POSE.get(name, 0.0) for name in JOINT_NAMES]),
        armature=armature,
        stiffness=stiffness,
        damping=2 * facts.DAMPING_RATIO * armature * omega,
        effort=effort,
        speed=np.array([m.speed for m in motors]),
        action_scale=facts.ACTION_EFFORT_FRACTION * effort / stiffness,
        lower=ranges[:, 0],
        upper=ranges[:, 1],
    )


def default_qpos() -> np.ndarray:
    """Return the default generalised position (36,): base position, base quaternion wxyz, joint angles."""
    return np.concatenate([[0, 0, facts.DEFAULT_BASE_HEIGHT, 1, 0, 0, 0], joint_table().default_pos])


def build_spec(
    feet: Feet = "spheres",
    *,
    floor: bool = True,
    actuators: bool = True,
    self_collision: bool = True,
    contact_sensors: bool = True,
    timestep: float = 0.005,
) -> "mujoco.MjSpec":
    """Build the MuJoCo specification of the robot, with position servos and contact sensors.

    Args:
        feet: sole shapes, four spheres or the stock seven capsules. The latter come with elliptic friction
            cones and another solver: the second contact model, which no policy is trained on.
        floor: add a ground plane and lights.
        actuators: add one position servo a joint; ``ctrl`` is then a joint target in rad.
        self_collision: let the robot's own links collide.
        contact_sensors: add one net-force contact sensor for each penalised body and each foot,
            named ``contact_<body>``.
        timestep: physics step, s.
    """
    import mujoco

    warnings_to_log()
    spec = mujoco.MjSpec()
    spec.modelname = "g1_29dof"
    spec.compiler.autolimits = True
    spec.compiler.degree = False
    spec.option.timestep = timestep
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.iterations = 10
    spec.option.ls_iterations = 20
    if feet == "capsules":
        spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
        spec.option.solver = mujoco.mjtSolver.mjSOL_CG
        spec.option.iterations, spec.option.ls_iterations = 50, 50
    spec.visual.global_.offwidth, spec.visual.global_.offheight = 1280, 720
    if floor:
        _add_floor(spec)
    table = joint_table()
    bodies: dict[str, mujoco.MjsBody] = {}
    joint_index = 0
    for link in facts.LINKS:
        parent = spec.worldbody if link.parent is None else bodies[link.parent]
        body = parent.add_body(name=link.name, pos=link.pos, quat=link.quat)
        body.explicitinertial = True
        body.mass, body.ipos, body.iquat, body.inertia = link.mass, link.com, link.inertia_quat, link.inertia
        bodies[link.name] = body
        if link.axis is None:
            body.add_freejoint(name="floating_base_joint")
            continue
        body.add_joint(
            name=JOINT_NAMES[joint_index],
            type=mujoco.mjtJoint.mjJNT_HINGE,
            axis=link.axis,
            range=link.range,
            armature=table.armature[joint_index],
        )
        joint_index += 1
    _add_shapes(bodies, facts.FOOT_SPHERES if feet == "spheres" else facts.FOOT_CAPSULES, foot=True)
    _add_shapes(bodies, facts.BODY_SHAPES, foot=False, self_collision=self_collision)
    for first, second in facts.CONTACT_EXCLUDES:
        spec.add_exclude(bodyname1=first, bodyname2=second)
    if actuators:
        for i, name in enumerate(JOINT_NAMES):
            actuator = spec.add_actuator(name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
            actuator.set_to_position(kp=table.stiffness[i], kv=table.damping[i])
            actuator.forcelimited = True
            actuator.forcerange = (-table.effort[i], table.effort[i])
        spec.add_key(name="default", qpos=default_qpos(), ctrl=table.default_pos)
    if contact_sensors:
        for name in (*PENALISED_CONTACT_BODIES, *facts.FOOT_BODIES):
            # reduce = 3: the net force of all contacts of the body, in the world frame.
            spec.add_sensor(
                name=f"contact_{name}",
                type=mujoco.mjtSensor.mjSENS_CONTACT,
                objtype=mujoco.mjtObj.mjOBJ_BODY,
                objname=name,
                intprm=[1 << int(mujoco.mjtConDataField.mjCONDATA_FORCE), 3, 1],
            )
    return spec


def _add_floor(spec: "mujoco.MjSpec") -> None:
    """Add a checkered ground plane and a light."""
    import mujoco

    spec.add_texture(
        name="grid",
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        rgb1=(0.86, 0.88, 0.9),
        rgb2=(0.78, 0.81, 0.84),
        width=300,
        height=300,
    )
    material = spec.add_material(name="grid", texrepeat=(1, 1), texuniform=True, reflectance=0.05)
    material.textures[int(mujoco.mjtTextureRole.mjTEXROLE_RGB)] = "grid"
    spec.worldbody.add_geom(
        name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE, size=(0, 0, 1), material="grid", condim=3
    )
    spec.worldbody.add_light(pos=(0, 0, 4), dir=(0.2, 0.2, -1), type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL)


def _add_shapes(
    bodies: dict[str, "mujoco.MjsBody"],
    shapes: tuple[facts.Shape, ...],
    *,
    foot: bool,
    self_collision: bool = True,
) -> None:
    """Add collision shapes; feet carry their own friction (priority 1), other shapes are frictionless."""
    import mujoco

    for shape in shapes:
        sphere = shape.start == shape.end
        geom = bodies[shape.link].add_geom(
            name=shape.name,
            type=mujoco.mjtGeom.mjGEOM_SPHERE if sphere else mujoco.mjtGeom.mjGEOM_CAPSULE,
            size=(shape.radius, 0, 0),
            density=0,
            condim=3 if foot else 1,
            priority=1 if foot else 0,
            rgba=(0.25, 0.27, 0.3, 1) if foot else (0.45, 0.55, 0.65, 1),
        )
        if sphere:
            geom.pos = shape.start
        else:
            geom.fromto = (*shape.start, *shape.end)
        if foot:
            geom.friction = (0.6, 0.005, 0.0001)
        geom.contype, geom.conaffinity = (1, 1) if self_collision else (0, 1)
