"""Receding horizon in simulation: plan a window, execute its current action, observe, plan again."""

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping

import numpy as np
import torch

from beyondmimic_data import rotations
from beyondmimic_data.config import ControlConfig, PlanningConfig, Range
from beyondmimic_data.control.settings import GuidanceSettings
from beyondmimic_data.diffusion.frames import Frames, concatenate, frames_from_state
from beyondmimic_data.diffusion.plan_first import PlanFirstSampler
from beyondmimic_data.diffusion.policy import DiffusionPolicy
from beyondmimic_data.diffusion.rolling import RollingSampler
from beyondmimic_data.diffusion.sampler import FullSampler, Guidance, Keyframes, Plan, gaussian
from beyondmimic_data.errors import ConfigError
from beyondmimic_data.robots import g1, g1_facts
from beyondmimic_data.sim import randomisation as rand
from beyondmimic_data.sim.backend import RobotState
from beyondmimic_data.sim.mujoco_backend import MujocoBackend

log = logging.getLogger(__name__)

FALLEN_HEAD_HEIGHT = 0.2
"""m; a head below it has fallen (METHOD 2.11)."""
LOG_SECONDS = 10.0


@dataclasses.dataclass(frozen=True)
class Steering:
    """What a plan is steered by at one control step."""

    guidance: Guidance | None = None
    keyframes: Keyframes | None = None
    command: torch.Tensor | None = None
    """(N, 3) m/s forward and left of the heading, rad/s: what is commanded, for the recording."""
    adjusted: Callable[[GuidanceSettings], Guidance] | None = None
    """Gives the guidance with other settings than the fixed ones; ``None`` where no command is followed."""


Steer = Callable[[int, Frames], Steering]
"""Gives the steering at a control step, from the history of states."""
Push = Callable[[int], np.ndarray | None]
"""Gives the velocity (N, 3) in m/s added to each base before a control step, or ``None``."""
Measure = Callable[[int, RobotState], Mapping[str, np.ndarray]]
"""Gives what a judge needs of a state beside the usual, as arrays (N, ...), from a row's number and state."""


@dataclasses.dataclass(frozen=True)
class Recording:
    """What N robots did over S control steps; row 0 is the start, so arrays have S + 1 rows."""

    qpos: np.ndarray
    """(S + 1, N, 36) generalised positions."""
    root_lin_vel: np.ndarray
    """(S + 1, N, 3) m/s in the axes of the robot's heading."""
    yaw: np.ndarray
    """(S + 1, N) rad, heading, unwrapped."""
    head_height: np.ndarray
    """(S + 1, N) m."""
    pushes: np.ndarray
    """(S + 1, N, 3) m/s added to the base before the step that led to the row."""
    actions: np.ndarray
    """(S + 1, N, 29) executed actions, that of row r led to it; 0 in row 0."""
    latency_ms: np.ndarray
    """(N,) latency of each robot."""
    network_calls: int
    """Calls of the network for one plan, once a run is under way."""
    plan_ms: np.ndarray
    """(S,) wall-clock time of each batch of plans, ms."""
    control_hz: float
    """Control steps a second."""
    precision: str = "float32"
    """Of the network's products."""
    command: np.ndarray | None = None
    """(S + 1, N, 3) m/s forward and left, rad/s, commanded at the step that led to the row; NaN in row 0 and
    where nothing was; ``None`` if nothing ever was."""
    measured: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    """What the protocol measured of each state, arrays (S + 1, N, ...)."""

    @property
    def action_rate(self) -> np.ndarray:
        """(N,) root mean square change of actions from step to step, in action units."""
        return np.sqrt(np.square(np.diff(self.actions[1:], axis=0)).mean((0, 2)))

    @property
    def joint_jerk(self) -> np.ndarray:
        """(N,) rad/s^3, root mean square third derivative of joint positions."""
        third = np.diff(self.qpos[:, :, 7:], n=3, axis=0) * self.control_hz**3
        return np.sqrt(np.square(third).mean((0, 2)))

    @property
    def yaw_rate(self) -> np.ndarray:
        """(S + 1, N) rad/s, of the heading."""
        return np.gradient(self.yaw, 1 / self.control_hz, axis=0)

    @property
    def fell(self) -> np.ndarray:
        """(N,) whether a robot's head came down, or its simulation broke."""
        return ~(self.head_height > FALLEN_HEAD_HEIGHT).all(0)

    @property
    def seconds_upright(self) -> np.ndarray:
        """(N,) s until the fall, or the length of the run."""
        up = np.logical_and.accumulate(self.head_height > FALLEN_HEAD_HEIGHT, axis=0)
        return np.maximum(up.sum(0) - 1, 0) / self.control_hz


def head_height(state: RobotState) -> torch.Tensor:
    """Return the height (N,) of the head's centre over the floor, m."""
    torso = state.body_names.index(g1_facts.ANCHOR_BODY)
    offset = state.body_pos_w.new_tensor(g1_facts.HEAD_OFFSET)
    head = state.body_pos_w[:, torso] + rotations.rotate(state.body_quat_w[:, torso], offset)
    return head[:, 2]


class ClosedLoop:
    """N robots in MuJoCo, each driven by its own plans."""

    def __init__(
        self,
        policy: DiffusionPolicy,
        starts: Frames,
        control: ControlConfig,
        *,
        planning: PlanningConfig | None = None,
        latency_ms: Range = (0.0, 0.0),
        feet: g1.Feet = "spheres",
        seed: int = 0,
        num_threads: int = 0,
    ) -> None:
        """Place robots at recorded starts; everything else follows from the seed.

        Args:
            policy: in evaluation mode.
            starts: past and current states (N, past + 1, ...) of one robot each.
            control: control and physics rates.
            planning: how plans are made; the defaults if nothing is given.
            latency_ms: range of the delay between a command and its effect, drawn for each robot.
            feet: contact model.
            seed: of latency and denoising.
            num_threads: physics threads; 0 takes every core.

        Raises:
            ConfigError: the simulator's names or rate are not those the policy was trained with, or plans
                cannot be made so.
        """
        planning = planning or PlanningConfig()
        if planning.execute > 1 and planning.sampler != "plan_first":
            raise ConfigError("closed_loop.planning.execute", planning.execute, "1, or sampler plan_first")
        if control.control_hz != policy.contract.control_hz:
            expected = f"{policy.contract.control_hz:g}, the rate the policy was trained at"
            raise ConfigError("control.control_hz", control.control_hz, expected)
        self.num_envs = len(starts)
        self.policy = policy = policy.in_precision(planning.precision, self.num_envs)
        self.backend = MujocoBackend(self.num_envs, control, feet=feet, num_threads=num_threads)
        policy.contract.require_names(self.backend.joint_names, self.backend.body_names, "simulation")
        rng = np.random.default_rng(seed)
        ids = np.arange(self.num_envs)
        latency = rand.draw_latency(latency_ms, control, self.num_envs, rng)
        self.backend.set_latency(ids, latency)
        self.latency_ms = latency * control.physics_dt * 1e3
        self.state = self._place(ids, starts)
        self.history = concatenate([starts.time(slice(None, -1)), frames_from_state(self.state)], dim=1)
        generator = torch.Generator(device=policy.device).manual_seed(seed)
        noise = gaussian(generator, policy.device)
        self.sampler: PlanFirstSampler | RollingSampler | FullSampler
        if planning.sampler == "plan_first":
            self.sampler = PlanFirstSampler(policy, noise, planning)
        elif planning.sampler == "rolling":
            self.sampler = RollingSampler(policy, noise)
        else:
            self.sampler = FullSampler(policy, noise)
        self._execute = planning.execute
        self._executed = 0
        self.plan: Plan | None = None
        """The plan that the last action came from."""
        self.action = torch.zeros(self.num_envs, policy.num_joints)
        """(N, 29) the last executed action."""
        self.planned = torch.zeros(self.num_envs, dtype=torch.bool)
        """(N,) which robots the plan is of: all, but before a first plan and those just restarted."""

    def _place(self, ids: np.ndarray, starts: Frames) -> RobotState:
        """Put some robots where recorded starts end, and return the state of all."""
        now = starts.time(slice(-1, None))
        fields = (
            now.root_pos_w,
            now.root_quat_w,
            now.root_lin_vel_w,
            now.root_ang_vel_w,
            now.joint_pos,
            now.joint_vel,
        )
        self.backend.write(ids, *(x[:, 0].double().numpy() for x in fields))
        return self.backend.read()

    def reset(self, ids: np.ndarray, starts: Frames) -> None:
        """Begin anew with some robots, each at its own latency; the others do not notice.

        Args:
            ids: (n,) sorted numbers of robots.
            starts: past and current states (n, past + 1, ...) of one of them each.

        Raises:
            ConfigError: plans are made in a way that has all robots begin together.
        """
        self.sampler.forget(ids.tolist())
        self.state = self._place(ids, starts)
        index = torch.from_numpy(ids)
        placed = frames_from_state(self.state).select(index)
        history = concatenate([starts.time(slice(None, -1)), placed], dim=1)
        self.history = self.history.put(index, history)
        self.action = self.action.index_fill(0, index, 0.0)
        self.planned = self.planned.index_fill(0, index, False)

    def step(self, steering: Steering, push: np.ndarray | None) -> float:
        """Push, plan if a plan is due, execute an action and observe; returns the time of planning in s."""
        started = time.perf_counter()
        if self.plan is None or self._executed == self._execute:
            history = self.history.to(self.policy.device)
            self.plan = self.sampler.plan(history, steering.guidance, steering.keyframes)
            self._executed = 0
            self.planned = torch.ones(self.num_envs, dtype=torch.bool)
        self.action = self.plan.actions[:, self.policy.current + self._executed].cpu()
        self._executed += 1
        targets = self.policy.joint_targets(self.action).double().numpy()
        planned = time.perf_counter() - started
        if push is not None:
            self.backend.push(np.arange(self.num_envs), push, np.zeros_like(push))
        self.backend.step(targets)
        self.state = self.backend.read()
        self.history = self.history.push(frames_from_state(self.state))
        return planned


Adapt = Callable[[ClosedLoop, Steering], Steering]
"""Gives the steering of a control step that is executed instead of the one that was meant."""


def run(
    loop: ClosedLoop,
    steps: int,
    *,
    steer: Steer | None = None,
    adapt: Adapt | None = None,
    push: Push | None = None,
    measure: Measure | None = None,
    what: str = "closed loop",
) -> Recording:
    """Run robots for some control steps, or until all have fallen.

    Args:
        loop: placed robots.
        steps: control steps.
        steer: guidance and keyframes of each step.
        adapt: changes them.
        push: velocities added to bases.
        measure: what else is recorded of each state.
        what: name in the log.
    """
    rows = [_observe(loop, Steering(), None)]
    measured = [dict(measure(0, loop.state))] if measure is not None else []
    plan_ms: list[float] = []
    logged = time.monotonic()
    for t in range(steps):
        added = push(t) if push is not None else None
        steering = steer(t, loop.history) if steer is not None else Steering()
        if adapt is not None:
            steering = adapt(loop, steering)
        plan_ms.append(1e3 * loop.step(steering, added))
        rows.append(_observe(loop, steering, added))
        if measure is not None:
            measured.append(dict(measure(t + 1, loop.state)))
        if time.monotonic() - logged > LOG_SECONDS:
            logged = time.monotonic()
            left = (steps - t) * float(np.mean(plan_ms)) / 1e3
            log.info("%s: %d of %d control steps, %.0f s left", what, t + 1, steps, left)
        if t % 10 == 0 and not (np.stack([r["head_height"] for r in rows]) > FALLEN_HEAD_HEIGHT).all(0).any():
            break
    stacked = _stack(rows)
    stacked["yaw"] = np.unwrap(stacked["yaw"], axis=0)
    command = stacked.pop("command")
    return Recording(
        **stacked,
        command=None if np.isnan(command).all() else command,
        measured=_stack(measured),
        latency_ms=loop.latency_ms,
        network_calls=0 if loop.plan is None else loop.plan.calls,
        plan_ms=np.array(plan_ms),
        control_hz=loop.policy.contract.control_hz,
        precision="bfloat16" if loop.policy.plans_in_bfloat16 else "float32",
    )


def _stack(rows: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.stack([row[name] for row in rows]) for name in (rows[0] if rows else ())}


def _observe(loop: ClosedLoop, steering: Steering, push: np.ndarray | None) -> dict[str, np.ndarray]:
    """Return one row of a recording, with what led to it."""
    state = loop.state
    yaw = rotations.yaw(state.root_quat_w)
    velocity = rotations.rotate_inverse(rotations.from_yaw(yaw), state.root_lin_vel_w)
    return {
        "qpos": torch.cat([state.root_pos_w, state.root_quat_w, state.joint_pos], -1).numpy().copy(),
        "root_lin_vel": velocity.numpy(),
        "yaw": yaw.numpy(),
        "head_height": head_height(state).numpy(),
        "pushes": np.zeros((loop.num_envs, 3)) if push is None else push.copy(),
        "actions": loop.action.numpy().copy(),
        "command": np.full((loop.num_envs, 3), np.nan)
        if steering.command is None
        else steering.command.double().cpu().numpy(),
    }
