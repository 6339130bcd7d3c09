"""Student rollouts (DAgger): the diffusion policy drives for bursts, and the teacher labels what it would do.

The teacher alone visits the states that it leads to. A plan that misses them slightly leads to others, of
which the data then say nothing. In bursts they do: rows hold the states that the student led to, with the
teacher's actions as labels, and after a burst the teacher shows the way back to the reference.

The student is steered as at test time, by a velocity: that of the reference around this stride, so that what
the teacher wants and where the student walks agree. Source: Ross, Gordon and Bagnell, AISTATS 2011.
"""

import dataclasses

import numpy as np
import torch

from beyondmimic_data import rotations
from beyondmimic_data.config import Preset
from beyondmimic_data.control.pilot import joystick_guidance
from beyondmimic_data.diffusion.frames import Frames, concatenate, frames_from_state
from beyondmimic_data.diffusion.plan_first import PlanFirstSampler
from beyondmimic_data.diffusion.policy import DiffusionPolicy
from beyondmimic_data.diffusion.sampler import Guidance, gaussian
from beyondmimic_data.errors import ConfigError
from beyondmimic_data.tracking.reference import MotionLibrary
from beyondmimic_data.tracking.world import TrackingWorld

STRIDE_SECONDS = 1.0
"""Span over which the reference's velocity is averaged: about a stride, so that no sway is left in it."""
GAIN = (0.9, 1.5)
"""Range of the factor on the velocity, drawn for each burst and robot, as feedback asks for more."""
RETURN_RATE = 1.0
"""1/s; m/s towards the reference for each metre that the robot is away from it."""
RETURN_SPEED = 0.3
"""m/s, bound of that."""
UNGUIDED_SHARE = 0.25
"""Share of bursts that are not steered."""


def stride_velocity(library: MotionLibrary) -> torch.Tensor:
    """Return (F, 3) the mean velocity of each frame's surroundings: m/s forward and left, rad/s.

    It is that of the root over ``STRIDE_SECONDS``, in the axes of the heading at the frame.
    """
    frames = torch.arange(library.num_frames)
    half = max(1, round(STRIDE_SECONDS * library.fps / 2))
    reference = library.at(frames)
    position, yaw = reference.body_pos_w[:, 0, :2], rotations.yaw(reference.body_quat_w[:, 0])
    first = torch.maximum(frames - half, library.starts[library.clip_of_frame])
    last = torch.minimum(frames + half, library.last_of_frame)
    seconds = (last - first).clamp_min(1) / library.fps
    # Headings are compared from frame to frame, so that a full turn is none too many.
    steps = torch.remainder(yaw.diff(prepend=yaw[:1]) + torch.pi, 2 * torch.pi) - torch.pi
    turned = steps.double().cumsum(0)
    moved = torch.nn.functional.pad(position[last] - position[first], (0, 1))
    local = rotations.rotate_inverse(rotations.from_yaw(yaw), moved)[:, :2]
    turn = (turned[last] - turned[first]).float()
    return torch.cat([local, turn[:, None]], -1) / seconds[:, None]


@dataclasses.dataclass
class _Burst:
    """Robots that the student drives for a while."""

    ids: torch.Tensor
    """(n,) which ones."""
    driving: torch.Tensor
    """(n,) which of them still are: a robot whose episode ended is the teacher's."""
    ticks_left: int
    gain: torch.Tensor
    """(n, 1) factor on the velocity."""
    guided: bool


class Student:
    """Takes over the robots of one unit from time to time."""

    def __init__(self, policy: DiffusionPolicy, preset: Preset, world: TrackingWorld, seed: int) -> None:
        """Prepare for the robots of a world; what it does follows from the seed.

        Args:
            policy: in evaluation mode.
            preset: how plans are made and guided, and how long bursts are.
            world: what it drives in.
            seed: of bursts and of denoising.

        Raises:
            ConfigError: its rate, joints or bodies are not the world's.
        """
        contract, control = policy.contract, preset.control
        if contract.control_hz != control.control_hz:
            raise ConfigError(
                "rollouts.student", f"a policy of {contract.control_hz:g} Hz", f"{control.control_hz:g} Hz"
            )
        contract.require_names(world.backend.joint_names, world.backend.body_names, "simulation")
        self.policy, self.preset, self.world = policy, preset, world
        self._rng = np.random.default_rng(seed)
        noise = gaussian(torch.Generator(device=policy.device).manual_seed(seed), policy.device)
        planning = dataclasses.replace(preset.closed_loop.planning, sampler="plan_first", execute=1)
        self._sampler = PlanFirstSampler(policy, noise, planning)
        self._velocity = stride_velocity(world.library)
        self._history: Frames | None = None
        self._age = torch.zeros(world.num_envs, dtype=torch.long)
        self._burst: _Burst | None = None
        self._rest = self._ticks(preset.rollouts.teacher_seconds)

    def _ticks(self, seconds: tuple[float, float]) -> int:
        return max(1, round(self._rng.uniform(*seconds) * self.preset.control.control_hz))

    def forget(self, ids: np.ndarray) -> None:
        """Leave robots (n,) whose episode begins or is over to the teacher until the next burst."""
        index = torch.from_numpy(np.asarray(ids))
        self._age[index] = 0
        if self._burst is not None:
            self._burst.driving &= ~torch.isin(self._burst.ids, index)

    def take_over(self, action: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what to execute in the present state, and by whom it is.

        Call it once a control step, with the state read.

        Args:
            action: (N, 29) the teacher's, with its exploration noise.

        Returns:
            Actions (N, 29), and (N,) bool where they are the student's.
        """
        now = frames_from_state(self.world.state)
        past = self.policy.current
        if self._history is None:
            self._history = concatenate([now] * (past + 1), dim=1)
        self._history = self._history.push(now)
        self._age += 1
        driven = torch.zeros(len(action), dtype=torch.bool)
        if self._burst is None:
            self._rest -= 1
            if self._rest <= 0:
                self._begin()
        if self._burst is None or not self._burst.driving.any():
            self._end()
            return action, driven
        burst = self._burst
        plan = self._sampler.plan(
            self._history.select(burst.ids).to(self.policy.device), self._guidance(burst)
        )
        ids = burst.ids[burst.driving]
        action, driven[ids] = action.clone(), True
        action[ids] = plan.actions[burst.driving.to(plan.actions.device), past].to(action)
        burst.ticks_left -= 1
        if burst.ticks_left <= 0:
            self._end()
        return action, driven

    def _begin(self) -> None:
        """Take over all robots that have a whole history."""
        ids = torch.nonzero(self._age > self.policy.current)[:, 0]
        ticks = self._ticks(self.preset.rollouts.student_seconds)
        guided = self._rng.random() >= UNGUIDED_SHARE
        gain = torch.from_numpy(self._rng.uniform(*GAIN, (len(ids), 1))).float()
        if len(ids):
            self._burst = _Burst(ids, torch.ones(len(ids), dtype=torch.bool), ticks, gain, guided)

    def _end(self) -> None:
        """Give all robots back to the teacher for a while."""
        if self._burst is not None or self._rest <= 0:
            self._rest = self._ticks(self.preset.rollouts.teacher_seconds)
        self._burst = None
        self._sampler.reset()

    def _guidance(self, burst: _Burst) -> Guidance | None:
        """Return what steers the robots of a burst along their references."""
        if not burst.guided:
            return None
        world, ids = self.world, burst.ids
        state = world.state
        away = world.reference.body_pos_w[ids, 0] - state.root_pos_w[ids]
        heading = rotations.from_yaw(rotations.yaw(state.root_quat_w[ids]))
        back = rotations.rotate_inverse(heading, away)[:, :2]
        wanted = self._velocity[world.frame[ids]]
        velocity = burst.gain * wanted[:, :2] + (RETURN_RATE * back).clamp(-RETURN_SPEED, RETURN_SPEED)
        return joystick_guidance(velocity, wanted[:, 2], self.preset.closed_loop.guidance)
