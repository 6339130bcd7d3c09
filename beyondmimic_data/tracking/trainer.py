"""PPO on one skill: rsl-rl's algorithm on the MuJoCo batch, in one process or several ranks."""

import contextlib
import dataclasses
import io
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rsl_rl.algorithms import PPO

from beyondmimic_data import process
from beyondmimic_data.config import PpoConfig, Preset, TrainingConfig
from beyondmimic_data.errors import BeyondMimicError, ConfigError, StoreError, one_line
from beyondmimic_data.motions.clip import Clip
from beyondmimic_data.rank import ALONE, Rank
from beyondmimic_data.sim.mujoco_backend import MujocoBackend
from beyondmimic_data.tracking.mirror import TaskMirror
from beyondmimic_data.tracking.policy import (
    TrackingPolicy,
    load_optimizer,
    load_weights,
    save_optimizer,
    save_weights,
    split_state,
)
from beyondmimic_data.tracking.ranks import together
from beyondmimic_data.tracking.vec_env import TrackingVecEnv

ENVS_PER_RANK = 128
"""Fewest environments worth a process of their own."""

SEEDS_APART = 1000
"""Between the seeds of two ranks."""

TORCH_THREADS = 1
"""Of a rank: on minibatches so small, waking a second one costs more than it gives."""

UNEXPECTED = 2.0
"""Deviations of its normaliser beyond which, in the mean, a reference joint moves as it never did."""


class TrainingDivergedError(BeyondMimicError):
    """The update produced numbers that are not finite."""


def ppo_settings(config: PpoConfig, mirror: TaskMirror | None = None, rank: Rank = ALONE) -> dict[str, Any]:
    """Return what rsl-rl's ``PPO.construct_algorithm`` reads, anew: it changes what it is given."""
    ranks = {"global_rank": rank.number, "local_rank": rank.number, "world_size": rank.count}
    symmetry = None
    if config.mirror and mirror is not None:
        symmetry = {"use_data_augmentation": True, "data_augmentation_func": mirror.augment}
    network = {
        "class_name": "MLPModel",
        "hidden_dims": list(config.hidden_dims),
        "activation": "elu",
        "obs_normalization": True,
    }
    distribution = {"class_name": "GaussianDistribution", "init_std": config.init_std, "std_type": "scalar"}
    return {
        "num_steps_per_env": config.steps_per_env,
        "obs_groups": {"actor": ["actor"], "critic": ["critic"]},
        "multi_gpu": ranks if rank.count > 1 else None,
        "actor": {**network, "distribution_cfg": distribution},
        "critic": dict(network),
        "algorithm": {
            "class_name": "PPO",
            "num_learning_epochs": config.learning_epochs,
            "num_mini_batches": config.mini_batches,
            "clip_param": config.clip_param,
            "gamma": config.gamma,
            "lam": config.lam,
            "value_loss_coef": config.value_loss_coef,
            "entropy_coef": config.entropy_coef,
            "learning_rate": config.learning_rate,
            "max_grad_norm": config.max_grad_norm,
            "use_clipped_value_loss": config.clip_value_loss,
            "schedule": config.schedule,
            "desired_kl": config.desired_kl,
            "symmetry_cfg": symmetry,
        },
    }


def rank_count(preset: Preset, threads: int) -> int:
    """Return how many processes train a policy on so many cores: one a core, or one alone with a GPU."""
    if preset.training.gpus_per_skill:
        return 1
    return max(1, min(threads, preset.training.num_envs // ENVS_PER_RANK))


def learner_device(training: TrainingConfig) -> str:
    """Return where PPO's networks learn, on a GPU if the training has a share of one; physics has the CPU.

    Raises:
        ConfigError: it has, and torch finds no GPU.
    """
    if not training.gpus_per_skill:
        return "cpu"
    if not torch.cuda.is_available():
        raise ConfigError(
            "training.gpus_per_skill",
            training.gpus_per_skill,
            f"0 on this machine: torch {torch.__version__} finds no CUDA GPU",
        )
    return "cuda"


def _no_mirror_loss(actor: object, batch: object, rows: int) -> torch.Tensor:
    """Stand in for a pass through the actor that rsl-rl makes to log a loss that no gradient uses."""
    del actor, batch, rows
    return torch.zeros(())


@dataclasses.dataclass
class Counters:
    """How far a training is."""

    iteration: int = 0
    steps: int = 0
    seconds: float = 0.0
    """Time in iterations; checks and start-up are the session's."""
    falls: int = 0
    physics_failures: int = 0
    critic_only: int = 0
    """Iterations left in which only the critic learns."""
    refining: bool = False
    """Whether ``refine_steps`` have been reached."""


class Trainer:
    """PPO on one skill's clips; ``iterate`` collects one batch and updates once."""

    def __init__(self, clips: Sequence[Clip], preset: Preset, num_threads: int, rank: Rank = ALONE) -> None:
        """Build environment and algorithm; seeds torch.

        Args:
            clips: the skill's clips.
            preset: every number of the whole training.
            num_threads: cores of the whole training.
            rank: this process's place in it; it has its share of environments and cores.

        Raises:
            ConfigError: the preset gives training a share of a GPU, and there is none.
        """
        self.preset, self.clips, self.num_threads, self.rank = preset, clips, num_threads, rank
        training = preset.training
        self._seed = training.seed + SEEDS_APART * rank.number
        torch.manual_seed(self._seed)
        envs, threads = (rank.share(whole) for whole in (training.num_envs, num_threads))
        self.backend = MujocoBackend(envs, preset.control, num_threads=max(1, threads))
        ranges = preset.randomisation if training.push else preset.randomisation.without_pushes()
        self.device = learner_device(training)
        self.env = TrackingVecEnv(self.backend, clips, preset, self._seed, ranges, self.device)
        self.observations = self.env.get_observations()
        self.mirror = TaskMirror(
            self.backend.joint_names, state_estimation=preset.task.state_estimation, device=self.device
        )
        with contextlib.redirect_stdout(io.StringIO()):  # rsl-rl prints its networks
            self.algorithm = PPO.construct_algorithm(
                self.observations, self.env, ppo_settings(preset.ppo, self.mirror, rank), self.device
            )
        if self.algorithm.symmetry is not None:
            self.algorithm.symmetry.compute_loss = _no_mirror_loss
        self.algorithm.train_mode()
        self.counters = Counters()
        self._failures_seen = 0
        self._met = rank.count == 1

    def iterate(self) -> dict[str, float]:
        """Collect ``steps_per_env`` steps, update, and return the iteration's figures, those of all ranks.

        Raises:
            TrainingDivergedError: a loss is not finite.
        """
        if self.rank.leads:
            self.rank.agree(True)
        if not self._met:
            self._meet()
        self._refine_when_due()
        started = time.perf_counter()
        falls, lengths = 0, []
        sums = defaultdict[str, torch.Tensor](lambda: torch.zeros(()))
        with torch.inference_mode():
            for _ in range(self.preset.ppo.steps_per_env):
                actions = self.algorithm.act(self.observations)
                self.observations, rewards, dones, extras = self.env.step(actions)
                self.algorithm.process_env_step(self.observations, rewards, dones, extras)
                falls += int(extras["fell"].sum())
                lengths.append(extras["episode_lengths"])
                for name, value in (extras["log"] | {"reward_per_step": rewards.mean()}).items():
                    sums[name] = sums[name] + value.cpu()
            self.algorithm.compute_returns(self.observations)
        collected = time.perf_counter()
        losses = self._update()
        self.env.sampler.merge(lambda failures: self.rank.total(torch.from_numpy(failures)).numpy())
        ended = torch.cat(lengths).double()
        shown = {name: float(value) / self.preset.ppo.steps_per_env for name, value in sums.items()}
        means, totals = self._of_all(
            [*shown.values(), *losses.values()],
            [falls, self._new_failures(), self.env.num_envs, len(ended), float(ended.sum())],
        )
        shown, losses = dict(zip(shown, means)), dict(zip(losses, means[len(shown) :]))
        if not all(np.isfinite(value) for value in losses.values()):
            raise TrainingDivergedError(
                f"PPO losses are not finite after {self.counters.steps} steps: {losses}; "
                "lower ppo.learning_rate or ppo.init_std"
            )
        finished = time.perf_counter()
        falls, failures, envs, episodes = (int(value) for value in totals[:4])
        batch = envs * self.preset.ppo.steps_per_env
        counters = self.counters
        counters.iteration += 1
        counters.critic_only = max(counters.critic_only - 1, 0)
        counters.steps += batch
        counters.seconds += finished - started
        counters.falls += falls
        counters.physics_failures += failures
        return {
            "iteration": counters.iteration,
            "steps": counters.steps,
            **shown,
            "falls_per_1000_steps": 1e3 * falls / batch,
            "physics_failures": counters.physics_failures,
            "mean_episode_seconds": totals[4] / episodes * self.env.world.dt if episodes else float("nan"),
            "action_std": float(self.algorithm.get_policy().distribution.std_param.detach().mean()),
            "learning_rate": self.algorithm.learning_rate,
            "steps_per_s": batch / (finished - started),
            "update_share": (finished - collected) / (finished - started),
            **{f"loss/{name}": value for name, value in losses.items()},
        }

    def _new_failures(self) -> int:
        """Return how many simulations became unstable since the last iteration."""
        seen, self._failures_seen = self._failures_seen, self.backend.failures
        return self._failures_seen - seen

    def _meet(self) -> None:
        """Begin where the first rank stands, but draw other numbers."""
        state = self.rank.receive(self.state() if self.rank.leads else None)
        if not self.rank.leads:
            self.load_state(state)
            torch.manual_seed(self._seed + self.counters.steps)
        self._met = True

    def _of_all(self, means: list[float], sums: list[float]) -> tuple[list[float], list[float]]:
        """Return means and sums over all ranks."""
        totals = self.rank.total(torch.tensor([*means, *sums], dtype=torch.float64)).tolist()
        return [value / self.rank.count for value in totals[: len(means)]], totals[len(means) :]

    def _update(self) -> dict[str, float]:
        """Update both networks, or the critic alone; an actor held still must not raise the learning rate."""
        algorithm, held = self.algorithm, self.counters.critic_only > 0
        algorithm._raw_actor.requires_grad_(not held)
        learning_rate = algorithm.learning_rate
        losses = algorithm.update()
        if held:
            self._set_learning_rate(learning_rate)
        return losses

    def _set_learning_rate(self, value: float) -> None:
        """Set what the schedule goes on from, in the optimiser too: checkpoints keep that one."""
        self.algorithm.learning_rate = value
        for group in self.algorithm.optimizer.param_groups:
            group["lr"] = value

    def policy(self) -> TrackingPolicy:
        """Return a copy of the current actor for evaluation."""
        return TrackingPolicy.from_actor_state(
            {k: v.cpu().clone() for k, v in self.algorithm.save()["actor_state_dict"].items()}
        )

    def warm_start(self, folder: Path, *, foreign: bool = False) -> None:
        """Take actor, critic and both normalisers from another policy of the same shape.

        Args:
            folder: the policy's folder.
            foreign: it is another skill's, whose Adam moments are of no use here.
        """
        tensors = load_weights(folder)
        actor, critic = split_state(tensors, "actor"), split_state(tensors, "critic")
        moments = {} if foreign else load_optimizer(folder)
        try:
            self.algorithm._raw_actor.load_state_dict(actor)
            self.algorithm._raw_critic.load_state_dict(critic)
            if moments:
                optimizer = self.algorithm.optimizer
                optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
        except (RuntimeError, ValueError, KeyError) as error:
            found = f"weights of another network ({one_line(error)})"
            raise StoreError(f"{folder}: {found}; start from another policy") from error
        config = self.preset.ppo
        self._expect_reference()
        if config.schedule == "adaptive":
            self._set_learning_rate(config.warm_learning_rate)
        self._look_ahead()

    def _look_ahead(self) -> None:
        """Take the discount that suits a policy which knows something; the critic learns it first.

        A critic that judged other clips, or with another discount, unlearns an actor that follows it at once.
        """
        config = self.preset.ppo
        self.counters.critic_only = config.critic_only_iterations
        self.algorithm.gamma, self.algorithm.lam = config.warm_gamma, config.warm_lam

    def _refine_when_due(self) -> None:
        """Go on in smaller steps, looking further ahead, once ``refine_steps`` are done."""
        config = self.preset.ppo
        if config.refine_steps is None or self.counters.steps < config.refine_steps:
            return
        if not self.counters.refining:
            self.counters.refining = True
            self._look_ahead()
        self.algorithm.desired_kl, self.algorithm.entropy_coef = config.refine_kl, 0.0

    def _expect_reference(self) -> None:
        """Let both normalisers expect the reference joints of these clips; observations begin with them.

        A joint that the earlier clips held still has next to no deviation: once it moves, it would reach the
        networks as tens of deviations and drown the rest.
        """
        width = 2 * self.env.num_actions
        for model in (self.algorithm._raw_actor, self.algorithm._raw_critic):
            normaliser = model.obs_normalizer
            moments = self.env.world.library.joint_moments(normaliser._mean[0, :width].cpu())
            moments, variance = moments.to(self.device), normaliser._var[0, :width]
            expected = UNEXPECTED * (normaliser._std[0, :width] + normaliser.eps)
            variance = torch.where(moments > expected**2, moments, variance)
            normaliser._var[0, :width] = variance
            normaliser._std = normaliser._var.sqrt()

    def explore(self) -> None:
        """Give actions the deviation ``warm_std``; a converged policy explores too little."""
        self.algorithm.get_policy().distribution.std_param.data.fill_(self.preset.ppo.warm_std)

    def save(self, folder: Path) -> None:
        """Write the policy: actor and critic, and the optimiser's state, as safetensors."""
        state = self.algorithm.save()
        save_weights(folder, state["actor_state_dict"], state["critic_state_dict"])
        save_optimizer(folder, state["optimizer_state_dict"]["state"])

    def state(self) -> dict[str, Any]:
        """Return what a resumed training needs; simulator states are not part of it."""
        return {
            "algorithm": self.algorithm.save(),
            "discount": [self.algorithm.gamma, self.algorithm.lam],
            "counters": dataclasses.asdict(self.counters),
            "sampler": self.env.sampler.state(),
            "torch_rng": torch.get_rng_state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from ``state``; episodes restart, so the result is not bit-equal to an undisturbed run."""
        self.algorithm.load(state["algorithm"], None, strict=True)
        self.algorithm.gamma, self.algorithm.lam = state["discount"]
        self.counters = Counters(**state["counters"])
        self.env.sampler.load_state(state["sampler"])
        torch.set_rng_state(state["torch_rng"])


def lead(
    clips: Sequence[Clip],
    preset: Preset,
    threads: int,
    do: Callable[[Trainer], object] = Trainer.iterate,
) -> contextlib.AbstractContextManager[Rank]:
    """Start the other ranks of a training on so many cores; yields the rank of this process's trainer.

    Args:
        clips: the skill's clips.
        preset: every number of the whole training.
        threads: its cores.
        do: what the others do whenever the first one iterates; it has to iterate too.
    """
    process.prepare(TORCH_THREADS)
    return together(rank_count(preset, threads), follow, clips, preset, threads, do)


def follow(
    rank: Rank, clips: Sequence[Clip], preset: Preset, threads: int, do: Callable[[Trainer], object]
) -> None:
    """Be a rank that does as the first one does."""
    process.prepare(TORCH_THREADS)
    trainer = Trainer(clips, preset, threads, rank)
    while rank.agree():
        do(trainer)
