"""Robots in closed loop as rsl-rl's vectorised environment, whose actions are the settings of guidance."""

from collections import defaultdict
from typing import Any

import numpy as np
import torch
from rsl_rl.env import VecEnv
from tensordict import TensorDict

from beyondmimic_data.config import LearnedGuidanceConfig, Preset
from beyondmimic_data.control.closed_loop import FALLEN_HEAD_HEIGHT, ClosedLoop, Steering, head_height
from beyondmimic_data.control.learned_guidance.observation import GuidanceObserver, found_velocity
from beyondmimic_data.control.learned_guidance.policy import Bounds
from beyondmimic_data.control.pilot import CommandTrack, JoystickPilot
from beyondmimic_data.control.protocols import starts
from beyondmimic_data.control.protocols.perturb import pusher
from beyondmimic_data.control.protocols.random_joystick import draw_track
from beyondmimic_data.control.settings import SETTINGS, GuidanceSettings
from beyondmimic_data.diffusion.frames import Frames, frames_from_rows
from beyondmimic_data.diffusion.policy import DiffusionPolicy
from beyondmimic_data.diffusion.windows import RecordedWindows
from beyondmimic_data.errors import ConfigError

YAW_RATE_WEIGHT = 0.3
"""m/s that an error of 1 rad/s weighs."""
FALL_PENALTY = 10.0
"""m/s; more than what is lost by following nothing until the discount has forgotten it."""


def reward(errors: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """Return the reward (N,) of H control steps under the same settings.

    The mean over the steps that a robot was up at of minus the error of its velocity and, weighted, of its
    yaw rate; and once minus the penalty if it fell in them.

    Args:
        errors: (H, N, 3) of the velocity, m/s forward and left, and of the yaw rate, rad/s.
        up: (H, N) whether a robot is up at the end of each step.
    """
    cost = errors[..., :2].norm(dim=-1) + YAW_RATE_WEIGHT * errors[..., 2].abs()
    cost = torch.where(up, cost, torch.zeros_like(cost))
    return -cost.sum(0) / up.sum(0).clamp_min(1) - FALL_PENALTY * (~up.all(0)).to(cost)


class GuidanceEnv(VecEnv):
    """N robots that follow random joystick commands under pushes; an action holds for some control steps."""

    def __init__(
        self,
        policy: DiffusionPolicy,
        recorded: RecordedWindows,
        preset: Preset,
        config: LearnedGuidanceConfig,
        *,
        num_threads: int = 0,
    ) -> None:
        """Place the robots at recorded upright starts.

        Args:
            policy: frozen, in evaluation mode.
            recorded: windows that runs start in.
            preset: control, planning, latency and the fixed settings of guidance.
            config: how many robots, for how long, within which bounds.
            num_threads: physics threads; 0 takes every core.

        Raises:
            ConfigError: no recorded start is upright, or plans are made in a way that has all robots begin
                together.
        """
        self.policy, self.config = policy, config
        self.num_envs, self.num_actions, self.device = config.num_envs, len(SETTINGS), "cpu"
        self.cfg: dict[str, Any] = {}
        self.control_hz = preset.control.control_hz
        self.max_episode_length = max(1, round(config.episode_seconds * self.control_hz / config.hold))
        self.bounds = Bounds.around(preset.closed_loop.guidance, config.limits)
        self._rng = np.random.default_rng(config.seed)
        frames = frames_from_rows(recorded.rows, recorded.columns).time(slice(None, policy.current + 1))
        self._starts = frames.select(starts.upright(frames))
        if not len(self._starts):
            raise ConfigError("policy", "no upright recorded window", f"one of {len(frames)} to start from")
        self.loop = ClosedLoop(
            policy,
            self._draw_starts(self.num_envs),
            preset.control,
            planning=preset.closed_loop.planning,
            latency_ms=preset.randomisation.latency_ms,
            seed=config.seed,
            num_threads=num_threads,
        )
        self.loop.sampler.forget([])  # a sampler that cannot restart single robots says so before training
        self._pilot = JoystickPilot(self._draw_commands(), preset.closed_loop.guidance, self.control_hz)
        self._push = pusher(self.num_envs, self.control_hz, config.seed)
        self._observer = GuidanceObserver(self.num_envs, self.control_hz)
        self._step = 0
        self._sums = defaultdict[str, float](float)
        # Staggered first time-outs keep the batch from resetting in step.
        lengths = self._rng.integers(0, self.max_episode_length, self.num_envs)
        self.episode_length_buf = torch.from_numpy(lengths)
        self._look()

    def _draw_starts(self, n: int) -> Frames:
        return self._starts.select(torch.from_numpy(self._rng.integers(0, len(self._starts), n)))

    def _draw_commands(self) -> CommandTrack:
        steps = self.max_episode_length * self.config.hold
        return draw_track(self.num_envs, steps, self.control_hz, self._rng)

    def _look(self) -> None:
        """Take in the present states, and what is commanded next."""
        steps = len(self._pilot.track.velocity)
        if self._step and self._step % steps == 0:
            self._pilot.track = self._draw_commands()
        self._steering = self._pilot.steer(self._step % steps, self.loop.history)
        self._observer.look(self._command, self.loop.history)

    @property
    def _command(self) -> torch.Tensor:
        assert self._steering.command is not None
        return self._steering.command

    def get_observations(self) -> TensorDict:
        """Return the groups ``actor`` and ``critic``, which are alike."""
        observation = self._observer.observe(self.loop)
        return TensorDict({"actor": observation, "critic": observation}, batch_size=[self.num_envs])

    def step(self, actions: torch.Tensor) -> tuple[TensorDict, torch.Tensor, torch.Tensor, dict[str, Any]]:
        """Hold settings for some control steps, then restart what fell or timed out."""
        # rsl-rl collects in inference mode, in which no gradient of a cost can be taken.
        with torch.inference_mode(False):
            return self._decide(actions.clone())

    def _decide(self, actions: torch.Tensor) -> tuple[TensorDict, torch.Tensor, torch.Tensor, dict[str, Any]]:
        settings = self.bounds.settings(actions)
        self._observer.last = torch.tanh(actions)
        up = torch.ones(self.num_envs, dtype=torch.bool)
        errors, ups = [], []
        for index in range(self.config.hold):
            if index:
                self._look()
            assert self._steering.adjusted is not None
            self.loop.step(Steering(self._steering.adjusted(settings)), self._push(self._step))
            self._step += 1
            errors.append(found_velocity(self.loop.history) - self._command)
            up = up & (head_height(self.loop.state) > FALLEN_HEAD_HEIGHT)
            ups.append(up)
        rewards = reward(torch.stack(errors), torch.stack(ups))
        self.episode_length_buf += 1
        truncated = up & (self.episode_length_buf >= self.max_episode_length)
        done = ~up | truncated
        self._note(rewards, up, settings)
        self._restart(done.nonzero().flatten())
        self._look()
        return self.get_observations(), rewards, done.long(), {"time_outs": truncated}

    def _restart(self, ids: torch.Tensor) -> None:
        if len(ids):
            self.loop.reset(ids.numpy(), self._draw_starts(len(ids)))
            self._pilot.forget(ids)
            self._observer.forget(ids)
            self.episode_length_buf[ids] = 0

    def _note(self, rewards: torch.Tensor, up: torch.Tensor, settings: GuidanceSettings) -> None:
        self._sums["decisions"] += self.num_envs
        self._sums["reward"] += float(rewards.sum())
        self._sums["falls"] += float((~up).sum())
        for name in SETTINGS:
            self._sums[name] += float(getattr(settings, name).sum())

    def figures(self) -> dict[str, float]:
        """Return the figures of the decisions since the last call: reward, falls, means of settings."""
        sums, self._sums = self._sums, defaultdict[str, float](float)
        count = max(sums["decisions"], 1.0)
        hours = count * self.config.hold / self.control_hz / 3600
        return {
            "decisions": sums["decisions"],
            "mean_reward": sums["reward"] / count,
            "falls_per_hour": sums["falls"] / hours,
            **{name: sums[name] / count for name in SETTINGS},
        }
