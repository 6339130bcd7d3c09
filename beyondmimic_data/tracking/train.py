"""Training one skill: a trainer with checks, checkpoints and a wall-clock budget."""

import contextlib
import dataclasses
import logging
import os
import pickle
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from beyondmimic_data import versions
from beyondmimic_data.config import Preset
from beyondmimic_data.errors import StoreError
from beyondmimic_data.files import atomic_path, write_json
from beyondmimic_data.motions.clip import Clip
from beyondmimic_data.tracking import evaluate
from beyondmimic_data.tracking.policy_files import TRAINING
from beyondmimic_data.tracking.ranks import RankLostError
from beyondmimic_data.tracking.trainer import Trainer, lead
from beyondmimic_data.tracking.training_log import TrainingLog

log = logging.getLogger(__name__)

CHECKPOINT = Path("scratch") / "checkpoint.pt"
Progress = Callable[[dict[str, float]], None]

Score = tuple[bool, float, float]
RESTARTS = 2
"""How often a training goes on from its checkpoint after it lost a rank."""


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
    with contextlib.closing(TrainingLog(logs)) as scalars, lead(clips, preset, threads) as rank:
        session = _Session(Trainer(clips, preset, threads, rank), folder, scalars)
        begun = session.resume() or warm_start is None or session.begin_from(warm_start, foreign=foreign)
        if not begun:
            session = _Session(Trainer(clips, preset, threads, rank), folder, scalars)
        while not session.finished():
            figures = session.record(session.trainer.iterate())
            if progress is not None:
                progress(figures)
        return session.finish()


class _Session:
    """The bookkeeping around a trainer: checks, best policy, checkpoints, budget."""

    def __init__(self, trainer: Trainer, folder: Path, scalars: TrainingLog | None = None) -> None:
        self.trainer, self.folder, self.config = trainer, folder, trainer.preset.training
        self.scalars = scalars or TrainingLog(None)
        self.curve: list[dict[str, float]] = []
        self.checks: list[dict[str, Any]] = []
        self.best: Score | None = None
        self.kept_steps = 0
        """Steps of the policy that checked best."""
        self.start: str | None = None
        self.ended = ""
        self._earlier, self._begun = 0.0, time.perf_counter()
        self._checked_at = self._saved_at = 0.0

    @property
    def seconds(self) -> float:
        """Wall time of the training so far, its checks and what came before an interruption included."""
        return self._earlier + time.perf_counter() - self._begun

    def begin_from(self, policy: Path, *, foreign: bool) -> bool:
        """Start from another policy and check it: it may pass as it is.

        Returns:
            Whether it is of use: another skill's that falls as soon as an untrained one is not, since weights
            that know nothing of this skill learn it more slowly than none.
        """
        trainer = self.trainer
        untrained = self._try()["mean_seconds"] if foreign else 0.0
        trainer.warm_start(policy, foreign=foreign)
        result = self._try()
        if foreign and result["mean_seconds"] <= untrained:
            log.info("another skill's policy falls as soon as an untrained one here; from nothing instead")
            return False
        self.start = policy.name
        self._note(result)
        if foreign or trainer.preset.ppo.explore_again:
            trainer.explore()
        return True

    def finished(self) -> bool:
        """Tell whether training is over, and note why."""
        last, gate = self.checks[-1] if self.checks else None, self.trainer.preset.gate
        if last and last["completion"] >= self.config.stop_completion and evaluate.accurate(last, gate):
            self.ended = "passed its check"
        elif self.trainer.counters.iteration >= self.config.max_iterations:
            self.ended = "reached its iterations"
        elif self.config.minutes is not None and self.seconds >= 60 * self.config.minutes:
            self.ended = "spent its minutes"
        return bool(self.ended)

    def record(self, figures: dict[str, float]) -> dict[str, float]:
        """Keep an iteration's figures, check and save when due; returns what to tell of the training."""
        figures = figures | {"minutes": self.seconds / 60}
        # TensorBoard has every term of the reward; the record would be twice as large for them.
        self.curve.append({k: v for k, v in figures.items() if not k.startswith("reward/")})
        self.scalars.add("training", figures, self.trainer.counters.steps)
        if self.seconds - self._checked_at >= 60 * self.config.check_every_minutes:
            self.check()
        if self.seconds - self._saved_at >= 60 * self.config.checkpoint_minutes:
            self.checkpoint()
        return figures | ({"completion": self.checks[-1]["completion"]} if self.checks else {})

    def check(self) -> None:
        """Try the policy and keep it if it is the best so far."""
        self._note(self._try())

    def _note(self, result: dict[str, Any]) -> None:
        """Keep the outcome of a check, and the policy if it is the best so far."""
        trainer = self.trainer
        result = {"steps": trainer.counters.steps, "minutes": self.seconds / 60, **result}
        self.checks.append(result)
        self.scalars.add("check", result, trainer.counters.steps)
        self._checked_at = self.seconds
        score = score_of(result)
        if self.best is None or score > self.best:
            self.best, self.kept_steps = score, trainer.counters.steps
            trainer.save(self.folder)
            self.checkpoint()  # a training that goes on has to know what it kept
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

    def checkpoint(self) -> None:
        """Write everything a resumed training needs, atomically."""
        state = {
            "trainer": self.trainer.state(),
            "curve": self.curve,
            "checks": self.checks,
            "best": None if self.best is None else list(self.best),
            "kept_steps": self.kept_steps,
            "start": self.start,
            "seconds": self.seconds,
        }
        with atomic_path(self.folder / CHECKPOINT) as temporary:
            torch.save(state, temporary)
        self._saved_at = self.seconds

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
        self.curve, self.checks = state["curve"], state["checks"]
        self.best = None if state["best"] is None else tuple(state["best"])
        self.start, self.kept_steps = state["start"], state["kept_steps"]
        self._earlier = self._checked_at = self._saved_at = state["seconds"]
        log.info("resumed at %.1f min, %.2f M steps", self._saved_at / 60, self.trainer.counters.steps / 1e6)
        return True

    def finish(self) -> dict[str, Any]:
        """Check the last policy, drop the checkpoint, and return the training record."""
        if not self.checks or self.checks[-1]["steps"] != self.trainer.counters.steps:
            self.check()
        counters = self.trainer.counters
        if self.kept_steps < counters.steps:
            log.info("kept: the policy after %.2f M steps, which checked best", self.kept_steps / 1e6)
        record = {
            "ended": self.ended,
            "code_version": versions.TRACKING,
            "warm_start": self.start,
            "kept_steps": self.kept_steps,
            "minutes": self.seconds / 60,
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


def score_of(check: dict[str, Any]) -> Score:
    """Return what orders the policies that checks have tried, the best one last.

    Of policies that complete a start, the share of starts less the errors counts; a metre, or a metre a
    second, weighs as much as all of them. Of those that complete none, whose errors are those of the moments
    before they fell, how long they last.
    """
    if not check["completion"]:
        return False, 0.0, check["mean_seconds"]
    errors = check["body_pos_err_m"] + float(np.nan_to_num(check["velocity_err_m_s"]))
    return True, check["completion"] - errors, check["mean_seconds"]


def _thin(curve: list[dict[str, float]], most: int) -> list[dict[str, float]]:
    """Keep at most ``most`` points, evenly spread."""
    stride = -(-len(curve) // most) or 1
    return curve[::stride]
