"""Every number of a run, as frozen dataclasses, and the presets that fix them.

Dagster's run config and the command line edit these same dataclasses. Numbers from the BeyondMimic papers are
listed with their sources in METHOD; where a preset departs from them its docstring or the field says why.
"""

import dataclasses
from collections.abc import Collection, Sequence
from typing import Literal

from beyondmimic_data.errors import ConfigError

Range = tuple[float, float]
Representation = Literal["body_pos", "joint_rot"]
ActionLabel = Literal["action_clean", "action_noise_free"]
Precision = Literal["auto", "float32", "bfloat16"]
OptimiserName = Literal["adamw", "muon"]
Attention = Literal["differentiated", "full"]
PastActions = Literal["noisy", "clean"]
SamplerName = Literal["plan_first", "rolling", "full"]
NoiseKind = Literal["none", "white", "ou"]
NOISE_KINDS: tuple[NoiseKind, ...] = ("none", "white", "ou")


SYNTH_SKILLS = ("stand", "squat", "walk", "locomotion")
"""Skills that the project can synthesise, by name; ``locomotion`` is several longer walks."""
SYNTH_KEYS = tuple(f"synth__{name}" for name in SYNTH_SKILLS)
"""Keys of the same skills."""


def named_numbers(field: str, entries: Sequence[str], names: Collection[str]) -> dict[str, float]:
    """Return the numbers of entries such as ``walk=0.5``.

    Args:
        field: name of the setting, for the error.
        entries: ``name=number`` each, a number of at least 0.
        names: what may be named.

    Raises:
        ConfigError: an entry that is no such pair, or names something else.
    """
    found: dict[str, float] = {}
    for entry in entries:
        name, _, value = entry.partition("=")
        expected = "name=number, a number of at least 0 and a name of " + ", ".join(sorted(names))
        try:
            found[name] = float(value)
        except ValueError as error:
            raise ConfigError(field, entry, expected) from error
        if name not in names or not 0 <= found[name] < float("inf"):
            raise ConfigError(field, entry, expected)
    return found


@dataclasses.dataclass(frozen=True)
class ControlConfig:
    """Rates of control and physics."""

    control_hz: float = 50.0
    """Policy steps a second; the rate of clips and of stored rows."""
    physics_dt: float = 0.005
    """Physics step, s."""

    def __post_init__(self) -> None:
        """Refuse rates that no clip can be resampled to and no robot simulated at.

        Raises:
            ConfigError: as said.
        """
        if not 1.0 <= self.control_hz <= 1000.0:
            raise ConfigError("control.control_hz", self.control_hz, "1 to 1000 policy steps a second")
        if not 1e-5 <= self.physics_dt <= 0.1:
            raise ConfigError("control.physics_dt", self.physics_dt, "0.00001 to 0.1 s")

    @property
    def decimation(self) -> int:
        """Physics steps a control step."""
        steps = 1.0 / (self.control_hz * self.physics_dt)
        if abs(steps - round(steps)) > 1e-9:
            raise ConfigError(
                "control.control_hz", self.control_hz, f"a divisor of {1 / self.physics_dt:g} Hz"
            )
        return round(steps)


@dataclasses.dataclass(frozen=True)
class SynthConfig:
    """Motions that the project synthesises itself."""

    skills: tuple[str, ...] = ("stand", "squat")
    """Any of ``stand``, ``squat``, ``walk``, ``locomotion``."""
    seconds: float = 10.0
    """Length of the clips of ``stand`` and ``squat``."""
    walk_seconds: float = 60.0
    """Length of the clip of ``walk``, which has more to show: directions, turns, starts and stops."""
    locomotion_clips: int = 5
    """Walks that ``locomotion`` consists of; one policy tracks them all."""
    locomotion_brisk_clips: int = 0
    """Further walks of ``locomotion``, with commands that change every ``brisk_segment_seconds``: starts,
    stops and reversals, which teach transitions."""
    brisk_segment_seconds: Range = (0.8, 2.0)
    """s between changes of their commands."""
    segment_seconds: Range = (2.0, 4.5)
    """s between changes of the other walks' commands."""
    segment_shares: tuple[str, ...] = ()
    """`kind=share` each: how often a kind of command comes in a walk, instead of the usual share. Kinds are
    forward, arc, backward, sideways, turn, mixed, stop and reverse, which turns the last command round."""
    locomotion_seconds: float = 124.0
    """Length of each: an episode of two minutes fits."""
    seed: int = 7
    """Seed of the walking commands and of the sway."""
    forward: Range = (-0.5, 1.0)
    """m/s, slowest and fastest command forward."""
    sideways: Range = (-0.4, 0.4)
    """m/s, commands to the left."""
    turn: Range = (-1.0, 1.0)
    """rad/s, commanded turn rate to the left."""


@dataclasses.dataclass(frozen=True)
class QualityConfig:
    """Limits of a clip's quality check. A clip beyond an error limit is refused, beyond a warning noted."""

    max_joint_limit_violation: float = 0.05
    """rad beyond a hard limit."""
    max_penetration: float = 0.05
    """m of a sole under the floor."""
    max_foot_skate: float = 0.35
    """m/s, mean speed of stance feet."""
    max_joint_speed: float = 30.0
    """rad/s, 99.9th percentile."""
    max_float_height: float = 0.10
    """m, median height of the lower sole."""
    max_base_speed: float = 8.0
    """m/s; a faster base teleports."""
    min_contact_share: float = 0.1
    """Least share of frames with a sole on the floor."""
    min_seconds: float = 0.5
    """Shortest clip."""
    max_seconds: float = 600.0
    """Longest clip."""


@dataclasses.dataclass(frozen=True)
class TaskConfig:
    """The tracking task, METHOD section 1."""

    anchor_position_weight: float = 0.5
    anchor_position_std: float = 0.3
    anchor_orientation_weight: float = 0.5
    anchor_orientation_std: float = 0.4
    body_position_weight: float = 1.0
    body_position_std: float = 0.3
    body_orientation_weight: float = 1.0
    body_orientation_std: float = 0.4
    body_linear_velocity_weight: float = 1.0
    body_linear_velocity_std: float = 1.0
    body_angular_velocity_weight: float = 1.0
    body_angular_velocity_std: float = 3.14
    action_rate_weight: float = -0.1
    joint_limit_weight: float = -10.0
    undesired_contact_weight: float = -0.1
    contact_force_threshold: float = 1.0
    """N; a touch counts above it."""
    anchor_height_limit: float = 0.25
    """m; beyond it the episode ends."""
    anchor_tilt_limit: float = 0.8
    """Difference of projected gravity z beyond which the episode ends."""
    end_effector_height_limit: float = 0.25
    """m; beyond it the episode ends."""
    episode_seconds: float = 10.0
    """Time-out of a training episode."""
    observation_noise: bool = True
    """Add METHOD 1.2's uniform noise to the actor's observations."""
    state_estimation: bool = True
    """False drops anchor position and base linear velocity from the actor: 154-D instead of 160-D."""
    anchor_offset_limit: float = 0.5
    """m, along each axis; the actor reads an anchor further off as that far. Episodes of seconds show no
    offset of metres, which minutes bring."""
    reset_position: tuple[float, float, float] = (0.05, 0.05, 0.01)
    reset_rotation: tuple[float, float, float] = (0.1, 0.1, 0.2)
    reset_joint: float = 0.1

    def without_noise(self) -> "TaskConfig":
        """Return the same task with exact resets and observations."""
        exact = (0.0, 0.0, 0.0)
        return dataclasses.replace(
            self, reset_position=exact, reset_rotation=exact, reset_joint=0.0, observation_noise=False
        )


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
    """Adaptive sampling of start frames, METHOD section 1.8."""

    enabled: bool = True
    kernel_size: int = 3
    kernel_decay: float = 0.8
    uniform_ratio: float = 0.1
    smoothing: float = 0.001
    first_frame_share: float = 0.0
    """Share of episodes that begin with the first frame of the drawn clip, as every start of a gate does."""

    def __post_init__(self) -> None:
        """Refuse what is no share.

        Raises:
            ConfigError: ``first_frame_share`` lies outside 0 to 1.
        """
        if not 0 <= self.first_frame_share <= 1:
            raise ConfigError("sampling.first_frame_share", self.first_frame_share, "a share of 0 to 1")


@dataclasses.dataclass(frozen=True)
class RandomisationConfig:
    """Domain randomisation: drawn for each environment or episode, and recorded for each episode."""

    friction: Range = (0.5, 2.0)
    mass_scale: Range = (0.8, 1.2)
    damping_scale: Range = (0.9, 1.1)
    """Factor on the servos' kd."""
    stiffness_scale: Range = (0.9, 1.1)
    """Factor on the servos' kp."""
    latency_ms: Range = (0.0, 100.0)
    joint_offset: float = 0.01
    """rad, half width of the joint zero error; shifts targets and observations."""
    com_offset: tuple[float, float, float] = (0.025, 0.05, 0.05)
    """m, half widths for the torso."""
    push_interval: Range = (1.0, 3.0)
    """s between pushes."""
    push_linear: tuple[float, float, float] = (0.5, 0.5, 0.2)
    """m/s, half widths of the velocity added by a push."""
    push_angular: tuple[float, float, float] = (0.52, 0.52, 0.78)
    """rad/s, half widths."""
    push: bool = True
    """False leaves pushes out."""

    def without_pushes(self) -> "RandomisationConfig":
        """Return the same ranges without pushes."""
        return dataclasses.replace(self, push=False)


@dataclasses.dataclass(frozen=True)
class PpoConfig:
    """rsl-rl's PPO, METHOD section 1.9."""

    hidden_dims: tuple[int, ...] = (512, 256, 128)
    init_std: float = 1.0
    steps_per_env: int = 24
    learning_rate: float = 1e-3
    schedule: Literal["adaptive", "fixed"] = "adaptive"
    desired_kl: float = 0.01
    clip_param: float = 0.2
    entropy_coef: float = 0.005
    value_loss_coef: float = 1.0
    clip_value_loss: bool = True
    """Bound the critic's change of one iteration too; costs many iterations where there are few."""
    gamma: float = 0.99
    lam: float = 0.95
    learning_epochs: int = 5
    mini_batches: int = 4
    max_grad_norm: float = 1.0
    critic_only_iterations: int = 10
    """After a warm start, iterations that leave the actor as it is while the critic learns to judge it."""
    warm_learning_rate: float = 1e-4
    """Where the adaptive learning rate begins after a warm start: the first one would undo what is known."""
    warm_gamma: float = 0.99
    """Discount after a warm start: what is left to learn lies further ahead."""
    warm_lam: float = 0.95
    warm_std: float = 0.4
    """Deviation of actions after a start from another skill's policy, in action units."""
    explore_again: bool = False
    """Take ``warm_std`` after a start from the skill's own policy too: to learn what it never met."""
    refine_steps: int | None = None
    """Steps after which training refines what it found: with ``refine_kl`` for ``desired_kl``, a warm start's
    discount, and no entropy bonus. ``None`` never does."""
    refine_kl: float = 0.006
    """Mean divergence of an iteration then."""
    mirror: bool = False
    """Let every step teach its mirror image too; doubles the rows of an update."""


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How long and how wide a tracking policy is trained."""

    num_envs: int = 4096
    max_iterations: int = 30_000
    minutes: float | None = None
    """Wall-clock budget of one skill; ``None`` leaves only ``max_iterations``."""
    check_every_minutes: float = 1.0
    """How often the policy is tried; training stops early once it passes with a margin."""
    check_seeds: int = 64
    push: bool = True
    """Push the robot during training."""
    drift_limit_m: float | None = None
    """Horizontal distance of the anchor from its reference that ends a training episode as a fall does.
    Without a limit, stepping on the spot beside a walking reference costs little."""
    shipped_start: bool = True
    """Let a skill without a policy of its own start from one that ships with the project."""
    start: str | None = None
    """Key of the skill whose policy training starts from, its last one or the one that ships; by default the
    skill's own, else the foundation, else the most complete."""
    stop_completion: float = 0.97
    """Completion on the check seeds that ends training early."""
    checkpoint_minutes: float = 2.0
    cpus_per_skill: float = 2.0
    """Ray CPUs that a skill reserves; as many processes train it, if each has enough environments."""
    gpus_per_skill: float = 0.0
    """Share of a GPU an actor reserves; with one, the networks learn on it, physics on the cores."""
    seed: int = 1

    def on_cores(self, cores: int) -> "TrainingConfig":
        """Return the same training on so many CPU cores, with as many environments a core."""
        return dataclasses.replace(
            self, num_envs=round(self.num_envs * cores / self.cpus_per_skill), cpus_per_skill=float(cores)
        )


@dataclasses.dataclass(frozen=True)
class GateConfig:
    """What a policy must show before it may teach."""

    seeds: int = 100
    completion: float = 0.9
    seconds: float = 5.0
    """Length that has to be completed, or the clip's if it is shorter."""
    max_body_pos_err_m: float = 0.1
    """Mean distance of the tracked bodies from where the anchored reference wants them."""
    max_velocity_err_m_s: float = 0.2
    """Mean error of the walking velocity (``VelocityError``): steps on the spot track poses, not a walk."""
    latency_ms: Range = (0.0, 40.0)
    push: bool = False
    seed_offset: int = 1_000_000
    """Gate seeds start here; training and checkpoint choice stay below."""
    latency_bin_ms: float = 20.0
    min_bin_completion: float = 0.8
    """Rollouts stop at the first latency bin below this completion."""


@dataclasses.dataclass(frozen=True)
class RolloutConfig:
    """Domain-randomised collection."""

    hours: float = 4.0
    """Kept hours of each skill: a new skill leaves the others' rollouts as they are. 25 skills make 100 h."""
    num_envs: int = 128
    """Environments stepped together in one unit of work."""
    chunk_steps: int = 131_072
    """Rows of one unit; one Zarr chunk. An episode is at most an environment's share of it long."""
    episode_seconds: float = 20.0
    """Longest episode; one ends with its clip in any case."""
    recovery_share: float = 0.1
    """Share of episodes that begin far off the reference, to show the way back (METHOD 4.6)."""
    recovery_seconds: float = 5.0
    """Longest of those."""
    recovery_scale: float = 2.0
    """Factor on the pose noise of their resets."""
    drop_before_fall_seconds: float = 2.5
    """Taken from the end of an episode that fell: what led to it teaches nothing good."""
    min_episode_seconds: float = 1.0
    """What is left of an episode is rejected below it."""
    min_kept_share: float = 0.5
    """Share of its episodes that a skill has to keep to teach. A policy that passed its gate keeps nearly
    all: far fewer mean that it was not fit for what it was rolled out on."""
    noise_shares: tuple[float, float, float] = (0.0, 1.0, 0.0)
    """Shares of episodes without noise, with white and with Ornstein-Uhlenbeck noise."""
    noise_std: tuple[float, float, float, float] = (0.05, 0.2, 0.3, 0.4)
    """White noise in action units: base, hips, knees, ankles (METHOD 2.7)."""
    noise_scale: Range = (1.0, 1.0)
    """Factor on the noise, drawn for each episode."""
    ou_theta: float = 0.8
    ou_sigma: float = 0.1
    student: str | None = None
    """A diffusion policy that drives for bursts while the teacher says what it would do (DAgger): ``shipped``
    or a policy's folder; ``None`` lets the teacher drive throughout."""
    student_share: float = 0.2
    """Share of the units in which it does."""
    student_seconds: Range = (0.3, 1.0)
    """Length of its bursts, s."""
    teacher_seconds: Range = (0.5, 1.5)
    """Length of what the teacher drives in between, s."""
    float16: bool = False
    """Store rows with 11 bits a number instead of 24; see docs/store.md for what it costs."""
    cpus_per_worker: float = 1.0
    seed: int = 11

    def __post_init__(self) -> None:
        """Refuse shares that are none.

        Raises:
            ConfigError: ``noise_shares`` with a negative one or all zero; a ``student_share`` or a
                ``min_kept_share`` that is none.
        """
        if min(self.noise_shares) < 0 or sum(self.noise_shares) <= 0:
            raise ConfigError("rollouts.noise_shares", self.noise_shares, "shares of at least 0, one above")
        for name in ("student_share", "min_kept_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"rollouts.{name}", getattr(self, name), "a share of 0 to 1")


@dataclasses.dataclass(frozen=True)
class DatasetConfig:
    """What goes into a dataset version."""

    validation_fraction: float = 0.05
    split_seed: int = 42


@dataclasses.dataclass(frozen=True)
class DiffusionConfig:
    """State-action diffusion, METHOD section 2; the window is DESIGN section 10's."""

    past: int = 4
    """Past frames; the current frame has this index."""
    future: int = 16
    action_horizon: int = 8
    """Future actions that count in the loss."""
    representation: Representation = "body_pos"
    emphasis: float = 4.0
    """c of the emphasis projection; 0 turns it off."""
    embedding: int = 512
    layers: int = 6
    heads: int = 4
    dropout: float = 0.3
    denoise_steps: int = 20
    attention: Attention = "differentiated"
    """``differentiated``: states attend to states alone, actions to what is no later (METHOD 2.3); ``full``:
    every token to every other, which the sampler ``full`` alone can use."""
    past_actions: PastActions = "noisy"
    """``noisy``: past actions have levels of their own in training, as METHOD 2.5 has it; ``clean``: level 0,
    as rolling inference finds them, which teaches to copy the last action."""
    smoothness_weight: float = 0.1
    action_label: ActionLabel = "action_clean"
    """Stored column that is the target: the teacher's output on its noisy observation, or on one without
    noise."""
    shared_levels: float = 0.0
    """Share of windows whose future states have one level in common and whose actions have another; the
    others draw a level a token (METHOD 2.5). It is what sampling visits: see ``loss.draw_noise``."""
    skill_weights: tuple[str, ...] = ()
    """``skill=weight`` each: how often windows of a skill are drawn, against 1 for every skill not named.
    Without any, every window is drawn as often as any other. A synthesised skill may be named that a dataset
    lacks, as a preset does not know which skills pass their gates."""
    batch_size: int = 512
    optimiser: OptimiserName = "adamw"
    """``muon`` has it for the matrices inside of blocks, and AdamW for the rest."""
    learning_rate: float = 1e-4
    warm_learning_rate: float = 1e-4
    """Peak of the learning rate after a warm start: a higher one unlearns first."""
    weight_decay: float = 1e-3
    warmup_steps: int = 10_000
    max_grad_norm: float = 0.0
    """Bound on the gradient's norm; 0 for none."""
    precision: Precision = "auto"
    """Of the network's products in training: ``auto`` times both on a CPU and takes the faster; a GPU takes
    bfloat16."""
    max_steps: int = 1_000_000
    minutes: float | None = None
    ema_power: float = 0.75
    ema_max: float = 0.9999
    mirror: bool = True
    shipped_start: bool = True
    """Let a first training start from the policy that ships, if it is of this architecture."""
    checkpoint_minutes: float = 2.0
    check_minutes: float | None = None
    """Minutes between trials in closed loop, whose best is kept; ``None`` keeps the last weights untried. A
    warm start is tried before its first step."""
    check_runs: int = 32
    """Robots of a trial."""
    min_upright: float = 0.9
    """Share of the time that robots must be up in the best trial."""
    workers: int = 1
    """Processes that train together, each on its share of every batch; Ray Train starts them, with a GPU each
    where the cluster has as many. Several want one file system."""
    seed: int = 42

    @property
    def window(self) -> int:
        """Frames in a window: past, current and future."""
        return self.past + 1 + self.future


@dataclasses.dataclass(frozen=True)
class PlanningConfig:
    """How plans are made in closed loop."""

    sampler: SamplerName = "plan_first"
    """``plan_first``: states first, then the action from them; ``rolling`` and ``full``: as published."""
    state_calls: int = 3
    """Network calls of ``plan_first`` that denoise states."""
    start_level: int = 12
    """Level to which ``plan_first`` noises the last plan to start from it; METHOD 2.8 has 15 for states."""
    action_calls: int = 2
    """Network calls of ``plan_first`` that denoise the action."""
    execute: int = 1
    """Actions of each plan that are executed before the next one is made; other samplers know one."""
    precision: Precision = "float32"
    """Of the network's products; ``auto`` takes bfloat16 for many robots at once where the device has units
    for it."""


@dataclasses.dataclass(frozen=True)
class GuidanceConfig:
    """How commands and goals steer plans; no paper gives its numbers."""

    scale: float = 8.0
    """Step along the negative gradient of a cost."""
    max_norm: float = 1.0
    """Bound on the gradient of one predicted step, physical units."""
    max_ratio: float = 1.0
    """Bound on the noise-to-signal factor of the noisiest denoising steps."""
    until_level: int = 0
    """Calls that begin at this noise level or below are not guided: they bring the parts of a plan that
    guidance moved, and those that it did not, back together."""
    sway_weight: float = 0.0
    """How much single steps of a plan count where they differ from its mean velocity; 1 is the papers' cost
    of a joystick. Asked for one velocity at every step, a robot leans and does not step."""
    command_gain: float = 1.0
    """What is asked of a plan for each m/s or rad/s commanded: plans follow by less than they are asked."""
    forward: Range = (-0.7, 1.0)
    """m/s, range of what is ever asked forward: what the data shows. A plan that is asked for more falls."""
    sideways: Range = (-0.4, 0.4)
    """m/s to the left, the same."""
    turn: Range = (-1.2, 1.2)
    """rad/s to the left, the same; a little more than the data, for the heading's correction."""
    acceleration: float = 2.0
    """m/s^2; a command that jumps is asked for no faster, as people start and stop."""
    turn_acceleration: float = 2.0
    """rad/s^2, the same of the yaw rate."""
    integral_gain: float = 0.3
    """1/s; what is asked grows by this times the velocity's error, so that no error stays."""
    integral_limit: float = 0.5
    """Bound of what the integral adds, as a share of the command."""
    heading_gain: float = 2.0
    """1/s; rad/s asked for each radian that the heading lags behind the one that the yaw rate leads to."""
    heading_limit: float = 0.5
    """rad; a heading further off counts as this far, and the wanted heading waits for the robot."""
    waypoint_mode: Literal["cost", "velocity"] = "velocity"
    """``cost``: the papers' cost of a waypoint; ``velocity``: a bounded velocity towards it, as a joystick
    would command it."""
    obstacle_weight: float = 0.0
    """Weight of the obstacles' cost beside a command or a goal; 0 leaves it to the velocity to go round them,
    which the papers' cost of a waypoint does not."""


@dataclasses.dataclass(frozen=True)
class ClosedLoopConfig:
    """Closed-loop evaluation and its video."""

    protocols: tuple[str, ...] = ("stand_perturb", "joystick")
    min_success: tuple[str, ...] = ("stand_perturb=0.9", "joystick=0.5")
    """``protocol=rate`` each: success rates that a policy must reach in its report to pass."""
    seeds: int = 50
    planning: PlanningConfig = PlanningConfig()
    guidance: GuidanceConfig = GuidanceConfig()
    video_seconds: float = 12.0
    video_width: int = 640
    video_height: int = 480
    seed: int = 2_000_000


@dataclasses.dataclass(frozen=True)
class LearnedGuidanceConfig:
    """How a policy that sets guidance is trained; the numbers are this project's own."""

    minutes: float = 10.0
    """Wall-clock budget of the training."""
    max_iterations: int | None = None
    """Most iterations of PPO; ``None`` leaves only the minutes."""
    num_envs: int = 64
    """Robots."""
    hold: int = 10
    """Control steps between decisions."""
    episode_seconds: float = 12.0
    """A robot that has not fallen starts anew after it."""
    limits: tuple[float, float, float, float] = (1.1, 0.7, 0.7, 1.1)
    """Natural logarithms of the largest factors on scale, velocity gain, yaw rate gain and gradient bound: up
    to 3, 2, 2 and 3 times the fixed ones, and as many times less."""
    hidden_dims: tuple[int, ...] = (64, 64)
    steps_per_env: int = 16
    """Decisions of each robot an iteration."""
    learning_rate: float = 3e-4
    gamma: float = 0.95
    """Discount a decision: at 0.2 s each, what comes within 4 s counts."""
    lam: float = 0.9
    init_std: float = 0.3
    """Deviation of actions at first; 1 is three quarters of the way to a bound."""
    learning_epochs: int = 4
    mini_batches: int = 4
    seed: int = 1
    """Of starts, latency, commands, pushes, noise and weights."""

    def __post_init__(self) -> None:
        """Refuse what no training can be made of.

        Raises:
            ConfigError: a number that is not above zero, or fewer decisions an iteration than mini-batches.
        """
        for name in ("minutes", "num_envs", "hold", "episode_seconds", "steps_per_env", "learning_epochs"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"learned_guidance.{name}", getattr(self, name), "a number above 0")
        if not min(self.limits) > 0:
            raise ConfigError("learned_guidance.limits", self.limits, "numbers above 0")
        decisions = self.num_envs * self.steps_per_env
        if not 1 <= self.mini_batches <= decisions:
            raise ConfigError("learned_guidance.mini_batches", self.mini_batches, f"1 to {decisions}")

    def ppo(self) -> PpoConfig:
        """Return the numbers of PPO."""
        return PpoConfig(
            hidden_dims=self.hidden_dims,
            init_std=self.init_std,
            steps_per_env=self.steps_per_env,
            learning_rate=self.learning_rate,
            gamma=self.gamma,
            lam=self.lam,
            learning_epochs=self.learning_epochs,
            mini_batches=self.mini_batches,
            clip_value_loss=False,
        )


@dataclasses.dataclass(frozen=True)
class DeployConfig:
    """ONNX and TensorRT artifacts."""

    opset: int = 18
    parity_tolerance: float = 1e-5
    parity_windows: int = 32
    tensorrt_targets: tuple[str, ...] = ("8.9",)
    """Compute capabilities to build TensorRT for RTX engines for."""


@dataclasses.dataclass(frozen=True)
class Preset:
    """Every number of a run of the whole graph."""

    name: str
    control: ControlConfig = ControlConfig()
    synth: SynthConfig = SynthConfig()
    quality: QualityConfig = QualityConfig()
    task: TaskConfig = TaskConfig()
    sampling: SamplingConfig = SamplingConfig()
    randomisation: RandomisationConfig = RandomisationConfig()
    ppo: PpoConfig = PpoConfig()
    training: TrainingConfig = TrainingConfig()
    gate: GateConfig = GateConfig()
    rollouts: RolloutConfig = RolloutConfig()
    dataset: DatasetConfig = DatasetConfig()
    diffusion: DiffusionConfig = DiffusionConfig()
    closed_loop: ClosedLoopConfig = ClosedLoopConfig()
    deploy: DeployConfig = DeployConfig()


def paper() -> Preset:
    """METHOD's numbers: 4096 environments, 30 000 iterations, 100 hours, 20 M parameters."""
    return Preset(
        name="paper",
        synth=SynthConfig(skills=("stand", "squat", "walk"), seconds=60.0),
        gate=GateConfig(seeds=200, completion=0.95, seconds=20.0, max_body_pos_err_m=0.06, push=True),
    )


def paper_25hz() -> Preset:
    """METHOD 1.9's task at 25 Hz: half as many steps an iteration, each worth two."""
    base = paper()
    return dataclasses.replace(
        base,
        name="paper_25hz",
        control=ControlConfig(control_hz=25.0),
        task=dataclasses.replace(base.task, action_rate_weight=-0.05),
        ppo=dataclasses.replace(
            base.ppo, steps_per_env=12, gamma=0.9801, lam=0.9025, warm_gamma=0.9801, warm_lam=0.9025
        ),
    )


def quick() -> Preset:
    """Two cores, no GPU, at most 20 minutes."""
    base = paper()
    return dataclasses.replace(
        base,
        name="quick",
        # Walking in all directions, with quick changes, is what the diffusion policy is to learn.
        synth=dataclasses.replace(
            base.synth,
            skills=("stand", "squat", "walk", "locomotion"),
            seconds=10.0,
            locomotion_clips=2,
            locomotion_brisk_clips=1,
            locomotion_seconds=62.0,
        ),
        sampling=SamplingConfig(enabled=False),
        # A trust region bounds how far one iteration moves the policy: many small iterations with a wider
        # region learn from few steps, and the critic must not be held back either. Of so few steps only
        # consequences within a second can be told from noise.
        ppo=dataclasses.replace(
            base.ppo,
            hidden_dims=(256, 128, 64),
            init_std=0.5,
            steps_per_env=12,
            gamma=0.97,
            lam=0.9,
            warm_gamma=0.98,
            warm_lam=0.93,
            warm_learning_rate=3e-4,
            learning_epochs=2,
            entropy_coef=0.002,
            desired_kl=0.03,
            clip_value_loss=False,
            mirror=True,
        ),
        # What fails is a start or a push: short episodes meet more of the former.
        task=dataclasses.replace(base.task, episode_seconds=5.0),
        randomisation=dataclasses.replace(base.randomisation, latency_ms=(0.0, 40.0)),
        # Small batches lose more to waking a second thread than it gives: a core a skill, side by side.
        training=TrainingConfig(
            num_envs=256,
            minutes=7.0,
            drift_limit_m=0.5,
            check_every_minutes=2.0,
            stop_completion=0.95,
            cpus_per_skill=1.0,
        ),
        gate=GateConfig(),
        rollouts=RolloutConfig(
            hours=0.5,
            num_envs=128,
            chunk_steps=32_768,
            noise_shares=(0.1, 0.75, 0.15),
            noise_scale=(0.5, 1.2),
        ),
        diffusion=DiffusionConfig(
            embedding=160,
            layers=4,
            dropout=0.0,
            action_label="action_noise_free",
            shared_levels=0.5,
            # A policy that is shown much standing likes to stand: these are the shares that the one which
            # ships was taught with, where each skill has the same hours.
            skill_weights=("synth__stand=0.13", "synth__squat=0.07", "synth__walk=0.13"),
            batch_size=256,
            learning_rate=1e-3,
            # The policy that ships has seen more than the demo collects: it is refined, not taught anew.
            warm_learning_rate=1e-4,
            warmup_steps=50,
            max_grad_norm=1.0,
            max_steps=100_000,
            minutes=5.0,
            ema_max=0.999,
            check_minutes=2.5,
            check_runs=16,
        ),
        closed_loop=ClosedLoopConfig(
            protocols=("stand_perturb", "tour"),
            min_success=("stand_perturb=0.9", "tour=0.8"),
            seeds=10,
            video_seconds=56.0,
        ),
    )


def test() -> Preset:
    """Seconds: every stage runs for real, none of it long enough to learn much."""
    base = quick()
    return dataclasses.replace(
        base,
        name="test",
        synth=SynthConfig(skills=("stand", "squat"), seconds=2.0),
        ppo=dataclasses.replace(base.ppo, critic_only_iterations=1),
        training=TrainingConfig(
            num_envs=32,
            max_iterations=2,
            minutes=None,
            check_seeds=8,
            shipped_start=False,
            cpus_per_skill=1.0,
        ),
        gate=GateConfig(
            seeds=8, completion=0.0, seconds=1.0, max_body_pos_err_m=1.0, max_velocity_err_m_s=10.0
        ),
        # A policy of two iterations falls at once: what it does before it falls is kept.
        rollouts=RolloutConfig(
            hours=0.01,
            num_envs=16,
            chunk_steps=1024,
            drop_before_fall_seconds=0.0,
            min_episode_seconds=0.5,
            min_kept_share=0.0,
        ),
        diffusion=dataclasses.replace(
            base.diffusion,
            embedding=32,
            layers=1,
            batch_size=32,
            max_steps=20,
            minutes=None,
            warmup_steps=5,
            shipped_start=False,
            precision="float32",
            check_minutes=10.0,
            check_runs=2,
            min_upright=0.0,
        ),
        closed_loop=ClosedLoopConfig(
            min_success=("stand_perturb=0.0", "joystick=0.0"),
            seeds=2,
            video_seconds=1.0,
            video_width=160,
            video_height=120,
        ),
        deploy=DeployConfig(parity_windows=4),
    )


PRESETS = {"test": test, "quick": quick, "paper": paper, "paper_25hz": paper_25hz}


def get_preset(name: str) -> Preset:
    """Return a preset by name.

    Raises:
        ConfigError: no such preset.
    """
    if not isinstance(name, str) or name not in PRESETS:
        raise ConfigError("preset", name, "one of " + ", ".join(PRESETS))
    return PRESETS[name]()
