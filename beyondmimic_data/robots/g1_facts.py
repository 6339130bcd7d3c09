"""Facts of the Unitree G1, 29 degrees of freedom: link frames, inertias, joints, collision shapes, motors.

Masses, frames and ranges are those of Unitree's published description of the 29-DoF G1 (rev 1.0); armature,
gains and effort limits are METHOD section 1.3 (BeyondMimic tables S3 and S4). Lengths in m, masses in kg,
angles in rad, quaternions (w, x, y, z). Rows stand in depth-first order, the order of every body and joint array.
"""

from typing import NamedTuple

Vec3 = tuple[float, float, float]
Quat = tuple[float, float, float, float]


class Link(NamedTuple):
    """One rigid link and the hinge that joins it to its parent."""

    name: str
    """Link name; its joint is called the same with ``_link`` replaced by ``_joint``."""
    parent: str | None
    """Parent link, ``None`` for the floating base."""
    pos: Vec3
    """Origin in the parent frame."""
    quat: Quat
    """Orientation in the parent frame."""
    mass: float
    """Link mass."""
    com: Vec3
    """Centre of mass in the link frame."""
    inertia_quat: Quat
    """Principal axes in the link frame."""
    inertia: Vec3
    """Principal moments."""
    axis: Vec3 | None
    """Hinge axis in the link frame."""
    range: tuple[float, float] | None
    """Hinge limits."""


class Shape(NamedTuple):
    """A collision capsule between two points, or a sphere where they are equal."""

    link: str
    name: str
    radius: float
    start: Vec3
    end: Vec3


class Motor(NamedTuple):
    """One motor type: reflected rotor inertia (kg m^2), effort limit (N m), speed limit (rad/s)."""

    armature: float
    effort: float
    speed: float


# fmt: off
LINKS: tuple[Link, ...] = (
    Link("pelvis", None, (0.0, 0.0, 0.793), (1.0, 0.0, 0.0, 0.0), 3.813, (0.0, 0.0, -0.07605), (1.0, 0.0, -0.000399148, 0.0), (0.010549, 0.0093089, 0.0079184), None, None),
    Link("left_hip_pitch_link", "pelvis", (0.0, 0.064452, -0.1027), (1.0, 0.0, 0.0, 0.0), 1.35, (0.002741, 0.047791, -0.02606), (0.954862, 0.293964, 0.0302556, 0.030122), (0.00181517, 0.00153422, 0.00116212), (0.0, 1.0, 0.0), (-2.5307, 2.8798)),
    Link("left_hip_roll_link", "left_hip_pitch_link", (0.0, 0.052, -0.030465), (0.996179, 0.0, -0.0873386, 0.0), 1.52, (0.029812, -0.001045, -0.087934), (0.977808, -1.97119e-05, 0.205576, -0.0403793), (0.00254986, 0.00241169, 0.00148755), (1.0, 0.0, 0.0), (-0.5236, 2.9671)),
    Link("left_hip_yaw_link", "left_hip_roll_link", (0.025001, 0.0, -0.12412), (1.0, 0.0, 0.0, 0.0), 1.702, (-0.057709, -0.010981, -0.15078), (0.600598, 0.15832, 0.223482, 0.751181), (0.00776166, 0.00717575, 0.00160139), (0.0, 0.0, 1.0), (-2.7576, 2.7576)),
    Link("left_knee_link", "left_hip_yaw_link", (-0.078273, 0.0021489, -0.17734), (0.996179, 0.0, 0.0873386, 0.0), 1.932, (0.005457, 0.003964, -0.12074), (0.923418, -0.0327699, 0.0158246, 0.382067), (0.0113804, 0.0112778, 0.00146458), (0.0, 1.0, 0.0), (-0.087267, 2.8798)),
    Link("left_ankle_pitch_link", "left_knee_link", (0.0, -9.4445e-05, -0.30001), (1.0, 0.0, 0.0, 0.0), 0.074, (-0.007269, 0.0, 0.011137), (0.603053, 0.369225, 0.369225, 0.603053), (1.89e-05, 1.40805e-05, 6.9195e-06), (0.0, 1.0, 0.0), (-0.87267, 0.5236)),
    Link("left_ankle_roll_link", "left_ankle_pitch_link", (0.0, 0.0, -0.017558), (1.0, 0.0, 0.0, 0.0), 0.608, (0.026505, 0.0, -0.016425), (-0.000481092, 0.728482, -0.000618967, 0.685065), (0.00167218, 0.0016161, 0.000217621), (1.0, 0.0, 0.0), (-0.2618, 0.2618)),
    Link("right_hip_pitch_link", "pelvis", (0.0, -0.064452, -0.1027), (1.0, 0.0, 0.0, 0.0), 1.35, (0.002741, -0.047791, -0.02606), (0.954862, -0.293964, 0.0302556, -0.030122), (0.00181517, 0.00153422, 0.00116212), (0.0, 1.0, 0.0), (-2.5307, 2.8798)),
    Link("right_hip_roll_link", "right_hip_pitch_link", (0.0, -0.052, -0.030465), (0.996179, 0.0, -0.0873386, 0.0), 1.52, (0.029812, 0.001045, -0.087934), (0.977808, 1.97119e-05, 0.205576, 0.0403793), (0.00254986, 0.00241169, 0.00148755), (1.0, 0.0, 0.0), (-2.9671, 0.5236)),
    Link("right_hip_yaw_link", "right_hip_roll_link", (0.025001, 0.0, -0.12412), (1.0, 0.0, 0.0, 0.0), 1.702, (-0.057709, 0.010981, -0.15078), (0.751181, 0.223482, 0.15832, 0.600598), (0.00776166, 0.00717575, 0.00160139), (0.0, 0.0, 1.0), (-2.7576, 2.7576)),
    Link("right_knee_link", "right_hip_yaw_link", (-0.078273, -0.0021489, -0.17734), (0.996179, 0.0, 0.0873386, 0.0), 1.932, (0.005457, -0.003964, -0.12074), (0.923439, 0.0345276, 0.0116333, -0.382012), (0.011374, 0.0112843, 0.00146452), (0.0, 1.0, 0.0), (-0.087267, 2.8798)),
    Link("right_ankle_pitch_link", "right_knee_link", (0.0, 9.4445e-05, -0.30001), (1.0, 0.0, 0.0, 0.0), 0.074, (-0.007269, 0.0, 0.011137), (0.603053, 0.369225, 0.369225, 0.603053), (1.89e-05, 1.40805e-05, 6.9195e-06), (0.0, 1.0, 0.0), (-0.87267, 0.5236)),
    Link("right_ankle_roll_link", "right_ankle_pitch_link", (0.0, 0.0, -0.017558), (1.0, 0.0, 0.0, 0.0), 0.608, (0.026505, 0.0, -0.016425), (0.000481092, 0.728482, 0.000618967, 0.685065), (0.00167218, 0.0016161, 0.000217621), (1.0, 0.0, 0.0), (-0.2618, 0.2618)),
    Link("waist_yaw_link", "pelvis", (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0), 0.214, (0.003494, 0.000233, 0.018034), (0.289697, 0.591001, -0.337795, 0.672821), (0.000163531, 0.000107714, 0.000102205), (0.0, 0.0, 1.0), (-2.618, 2.618)),
    Link("waist_roll_link", "waist_yaw_link", (-0.0039635, 0.0, 0.044), (1.0, 0.0, 0.0, 0.0), 0.086, (0.0, 2.3e-05, 0.0), (0.5, 0.5, -0.5, 0.5), (8.245e-06, 7.079e-06, 6.339e-06), (1.0, 0.0, 0.0), (-0.52, 0.52)),
    Link("torso_link", "waist_roll_link", (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0), 7.818, (0.00203158, 0.000339683, 0.184568), (0.999803, -6.03319e-05, 0.0198256, 0.00131986), (0.121847, 0.109825, 0.0273735), (0.0, 1.0, 0.0), (-0.52, 0.52)),
    Link("left_shoulder_pitch_link", "torso_link", (0.0039563, 0.10022, 0.24778), (0.990264, 0.139201, 1.38722e-05, -9.86868e-05), 0.718, (0.0, 0.035892, -0.011628), (0.654152, 0.0130458, -0.326267, 0.68225), (0.000465864, 0.000432842, 0.000406394), (0.0, 1.0, 0.0), (-3.0892, 2.6704)),
    Link("left_shoulder_roll_link", "left_shoulder_pitch_link", (0.0, 0.038, -0.013831), (0.990268, -0.139172, 0.0, 0.0), 0.643, (-0.000227, 0.00727, -0.063243), (0.701256, -0.0196223, -0.00710317, 0.712604), (0.000691311, 0.000618011, 0.000388977), (1.0, 0.0, 0.0), (-1.5882, 2.2515)),
    Link("left_shoulder_yaw_link", "left_shoulder_roll_link", (0.0, 0.00624, -0.1032), (1.0, 0.0, 0.0, 0.0), 0.734, (0.010773, -0.002949, -0.072009), (0.716879, -0.0964829, -0.0679942, 0.687134), (0.00106187, 0.00103217, 0.000400661), (0.0, 0.0, 1.0), (-2.618, 2.618)),
    Link("left_elbow_link", "left_shoulder_yaw_link", (0.015783, 0.0, -0.080518), (1.0, 0.0, 0.0, 0.0), 0.6, (0.064956, 0.004454, -0.010062), (0.541765, 0.636132, 0.388821, 0.388129), (0.000443035, 0.000421612, 0.000259353), (0.0, 1.0, 0.0), (-1.0472, 2.0944)),
    Link("left_wrist_roll_link", "left_elbow_link", (0.1, 0.00188791, -0.01), (1.0, 0.0, 0.0, 0.0), 0.085445, (0.0171394, 0.000537591, 4.8864e-07), (0.575338, 0.411667, -0.574906, 0.411094), (5.48211e-05, 4.96646e-05, 3.57798e-05), (1.0, 0.0, 0.0), (-1.97222, 1.97222)),
    Link("left_wrist_pitch_link", "left_wrist_roll_link", (0.038, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0), 0.48405, (0.0229999, -0.00111685, -0.00111658), (0.249998, 0.661363, 0.293036, 0.643608), (0.000430353, 0.000429873, 0.000164648), (0.0, 1.0, 0.0), (-1.61443, 1.61443)),
    Link("left_wrist_yaw_link", "left_wrist_pitch_link", (0.046, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0), 0.254576, (0.0708244, 0.000191745, 0.00161742), (0.510571, 0.526295, 0.468078, 0.493188), (0.000646113, 0.000559993, 0.000147566), (0.0, 0.0, 1.0), (-1.61443, 1.61443)),
    Link("right_shoulder_pitch_link", "torso_link", (0.0039563, -0.10021, 0.24778), (0.990264, -0.139201, 1.38722e-05, 9.86868e-05), 0.718, (0.0, -0.035892, -0.011628), (0.68225, -0.326267, 0.0130458, 0.654152), (0.000465864, 0.000432842, 0.000406394), (0.0, 1.0, 0.0), (-3.0892, 2.6704)),
    Link("right_shoulder_roll_link", "right_shoulder_pitch_link", (0.0, -0.038, -0.013831), (0.990268, 0.139172, 0.0, 0.0), 0.643, (-0.000227, -0.00727, -0.063243), (0.712604, -0.00710317, -0.0196223, 0.701256), (0.000691311, 0.000618011, 0.000388977), (1.0, 0.0, 0.0), (-2.2515, 1.5882)),
    Link("right_shoulder_yaw_link", "right_shoulder_roll_link", (0.0, -0.00624, -0.1032), (1.0, 0.0, 0.0, 0.0), 0.734, (0.010773, 0.002949, -0.072009), (0.687134, -0.0679942, -0.0964829, 0.716879), (0.00106187, 0.00103217, 0.000400661), (0.0, 0.0, 1.0), (-2.618, 2.618)),
    Link("right_elbow_link", "right_shoulder_yaw_link", (0.015783, 0.0, -0.080518), (1.0, 0.0, 0.0, 0.0), 0.6, (0.064956, -0.004454, -0.010062), (0.388129, 0.388821, 0.636132, 0.541765), (0.000443035, 0.000421612, 0.000259353), (0.0, 1.0, 0.0), (-1.0472, 2.0944)),
    Link("right_wrist_roll_link", "right_elbow_link", (0.1, -0.00188791, -0.01), (1.0, 0.0, 0.0, 0.0), 0.085445, (0.0171394, -0.000537591, 4.8864e-07), (0.411667, 0.575338, -0.411094, 0.574906), (5.48211e-05, 4.96646e-05, 3.57798e-05), (1.0, 0.0, 0.0), (-1.97222, 1.97222)),
    Link("right_wrist_pitch_link", "right_wrist_roll_link", (0.038, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0), 0.48405, (0.0229999, 0.00111685, -0.00111658), (0.643608, 0.293036, 0.661363, 0.249998), (0.000430353, 0.000429873, 0.000164648), (0.0, 1.0, 0.0), (-1.61443, 1.61443)),
    Link("right_wrist_yaw_link", "right_wrist_pitch_link", (0.046, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0), 0.254576, (0.0708244, -0.000191745, 0.00161742), (0.493188, 0.468078, 0.526295, 0.510571), (0.000646113, 0.000559993, 0.000147566), (0.0, 0.0, 1.0), (-1.61443, 1.61443)),)

BODY_SHAPES: tuple[Shape, ...] = (
    Shape("pelvis", "pelvis_collision", 0.07, (0.0, 0.0, -0.08), (0.0, 0.0, -0.08)),
    Shape("left_hip_roll_link", "left_hip_collision", 0.06, (0.02, 0.0, 0.0), (0.02, 0.0, -0.08)),
    Shape("left_hip_yaw_link", "left_thigh_collision", 0.055, (0.0, 0.0, -0.03), (-0.06, 0.0, -0.17)),
    Shape("left_knee_link", "left_shin_collision", 0.045, (0.01, 0.0, 0.0), (0.01, 0.0, -0.15)),
    Shape("left_knee_link", "left_linkage_brace_collision", 0.03, (0.01, 0.0, -0.2), (0.01, 0.0, -0.28)),
    Shape("right_hip_roll_link", "right_hip_collision", 0.06, (0.02, 0.0, 0.0), (0.02, 0.0, -0.08)),
    Shape("right_hip_yaw_link", "right_thigh_collision", 0.055, (0.0, 0.0, -0.03), (-0.06, 0.0, -0.17)),
    Shape("right_knee_link", "right_shin_collision", 0.045, (0.01, 0.0, 0.0), (0.01, 0.0, -0.15)),
    Shape("right_knee_link", "right_linkage_brace_collision", 0.03, (0.01, 0.0, -0.2), (0.01, 0.0, -0.28)),
    Shape("torso_link", "torso_collision", 0.09, (0.01, 0.0, 0.08), (0.01, 0.0, 0.2)),
    Shape("torso_link", "head_collision", 0.06, (0.0, 0.0, 0.43), (0.0, 0.0, 0.43)),
    Shape("left_shoulder_yaw_link", "left_shoulder_yaw_collision", 0.035, (0.0, 0.0, -0.08), (0.0, 0.0, 0.05)),
    Shape("left_elbow_link", "left_elbow_yaw_collision", 0.035, (-0.01, 0.0, -0.01), (0.08, 0.0, -0.01)),
    Shape("left_wrist_pitch_link", "left_wrist_collision", 0.035, (-0.01, 0.0, 0.0), (0.06, 0.0, 0.0)),
    Shape("left_wrist_yaw_link", "left_hand_collision", 0.035, (0.07, 0.0, 0.0), (0.15, -0.02, 0.0)),
    Shape("right_shoulder_yaw_link", "right_shoulder_yaw_collision", 0.035, (0.0, 0.0, -0.08), (0.0, 0.0, 0.05)),
    Shape("right_elbow_link", "right_elbow_yaw_collision", 0.035, (-0.01, 0.0, -0.01), (0.08, 0.0, -0.01)),
    Shape("right_wrist_pitch_link", "right_wrist_collision", 0.035, (-0.01, 0.0, 0.0), (0.06, 0.0, 0.0)),
    Shape("right_wrist_yaw_link", "right_hand_collision", 0.035, (0.07, 0.0, 0.0), (0.15, 0.02, 0.0)),
)

# The stock sole: seven capsules a foot.
FOOT_CAPSULES: tuple[Shape, ...] = (
    Shape("left_ankle_roll_link", "left_foot1_collision", 0.01, (0.1, -0.026, -0.025), (0.05, -0.027, -0.025)),
    Shape("left_ankle_roll_link", "left_foot2_collision", 0.01, (-0.044, -0.018, -0.025), (0.123, -0.018, -0.025)),
    Shape("left_ankle_roll_link", "left_foot3_collision", 0.01, (-0.052, -0.01, -0.025), (0.13, -0.01, -0.025)),
    Shape("left_ankle_roll_link", "left_foot4_collision", 0.01, (-0.054, 0.0, -0.025), (0.132, 0.0, -0.025)),
    Shape("left_ankle_roll_link", "left_foot5_collision", 0.01, (-0.052, 0.01, -0.025), (0.13, 0.01, -0.025)),
    Shape("left_ankle_roll_link", "left_foot6_collision", 0.01, (-0.044, 0.018, -0.025), (0.123, 0.018, -0.025)),
    Shape("left_ankle_roll_link", "left_foot7_collision", 0.01, (0.1, 0.026, -0.025), (0.05, 0.026, -0.025)),
    Shape("right_ankle_roll_link", "right_foot1_collision", 0.01, (0.1, -0.026, -0.025), (0.05, -0.026, -0.025)),
    Shape("right_ankle_roll_link", "right_foot2_collision", 0.01, (-0.044, -0.018, -0.025), (0.123, -0.018, -0.025)),
    Shape("right_ankle_roll_link", "right_foot3_collision", 0.01, (-0.052, -0.01, -0.025), (0.13, -0.01, -0.025)),
    Shape("right_ankle_roll_link", "right_foot4_collision", 0.01, (-0.054, 0.0, -0.025), (0.132, 0.0, -0.025)),
    Shape("right_ankle_roll_link", "right_foot5_collision", 0.01, (-0.052, 0.01, -0.025), (0.13, 0.01, -0.025)),
    Shape("right_ankle_roll_link", "right_foot6_collision", 0.01, (-0.044, 0.018, -0.025), (0.123, 0.018, -0.025)),
    Shape("right_ankle_roll_link", "right_foot7_collision", 0.01, (0.1, 0.026, -0.025), (0.05, 0.026, -0.025)),
)

# Four spheres a foot at the corners of the same sole: 2.4 times the stepping rate of the seven capsules.
FOOT_SPHERES: tuple[Shape, ...] = tuple(
    Shape(f"{side}_ankle_roll_link", f"{side}_foot{i + 1}_collision", 0.01, (x, y, -0.025), (x, y, -0.025))
    for side in ("left", "right")
    for i, (x, y) in enumerate([(-0.045, 0.02), (-0.045, -0.02), (0.125, 0.026), (0.125, -0.026)])
)
# fmt: on

# Neighbours whose shapes overlap by design.
CONTACT_EXCLUDES: tuple[tuple[str, str], ...] = (
    ("left_elbow_link", "left_wrist_pitch_link"),
    ("right_elbow_link", "right_wrist_pitch_link"),
    ("pelvis", "left_hip_roll_link"),
    ("pelvis", "right_hip_roll_link"),
)

MOTORS: dict[str, Motor] = {
    "7520-14": Motor(0.010177520, 88.0, 32.0),
    "7520-22": Motor(0.025101925, 139.0, 20.0),
    "2x5020": Motor(0.007219450, 50.0, 37.0),
    "5020": Motor(0.003609725, 25.0, 37.0),
    "4010": Motor(0.00425, 5.0, 22.0),
}

# Matched against joint names in order; the first match counts.
MOTOR_OF_JOINT: tuple[tuple[str, str], ...] = (
    ("hip_pitch", "7520-14"),
    ("hip_yaw", "7520-14"),
    ("waist_yaw", "7520-14"),
    ("hip_roll", "7520-22"),
    ("knee", "7520-22"),
    ("ankle", "2x5020"),
    ("waist_", "2x5020"),
    ("wrist_roll", "5020"),
    ("wrist", "4010"),
    ("shoulder", "5020"),
    ("elbow", "5020"),
)

NATURAL_FREQUENCY_HZ = 10.0
DAMPING_RATIO = 2.0
ACTION_EFFORT_FRACTION = 0.25
SOFT_LIMIT_FACTOR = 0.9
DEFAULT_BASE_HEIGHT = 0.76

# Joint angles of the default pose; joints not named here are at zero.
DEFAULT_POSE: dict[str, float] = {
    **{
        f"{side}_{joint}_joint": angle
        for side in ("left", "right")
        for joint, angle in (
            ("hip_pitch", -0.312),
            ("knee", 0.669),
            ("ankle_pitch", -0.363),
            ("elbow", 0.6),
            ("shoulder_pitch", 0.2),
        )
    },
    "left_shoulder_roll_joint": 0.2,
    "right_shoulder_roll_joint": -0.2,
}

ANCHOR_BODY = "torso_link"

# The 14 tracked bodies, in the order of METHOD section 1.1.
TRACKED_BODIES: tuple[str, ...] = (
    "pelvis",
    "left_hip_roll_link",
    "left_knee_link",
    "left_ankle_roll_link",
    "right_hip_roll_link",
    "right_knee_link",
    "right_ankle_roll_link",
    "torso_link",
    "left_shoulder_roll_link",
    "left_elbow_link",
    "left_wrist_yaw_link",
    "right_shoulder_roll_link",
    "right_elbow_link",
    "right_wrist_yaw_link",
)

FOOT_BODIES: tuple[str, str] = ("left_ankle_roll_link", "right_ankle_roll_link")
END_EFFECTOR_BODIES: tuple[str, ...] = (*FOOT_BODIES, "left_wrist_yaw_link", "right_wrist_yaw_link")
HEAD_OFFSET: Vec3 = (0.0, 0.0, 0.43)
"""Centre of the head in the torso frame."""
