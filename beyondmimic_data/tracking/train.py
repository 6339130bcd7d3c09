"""Training one skill: rsl-rl's PPO on the MuJoCo batch, with checks, checkpoints and a wall-clock budget."""

import contextlib
import dataclasses
import io
import logging
import os
import pickle
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rsl_rl.algorithms import PPO

from beyondmimic_data import process, versions
from beyondmimic_data.config import PpoConfig, Preset, TrainingConfig
from beyondmimic_data.errors import BeyondMimicError, ConfigError, StoreError
from beyondmimic_data.files import atomic_path, write_json
from beyondmimic_data.motions.clip import Clip
from beyondmimic_data.sim.mujoco_backend import MujocoBackend
from beyondmimic_data.tracking import evaluate
from beyondmimic_data.tracking.mirror import TaskMirror
from beyondmimic_data.tracking.policy import (
    TrackingPolicy,
    load_optimizer,
    load_weights,
    save_optimizer,
    save_weights,
    split_state,
)
from beyondmimic_data.tracking.policy_files import TRAINING
from beyondmimic_data.tracking.ranks import ALONE, Rank, RankLostError, together
from beyondmimic_data.tracking.training_log import TrainingLog
from beyondmimic_data.tracking.vec_env import TrackingVecEnv

log = logging.getLogger(__name__)

CHECKPOINT = Path("scratch") / "checkpoint.pt"
Progress = Callable[[dict[str, float]], None]

ENVS_PER_RANK = 128
"""Fewest environments worth a process of their own."""

SEEDS_APART = 1000
"""Between the seeds of two ranks."""

RESTARTS = 2
"""How often a training goes on from its checkpoint after it lost a rank."""

ROWS_PER_THREAD = 1536
"""Rows of a minibatch that a torch thread should have: of 768, waking a second one cost more than it gave."""

UNEXPECTED = 2.0
"""Deviations of its normaliser beyond which, in the mean, a reference joint moves as it never did."""


class TrainingDivergedError(BeyondMimicError):
    """The update produced numbers that are not finite."""


def ppo_settings(config: PpoConfig, mirror: TaskMirror, rank: Rank = ALONE) -> dict[str, Any]:
    """Return what rsl-rl's ``PPO.construct_algorithm`` reads, anew: it changes what it is given."""
    ranks = {"global_rank": rank.number, "local_rank": rank.number, "world_size": rank.count}
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
            "symmetry_cfg": symmetry if config.mirror else None,
        },
    }


def rank_count(preset: Preset, threads: int) -> int:
    """Return how many processes train a policy on so many cores: one a core, or one alone with a GPU."""
    if preset.training.gpus_per_skill:
        return 1
    return max(1, min(threads, preset.training.num_envs // ENVS_PER_RANK))


def torch_threads(preset: Preset, threads: int) -> int:
    """Return how many of so many cores torch should use on a rank's minibatches."""
    ranks = rank_count(preset, threads)
    return max(1, min(threads // ranks, minibatch_rows(preset, ranks) // ROWS_PER_THREAD))


def minibatch_rows(preset: Preset, ranks: int = 1) -> int:
    """Return how many rows a rank's networks take at once in an update, mirror images included."""
    rows = preset.training.num_envs // ranks * preset.ppo.steps_per_env // preset.ppo.mini_batches
    return 2 * rows if preset.ppo.mirror else rows


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
        seed = training.seed + SEEDS_APART * rank.number
        torch.manual_seed(seed)
        self.backend = MujocoBackend(
            training.num_envs // rank.count, preset.control, num_threads=max(1, num_threads // rank.count)
        )
        ranges = preset.randomisation if training.push else preset.randomisation.without_pushes()
        self.device = learner_device(training)
        self.env = TrackingVecEnv(self.backend, clips, preset, seed, ranges, self.device)
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
        reward, falls, lengths, error = 0.0, 0, [], 0.0
        with torch.inference_mode():
            for _ in range(self.preset.ppo.steps_per_env):
                actions = self.algorithm.act(self.observations)
                self.observations, rewards, dones, extras = self.env.step(actions)
                self.algorithm.process_env_step(self.observations, rewards, dones, extras)
                reward += float(rewards.mean())
                falls += int(extras["fell"].sum())
                lengths.append(extras["episode_lengths"])
                error = float(extras["log"]["body_pos_err_m"])
            self.algorithm.compute_returns(self.observations)
        collected = time.perf_counter()
        losses = self._update()
        self.env.sampler.merge(lambda failures: self.rank.total(torch.from_numpy(failures)).numpy())
        ended = torch.cat(lengths).double()
        means, sums = self._of_all(
            [reward / self.preset.ppo.steps_per_env, error, *losses.values()],
            [falls, self.backend.failures, self.env.num_envs, len(ended), float(ended.sum())],
        )
        losses = dict(zip(losses, means[2:]))
        if not all(np.isfinite(value) for value in losses.values()):
            raise TrainingDivergedError(
                f"PPO losses are not finite after {self.counters.steps} steps: {losses}; "
                "lower ppo.learning_rate or ppo.init_std"
            )
        finished = time.perf_counter()
        falls, failures, envs, episodes = (int(value) for value in sums[:4])
        batch = envs * self.preset.ppo.steps_per_env
        counters = self.counters
        counters.iteration += 1
        counters.critic_only = max(counters.critic_only - 1, 0)
        counters.steps += batch
        counters.seconds += finished - started
        counters.falls += falls
        counters.physics_failures = failures
        return {
            "iteration": counters.iteration,
            "steps": counters.steps,
            "minutes": counters.seconds / 60,
            "reward_per_step": means[0],
            "falls_per_1000_steps": 1e3 * falls / batch,
            "mean_episode_seconds": sums[4] / episodes * self.env.world.dt if episodes else float("nan"),
            "body_pos_err_m": means[1],
            "action_std": float(self.algorithm.get_policy().distribution.std_param.detach().mean()),
            "learning_rate": self.algorithm.learning_rate,
            "steps_per_s": batch / (finished - started),
            "update_share": (finished - collected) / (finished - started),
            **{f"loss/{name}": value for name, value in losses.items()},
        }

    def _meet(self) -> None:
        """Begin where the first rank stands, but draw other numbers."""
        state = self.rank.receive(self.state() if self.rank.leads else None)
        if not self.rank.leads:
            self.load_state(state)
            torch.manual_seed(
                self.preset.training.seed + SEEDS_APART * self.rank.number + self.counters.steps
            )
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
        self.algorithm._raw_actor.load_state_dict(actor)
        self.algorithm._raw_critic.load_state_dict(critic)
        moments = {} if foreign else load_optimizer(folder)
        if moments:
            optimizer = self.algorithm.optimizer
            optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
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


def train_policy(
    clips: Sequence[Clip],
    preset: Preset,
    folder: Path,
    *,
    warm_start: Path | None = None,
    foreign: bool = False,
    num_threads: int = 0,
    progress: Progress | None = None,
    logs: Path | None = None,
) -> dict[str, Any]:
    """Train a tracking policy until it passes its check, or its budget is spent.

    The best policy over the checks is written to ``folder``. A checkpoint under ``folder/scratch`` lets a
    killed training go on; it is removed at the end.

    Args:
        clips: the skill's clips.
        preset: every number.
        folder: where the policy goes.
        warm_start: folder of a policy to start from.
        foreign: that policy is of another skill. It is dropped if it falls as soon as an untrained one.
        num_threads: physics threads, and at most so many of torch's; 0 takes every core.
        progress: called with each iteration's figures.
        logs: folder of TensorBoard curves.

    Returns:
        The training record: curve, checks, counters, how it ended.
    """
    threads = num_threads or (os.cpu_count() or 1)
    losses = 0
    while True:
        try:
            return _train(clips, preset, folder, warm_start, foreign, threads, progress, logs)
        except RankLostError as error:
            losses += 1
            if losses > RESTARTS:
                raise
            log.warning("%s; training goes on from its last checkpoint", error)


def _train(
    clips: Sequence[Clip],
    preset: Preset,
    folder: Path,
    warm_start: Path | None,
    foreign: bool,
    threads: int,
    progress: Progress | None,
    logs: Path | None,
) -> dict[str, Any]:
    """Do ``train_policy`` until it is over, or a rank is lost."""
    with lead(clips, preset, threads) as rank:
        session = _Session(Trainer(clips, preset, threads, rank), folder, logs)
        begun = session.resume() or warm_start is None or session.begin_from(warm_start, foreign=foreign)
        if not begun:
            session = _Session(Trainer(clips, preset, threads, rank), folder, logs)
        while not session.finished():
            figures = session.trainer.iterate()
            session.record(figures)
            if progress is not None:
                progress(figures | session.last_check())
    return session.close()


def lead(clips: Sequence[Clip], preset: Preset, threads: int) -> contextlib.AbstractContextManager[Rank]:
    """Start the other ranks of a training on so many cores; yields the rank of this process's trainer."""
    process.prepare(torch_threads(preset, threads))
    return together(rank_count(preset, threads), follow, clips, preset, threads)


def follow(rank: Rank, clips: Sequence[Clip], preset: Preset, threads: int) -> None:
    """Be a rank that does as the first one does."""
    process.prepare(torch_threads(preset, threads))
    trainer = Trainer(clips, preset, threads, rank)
    while rank.agree():
        trainer.iterate()


class _Session:
    """The bookkeeping around a trainer: checks, best policy, checkpoints, budget."""

    def __init__(self, trainer: Trainer, folder: Path, logs: Path | None = None) -> None:
        self.trainer, self.folder, self.config = trainer, folder, trainer.preset.training
        self.log = TrainingLog(logs)
        self.curve: list[dict[str, float]] = []
        self.checks: list[dict[str, Any]] = []
        self.best: tuple[float, float] = (-1.0, 0.0)
        self.start: str | None = None
        self.ended = ""
        self._checked_at = trainer.counters.seconds
        self._saved_at = trainer.counters.seconds

    def begin_from(self, policy: Path, *, foreign: bool) -> bool:
        """Start from another policy and check it: it may pass as it is.

        Returns:
            Whether it is of use: another skill's that falls as soon as an untrained one is not, since weights
            that know nothing of this skill learn it more slowly than none.
        """
        trainer = self.trainer
        untrained = self._try()["mean_seconds"] if foreign else 0.0
        trainer.warm_start(policy, foreign=foreign)
        self.start = policy.name
        self.check()
        if foreign and self.checks[-1]["mean_seconds"] <= untrained:
            log.info("another skill's policy falls as soon as an untrained one here; from nothing instead")
            return False
        if foreign or trainer.preset.ppo.explore_again:
            trainer.explore()
        return True

    def finished(self) -> bool:
        """Tell whether training is over, and note why."""
        counters = self.trainer.counters
        if self.checks and self.checks[-1]["completion"] >= self.config.stop_completion:
            self.ended = "passed its check"
        elif counters.iteration >= self.config.max_iterations:
            self.ended = "reached its iterations"
        elif self.config.minutes is not None and counters.seconds >= 60 * self.config.minutes:
            self.ended = "spent its minutes"
        return bool(self.ended)

    def record(self, figures: dict[str, float]) -> None:
        """Keep an iteration's figures; check and save when due."""
        self.curve.append(figures)
        self.log.add("training", figures, self.trainer.counters.steps)
        seconds = self.trainer.counters.seconds
        if seconds - self._checked_at >= 60 * self.config.check_every_minutes:
            self.check()
        if seconds - self._saved_at >= 60 * self.config.checkpoint_minutes:
            self.checkpoint()

    def check(self) -> None:
        """Try the policy and keep it if it is the best so far."""
        trainer = self.trainer
        result = self._try()
        result = {"steps": trainer.counters.steps, "minutes": trainer.counters.seconds / 60, **result}
        self.checks.append(result)
        self.log.add("check", result, trainer.counters.steps)
        self._checked_at = trainer.counters.seconds
        # Completion first; a metre, or a metre a second, of error weighs as much as all of it.
        errors = result["body_pos_err_m"] + float(np.nan_to_num(result["velocity_err_m_s"]))
        score = (result["completion"] - errors, result["mean_seconds"])
        if score > self.best:
            self.best = score
            trainer.save(self.folder)
        log.info(
            "check at %.1f min, %.2f M steps: %.0f %% of %d starts complete, %.1f cm, %.2f m/s off",
            result["minutes"],
            result["steps"] / 1e6,
            100 * result["completion"],
            result["n"],
            100 * result["body_pos_err_m"],
            result["velocity_err_m_s"],
        )

    def _try(self) -> dict[str, Any]:
        """Return the outcome of the check's starts with the policy as it is."""
        trainer = self.trainer
        return evaluate.check(trainer.policy(), trainer.clips, trainer.preset, trainer.num_threads)

    def last_check(self) -> dict[str, float]:
        """Return the completion of the last check, if there was one."""
        return {"completion": self.checks[-1]["completion"]} if self.checks else {}

    def checkpoint(self) -> None:
        """Write everything a resumed training needs, atomically."""
        state = {
            "trainer": self.trainer.state(),
            "curve": self.curve,
            "checks": self.checks,
            "best": list(self.best),
            "start": self.start,
        }
        with atomic_path(self.folder / CHECKPOINT) as temporary:
            torch.save(state, temporary)
        self._saved_at = self.trainer.counters.seconds

    def resume(self) -> bool:
        """Go on from a checkpoint in the folder, if there is one."""
        path = self.folder / CHECKPOINT
        if not path.exists():
            return False
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, EOFError, KeyError, RuntimeError, pickle.UnpicklingError) as error:
            raise StoreError(f"{path}: no readable checkpoint ({error}); remove it to train anew") from error
        self.trainer.load_state(state["trainer"])
        self.curve, self.checks, self.best = state["curve"], state["checks"], tuple(state["best"])
        self.start = state["start"]
        self._checked_at = self._saved_at = self.trainer.counters.seconds
        log.info("resumed at %.1f min, %.2f M steps", self._saved_at / 60, self.trainer.counters.steps / 1e6)
        return True

    def close(self) -> dict[str, Any]:
        """Check the last policy, drop the checkpoint, and return the training record."""
        if not self.checks or self.checks[-1]["steps"] != self.trainer.counters.steps:
            self.check()
        self.log.close()
        counters = self.trainer.counters
        record = {
            "ended": self.ended,
            "code_version": versions.TRACKING,
            "warm_start": self.start,
            **dataclasses.asdict(counters),
            "steps_per_s": counters.steps / counters.seconds if counters.seconds else 0.0,
            "checks": self.checks,
            "curve": _thin(self.curve, 500),
        }
        write_json(self.folder / TRAINING, record)
        (self.folder / CHECKPOINT).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            (self.folder / CHECKPOINT).parent.rmdir()
        return record


def _thin(curve: list[dict[str, float]], most: int) -> list[dict[str, float]]:
    """Keep at most ``most`` points, evenly spread."""
    stride = -(-len(curve) // most) or 1
    return curve[::stride]
