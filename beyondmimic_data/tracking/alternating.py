"""Two halves of a training's environments in turn: physics of one runs while the other is judged and acts.

A control step is physics on every core, then tensors on one, for which the other cores would have to wait.
"""

import dataclasses
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from rsl_rl.algorithms import PPO
from rsl_rl.storage import RolloutStorage
from tensordict import TensorDict

from beyondmimic_data.config import Preset
from beyondmimic_data.motions.clip import Clip
from beyondmimic_data.sim.mujoco_backend import MujocoBackend
from beyondmimic_data.tracking.sampling import StartSampler
from beyondmimic_data.tracking.vec_env import TrackingVecEnv

STORED = ("actions", "values", "actions_log_prob", "rewards", "dones", "returns")
"""What rsl-rl's storage holds of each step beside observations and distributions; (T, N, ...)."""


@dataclasses.dataclass
class Collected:
    """Figures of one batch."""

    reward: float = 0.0
    """Mean of a step."""
    falls: int = 0
    episode_steps: list[torch.Tensor] = dataclasses.field(default_factory=list)
    """Lengths of the episodes that ended, control steps."""
    body_pos_err_m: float = 0.0


@dataclasses.dataclass
class _Half:
    """Some of the environments, and what PPO keeps of them."""

    env: TrackingVecEnv
    storage: RolloutStorage
    observations: TensorDict
    transition: RolloutStorage.Transition = dataclasses.field(default_factory=RolloutStorage.Transition)
    physics: Future[None] | None = None


class AlternatingEnvs:
    """The environments of one training, stepped in two halves."""

    def __init__(self, clips: Sequence[Clip], preset: Preset, num_threads: int) -> None:
        """Build both halves; each has a seed of its own, and both draw their starts from one sampler."""
        training, self.steps = preset.training, preset.ppo.steps_per_env
        ranges = preset.randomisation if training.push else preset.randomisation.without_pushes()
        first = training.num_envs - training.num_envs // 2
        self.halves: list[_Half] = []
        self.backends: list[MujocoBackend] = []
        """The halves' simulations."""
        for size in filter(None, (first, training.num_envs - first)):
            seed = np.random.SeedSequence([training.seed, len(self.halves)]).generate_state(1)[0]
            backend = MujocoBackend(size, preset.control, num_threads=num_threads)
            sampler = self.sampler if self.halves else None
            env = TrackingVecEnv(backend, clips, preset, int(seed), ranges, sampler)
            observations = env.get_observations()
            storage = RolloutStorage("rl", size, self.steps, observations, [env.num_actions])
            self.backends.append(backend)
            self.halves.append(_Half(env, storage, observations))
        self._physics = ThreadPoolExecutor(1, "physics")

    @property
    def sampler(self) -> StartSampler:
        """Where episodes of both halves start."""
        return self.halves[0].env.sampler

    @property
    def num_envs(self) -> int:
        """Environments of both halves."""
        return sum(half.env.num_envs for half in self.halves)

    @property
    def observations(self) -> TensorDict:
        """Current observations of all environments."""
        parts = [half.observations for half in self.halves]
        groups = {name: torch.cat([part[name] for part in parts]) for name in sorted(parts[0].keys())}
        return TensorDict(groups, batch_size=[self.num_envs])

    def storage(self) -> RolloutStorage:
        """Return an empty storage for a batch of both halves."""
        env = self.halves[0].env
        return RolloutStorage("rl", self.num_envs, self.steps, self.observations, [env.num_actions])

    def collect(self, algorithm: PPO) -> Collected:
        """Fill the algorithm's storage, which ``storage`` made, with one batch and its returns."""
        figures, whole = Collected(), algorithm.storage
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # a second one would wait for a core that physics has
        for tick in range(self.steps + 1):
            for half in self.halves:
                algorithm.storage, algorithm.transition = half.storage, half.transition
                if half.physics is not None:
                    self._finish(half, algorithm, figures)
                if tick < self.steps:
                    actions = algorithm.act(half.observations)
                    half.physics = self._physics.submit(half.env.backend.step, half.env.begin(actions))
        for half in self.halves:
            algorithm.storage = half.storage
            algorithm.compute_returns(half.observations)
            half.storage.clear()
        torch.set_num_threads(threads)
        algorithm.storage = whole
        self._join(whole, normalise=not algorithm.normalize_advantage_per_mini_batch)
        figures.reward /= self.steps * self.num_envs
        return figures

    def _finish(self, half: _Half, algorithm: PPO, figures: Collected) -> None:
        """Wait for a half's physics and keep what it led to."""
        assert half.physics is not None
        half.physics.result()
        half.physics = None
        half.observations, rewards, dones, extras = half.env.finish()
        algorithm.process_env_step(half.observations, rewards, dones, extras)
        figures.reward += float(rewards.sum())
        figures.falls += int(extras["fell"].sum())
        figures.episode_steps.append(extras["episode_lengths"])
        figures.body_pos_err_m = float(extras["log"]["body_pos_err_m"])

    def _join(self, whole: RolloutStorage, *, normalise: bool) -> None:
        """Put the halves' batches side by side; advantages are normalised over both."""
        parts = [half.storage for half in self.halves]
        for name in sorted(whole.observations.keys()):
            torch.cat([part.observations[name] for part in parts], dim=1, out=whole.observations[name])
        for name in STORED:
            torch.cat([getattr(part, name) for part in parts], dim=1, out=getattr(whole, name))
        distributions = zip(*(part.distribution_params or () for part in parts))
        whole.distribution_params = tuple(torch.cat(list(pair), dim=1) for pair in distributions)
        advantages = whole.returns - whole.values
        if normalise:
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        whole.advantages = advantages
