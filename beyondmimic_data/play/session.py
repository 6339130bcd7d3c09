"""One robot in closed loop that another thread commands, pushes and resets while it runs."""

import collections
import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from beyondmimic_data import process, rotations
from beyondmimic_data.config import Preset
from beyondmimic_data.control.closed_loop import (
    FALLEN_HEAD_HEIGHT,
    ClosedLoop,
    Steering,
    head_height,
)
from beyondmimic_data.control.evaluate import pick_starts
from beyondmimic_data.control.pilot import (
    LOOK_AHEAD,
    CommandFollower,
    WaypointPilot,
    joystick_guidance,
    way_round,
)
from beyondmimic_data.control.protocols import PROTOCOLS
from beyondmimic_data.diffusion.frames import Frames
from beyondmimic_data.diffusion.policy import DiffusionPolicy
from beyondmimic_data.diffusion.representation import character_frame
from beyondmimic_data.diffusion.sampler import Plan
from beyondmimic_data.diffusion.windows import RecordedWindows
from beyondmimic_data.errors import StoreError
from beyondmimic_data.guidance.costs import Obstacle
from beyondmimic_data.guidance.pillar_field import PillarField
from beyondmimic_data.play.command import Command, Pillar
from beyondmimic_data.robots import g1, g1_facts

log = logging.getLogger(__name__)

PILLAR_SIGHT = 2.5
"""m from the root to a pillar's surface; farther away it is beyond the reach of a plan and of a detour."""
PACE_SECONDS = 1.0
"""s over which the real-time factor is taken."""


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """What there is to see after one control step."""

    seconds: float
    """Simulated time since the last reset."""
    qpos: np.ndarray
    """(36,) generalised position."""
    velocity: np.ndarray
    """(3,) m/s of the root, in the axes of the heading."""
    turn: float
    """rad/s about the vertical."""
    root_path: np.ndarray
    """(F + 1, 3) m, world: the root now and as planned."""
    foot_paths: np.ndarray
    """(2, F, 3) m, world: the feet as planned; none of them where the policy plans no bodies."""
    push: np.ndarray
    """(3,) m/s added to the base in this step."""
    command: Command
    """What was asked for."""
    fallen: bool
    """Whether the head is down, or the simulation broke."""
    step_ms: float
    """Wall-clock time of the step: planning, physics and observation."""


class Session:
    """A robot that starts at the origin, looks along x and does what the last command says.

    ``change``, ``push`` and ``reset`` may be called from any thread; they take effect at the next step.
    """

    def __init__(
        self, policy: DiffusionPolicy, starts: Frames, preset: Preset, *, command: Command | None = None
    ) -> None:
        """Place the robot.

        Args:
            policy: in evaluation mode.
            starts: recorded past and current states (1, past + 1, ...).
            preset: control rate, sampler, latency and seed.
            command: what to do at first; to stand still, guided as the preset says, by default.
        """
        self._policy, self._start, self._preset = policy, at_origin(starts, policy.current), preset
        self._lock = threading.Lock()
        self._command = command or Command(guidance=preset.closed_loop.guidance)
        self._push: np.ndarray | None = None
        self._reset_asked = False
        self._loop, self._driver = self._placed(), self._new_driver()
        self._steps = 0

    @classmethod
    def load(cls, folder: Path, preset: Preset, *, command: Command | None = None) -> "Session":
        """Read a policy and one of the standing starts recorded beside it.

        Raises:
            StoreError: the folder has no policy, or no recorded start in which the robot stands.
        """
        # One thread each: the matrices are small, and the other core is for drawing.
        process.prepare(1)
        policy = DiffusionPolicy.load(folder)
        recorded, protocol = RecordedWindows.load(folder), PROTOCOLS["stand_perturb"]
        starts = pick_starts(recorded, policy, protocol, 1, preset.closed_loop.seed)
        if starts is None:
            raise StoreError(
                f"{folder}: in none of the recorded windows does the robot stand; train it again"
            )
        return cls(policy, starts.time(slice(None, policy.current + 1)), preset, command=command)

    @property
    def dt(self) -> float:
        """Seconds of a control step."""
        return 1.0 / self._policy.contract.control_hz

    @property
    def command(self) -> Command:
        """What is asked for now."""
        with self._lock:
            return self._command

    def change(self, **fields: Any) -> None:
        """Change some fields of the command."""
        with self._lock:
            self._command = dataclasses.replace(self._command, **fields)

    def push(self, x: float, y: float) -> None:
        """Add a velocity to the base, m/s in the world; pushes before the same step add up."""
        velocity = np.array([x, y, 0.0])
        with self._lock:
            self._push = velocity if self._push is None else self._push + velocity

    def reset(self) -> None:
        """Put the robot back to where it started; the command stays."""
        with self._lock:
            self._reset_asked = True

    def step(self) -> Snapshot:
        """Do one control step, or show the robot where it starts if it was reset."""
        started = time.perf_counter()
        with self._lock:
            command, push, reset = self._command, self._push, self._reset_asked
            self._push, self._reset_asked = None, False
        if reset:
            self._loop, self._driver, self._steps, push = self._placed(), self._new_driver(), 0, None
        elif not self._broken:
            added = None if push is None else push[None]
            self._loop.step(self._driver.steer(command, self._loop.history), added)
            self._steps += 1
        return self._snapshot(command, np.zeros(3) if push is None else push, time.perf_counter() - started)

    @property
    def _broken(self) -> bool:
        """Whether the simulation left the finite numbers; then only a reset goes on."""
        return not bool(torch.isfinite(self._loop.state.root_pos_w).all())

    def _new_driver(self) -> "Driver":
        return Driver(self._policy.contract.control_hz)

    def _placed(self) -> ClosedLoop:
        """Return the robot at its start."""
        config = self._preset.closed_loop
        return ClosedLoop(
            self._policy,
            self._start,
            self._preset.control,
            planning=config.planning,
            latency_ms=self._preset.randomisation.latency_ms,
            seed=config.seed,
            num_threads=1,
        )

    def _snapshot(self, command: Command, push: np.ndarray, seconds: float) -> Snapshot:
        state = self._loop.state
        yaw = rotations.yaw(state.root_quat_w)
        velocity = rotations.rotate_inverse(rotations.from_yaw(yaw), state.root_lin_vel_w)
        root_path, foot_paths = planned_paths(self._policy, self._loop.plan)
        here = state.root_pos_w[0].numpy()
        return Snapshot(
            seconds=self._steps * self.dt,
            qpos=torch.cat([state.root_pos_w, state.root_quat_w, state.joint_pos], -1)[0].numpy().copy(),
            velocity=velocity[0].numpy(),
            turn=float(state.root_ang_vel_w[0, 2]),
            root_path=np.concatenate([here[None], root_path]),
            foot_paths=foot_paths,
            push=push,
            command=command,
            fallen=not float(head_height(state)[0]) > FALLEN_HEAD_HEIGHT,
            step_ms=1e3 * seconds,
        )


def at_origin(frames: Frames, current: int) -> Frames:
    """Carry one robot's states to where, at the current step, it stands at x = y = 0 and looks along x."""
    frame = character_frame(frames, current)
    turn = rotations.from_yaw(-frame.yaw)[:, None]
    return dataclasses.replace(
        frames,
        root_pos_w=frame.to_local(frames.root_pos_w),
        root_quat_w=rotations.multiply(turn, frames.root_quat_w),
        root_lin_vel_w=rotations.rotate(turn, frames.root_lin_vel_w),
        root_ang_vel_w=rotations.rotate(turn, frames.root_ang_vel_w),
        body_pos_w=frame.to_local(frames.body_pos_w),
        body_lin_vel_w=rotations.rotate(turn[:, :, None], frames.body_lin_vel_w),
    )


def planned_paths(policy: DiffusionPolicy, plan: Plan | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the root (F, 3) and the feet (2, F, 3) of one robot's plan in the world; empty without one."""
    if plan is None:
        return np.zeros((0, 3)), np.zeros((0, 0, 3))
    features = plan.features[:, policy.current + 1 :].cpu()
    frame = dataclasses.replace(plan.frame, xy=plan.frame.xy.cpu(), yaw=plan.frame.yaw.cpu())
    root = frame.to_world(features[..., policy.representation.slices["root_pos"]])[0].numpy()
    if "body_pos" not in policy.representation.slices:
        return root, np.zeros((0, 0, 3))
    feet = [g1.BODY_NAMES.index(name) for name in g1_facts.FOOT_BODIES]
    bodies = frame.to_world(policy.representation.body_positions(features)[:, :, feet])[0]
    return root, bodies.transpose(0, 1).numpy()


class Driver:
    """Turns commands, which may change at any step, into the steering of one robot's plans."""

    def __init__(self, control_hz: float) -> None:
        """Begin without memory of how the robot followed."""
        self._control_hz = control_hz
        self._follow: CommandFollower | None = None

    def steer(self, command: Command, history: Frames) -> Steering:
        """Return what steers the next plan; the commanded velocity is turned to go round pillars.

        Args:
            command: what is asked for.
            history: past and current states (1, past + 1, ...).
        """
        config = command.guidance
        if self._follow is None or self._follow.config != config:
            self._follow = CommandFollower(config, self._control_hz)
        here = history.root_pos_w[0, -1, :2].numpy()
        seen = [p for p in command.pillars if np.linalg.norm(here - [p.x, p.y]) - p.radius < PILLAR_SIGHT]
        field = _field(seen) if seen else None
        if command.waypoint is None:
            velocity, yaw_rate = torch.tensor([[command.forward, command.left]]), torch.tensor([command.turn])
            velocity = velocity if field is None else _round_pillars(velocity, field, history)
        else:
            goal = torch.tensor([command.waypoint])
            pilot = WaypointPilot(goal, config, self._control_hz, pillars=field)
            velocity, yaw_rate = pilot.command(history)
        asked = self._follow(velocity, yaw_rate, history)
        avoid = Obstacle((field,), root_only=True) if field is not None and config.obstacle_weight else None
        return Steering(joystick_guidance(*asked, config, avoid))


def _field(pillars: Sequence[Pillar]) -> PillarField:
    """Return pillars as one field, each as thick as the thickest."""
    centre = torch.tensor([[[p.x, p.y] for p in pillars]])
    return PillarField(centre, max(p.radius for p in pillars))


def _round_pillars(velocity: torch.Tensor, field: PillarField, history: Frames) -> torch.Tensor:
    """Turn a velocity (1, 2), forward and left, to the nearest free way; it is as fast as before."""
    speed = velocity.norm()
    if speed == 0:
        return velocity
    centre = character_frame(history, history.num_frames - 1).to_local(field.centre)
    return way_round(velocity * (LOOK_AHEAD / speed), centre, field.radius) * (speed / LOOK_AHEAD)


class Pace:
    """Keeps steps at a rate, and says how fast simulated time passes beside the clock on the wall."""

    def __init__(self, dt: float) -> None:
        """Start now, with steps of ``dt`` seconds."""
        self._dt = dt
        self._due = time.perf_counter()
        self._ends: collections.deque[float] = collections.deque([self._due], round(PACE_SECONDS / dt) + 1)

    def wait(self) -> float:
        """Wait until the step that was just done is over; returns the real-time factor.

        A step that came late is not made up for: the robot then moves slowly, and never in a rush.
        """
        self._due = max(self._due + self._dt, time.perf_counter())
        time.sleep(max(0.0, self._due - time.perf_counter()))
        self._ends.append(time.perf_counter())
        return self._dt * (len(self._ends) - 1) / (self._ends[-1] - self._ends[0])


def run_in_real_time(
    session: Session, stop: threading.Event, show: Callable[[Snapshot, float], None]
) -> None:
    """Step until told to stop.

    Args:
        session: the robot.
        stop: ends the loop after the step that is being done.
        show: called after each step with what there is to see and the real-time factor; it must be quick.
    """
    pace = Pace(session.dt)
    factor = 1.0
    while not stop.is_set():
        show(session.step(), factor)
        factor = pace.wait()
