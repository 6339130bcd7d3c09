"""The tracking world as rsl-rl's vectorised environment: automatic resets, time-outs, adaptive starts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from rsl_rl.env import VecEnv
from tensordict import TensorDict

from beyondmimic_data.config import Preset, RandomisationConfig
from beyondmimic_data.motions.clip import Clip
from beyondmimic_data.sim import randomisation as rand
from beyondmimic_data.sim.backend import Backend
from beyondmimic_data.tracking import task
from beyondmimic_data.tracking.sampling import StartSampler
from beyondmimic_data.tracking.world import TrackingWorld


class TrackingVecEnv(VecEnv):
    """N tracking environments for rsl-rl's PPO."""

    def __init__(
        self,
        backend: Backend,
        clips: Sequence[Clip],
        preset: Preset,
        seed: int,
        randomisation: RandomisationConfig | None = None,
        device: str = "cpu",
    ) -> None:
        """Randomise and reset every environment.

        Latency is drawn an episode, every other parameter once an environment, at start-up, as the released
        task does (METHOD 1.7).
        What rsl-rl reads lies on ``device``, where its networks are; the world itself stays on the CPU.
        """
        self.ranges = preset.randomisation if randomisation is None else randomisation
        self.world = TrackingWorld(backend, clips, preset.control, preset.task, self.ranges, seed)
        self.sampler = StartSampler(self.world.library, preset.sampling, self.world.rng)
        self.num_envs = backend.num_envs
        self.num_actions = len(backend.joint_names)
        self.device = device
        self.cfg: dict[str, Any] = {}
        self.max_episode_length = round(preset.task.episode_seconds * preset.control.control_hz)
        self.episode_length_buf = torch.zeros(self.num_envs, dtype=torch.long)
        self._control, self._drift_limit_m = preset.control, preset.training.drift_limit_m
        everyone = np.arange(self.num_envs)
        self.world.randomise(
            everyone, rand.draw(self.ranges, preset.control, self.world.rng.spawn(self.num_envs))
        )
        self._reset(everyone)
        # Staggered first time-outs keep the batch from resetting in step.
        self.episode_length_buf = torch.from_numpy(
            self.world.rng.integers(0, self.max_episode_length, self.num_envs)
        )

    def _reset(self, ids: np.ndarray) -> None:
        if len(ids):
            latency = rand.draw_latency(self.ranges.latency_ms, self._control, len(ids), self.world.rng)
            self.world.set_latency(ids, latency)
            self.world.reset(ids, self.sampler.draw(len(ids)))
            self.episode_length_buf[ids] = 0
            self.world.refresh()
        else:
            self.world.advance_reference()

    def _drifted(self, limit_m: float) -> torch.Tensor:
        """Return (N,) which robots are further from their reference than training allows."""
        a, tracked = self.world.bodies.anchor, self.world.tracked
        return (tracked.reference.body_pos_w - tracked.pos)[:, a, :2].norm(dim=-1) > limit_m

    def get_observations(self) -> TensorDict:
        """Return the groups ``actor`` and ``critic``."""
        actor, critic = self.world.observe()
        groups = {"actor": actor.to(self.device), "critic": critic.to(self.device)}
        return TensorDict(groups, batch_size=[self.num_envs])

    def step(self, actions: torch.Tensor) -> tuple[TensorDict, torch.Tensor, torch.Tensor, dict[str, Any]]:
        """Step, then reset what fell, timed out, or came to its clip's end; the last two are truncations."""
        frames = self.world.frame.numpy().copy()
        step = self.world.step(actions.cpu())
        self.episode_length_buf += 1
        fell = step.fell if self._drift_limit_m is None else step.fell | self._drifted(self._drift_limit_m)
        truncated = (step.clip_end | (self.episode_length_buf >= self.max_episode_length)) & ~fell
        done = fell | truncated
        if fell.any():
            self.sampler.record_failures(frames[fell.numpy()])
        self.sampler.advance()
        log = {f"reward/{name}": value.nanmean() for name, value in step.reward_terms.items()}
        log["body_pos_err_m"] = task.body_pos_error(self.world.tracked).nanmean()
        lengths = self.episode_length_buf[done].clone()
        self._reset(done.nonzero().flatten().numpy())
        truncated, reward, done = (x.to(self.device) for x in (truncated, step.reward, done.long()))
        extras = {"time_outs": truncated, "log": log, "fell": fell, "episode_lengths": lengths}
        return self.get_observations(), reward, done, extras
