"""Training one skill: a trainer with checks, checkpoints and a wall-clock budget."""

import contextlib
import dataclasses
import logging
import os
import pickle
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


class _Session:
    """The bookkeeping around a trainer: checks, best policy, checkpoints, budget."""

    def __init__(self, trainer: Trainer, folder: Path, logs: Path | None = None) -> None:
        self.trainer, self.folder, self.config = trainer, folder, trainer.preset.training
        self.log = TrainingLog(logs)
        self.curve: list[dict[str, float]] = []
        self.checks: list[dict[str, Any]] = []
        self.best: tuple[float, float] = (-1.0, 0.0)
        self.kept_steps = 0
        """Steps of the policy that checked best."""
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
            self.best, self.kept_steps = score, trainer.counters.steps
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
            "kept_steps": self.kept_steps,
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
        self.start, self.kept_steps = state["start"], state["kept_steps"]
        self._checked_at = self._saved_at = self.trainer.counters.seconds
        log.info("resumed at %.1f min, %.2f M steps", self._saved_at / 60, self.trainer.counters.steps / 1e6)
        return True

    def close(self) -> dict[str, Any]:
        """Check the last policy, drop the checkpoint, and return the training record."""
        if not self.checks or self.checks[-1]["steps"] != self.trainer.counters.steps:
            self.check()
        self.log.close()
        counters = self.trainer.counters
        if self.kept_steps < counters.steps:
            log.info("kept: the policy after %.2f M steps, which checked best", self.kept_steps / 1e6)
        record = {
            "ended": self.ended,
            "code_version": versions.TRACKING,
            "warm_start": self.start,
            "kept_steps": self.kept_steps,
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
