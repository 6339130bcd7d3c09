"""Training of the diffusion policy: resumable, within a budget of minutes or steps (METHOD 2.5, 2.6)."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from beyondmimic_data import process
from beyondmimic_data.config import DiffusionConfig
from beyondmimic_data.diffusion.checkpoint import TrainingState
from beyondmimic_data.diffusion.contract import Contract
from beyondmimic_data.diffusion.frames import require_columns
from beyondmimic_data.diffusion.loss import diffusion_loss, draw_noise, horizon, loss_by_level
from beyondmimic_data.diffusion.normaliser import central_range
from beyondmimic_data.diffusion.optimisation import (
    MovingAverage,
    PolicyOptimiser,
    learning_rate,
    time_precisions,
    write_parameters,
)
from beyondmimic_data.diffusion.pictures import plot_training
from beyondmimic_data.diffusion.policy import DiffusionPolicy
from beyondmimic_data.diffusion.policy_files import ARCHITECTURE_FIELDS, TRAINING
from beyondmimic_data.diffusion.windows import TRAIN, VALIDATION, RecordedWindows, WindowSource
from beyondmimic_data.errors import BeyondMimicError, ConfigError, StoreError
from beyondmimic_data.files import write_json
from beyondmimic_data.hashing import hash_value
from beyondmimic_data.rank import ALONE, Rank

log = logging.getLogger(__name__)

Progress = Callable[[dict[str, float]], None]
"""Called with each point of the training curve."""
Judge = Callable[[DiffusionPolicy], dict[str, float]]
"""Tries a policy in closed loop; returns ``score``, which decides, and what it is made of."""

FIT_FRACTION = 0.1
"""Share of the windows that the normaliser is fitted on (METHOD 2.5)."""
FIT_BOUNDS = (512, 2048)
"""Fewest and most windows that the normaliser is fitted on."""
RECORDED_WINDOWS = 256
"""Windows kept beside the policy."""
VALIDATION_WINDOWS = 256
VALIDATION_LEVELS = 5
"""Noise levels, evenly spaced, at which the validation loss is reported."""
LOG_SECONDS = 10.0
WORTHWHILE_GAIN = 1.1
"""How many times faster bfloat16 must be on a CPU to be taken."""
MAX_SKIPPED = 10
"""Consecutive steps with a loss that is not finite before training gives up."""
READ_EVERY = {"cpu": 1, "cuda": 20}
"""Steps between looks at losses and clock, by device: reading a loss waits for a GPU, which then idles."""


def train(
    windows: WindowSource,
    config: DiffusionConfig,
    contract: Contract,
    folder: Path,
    *,
    warm_start: Path | None = None,
    progress: Progress | None = None,
    judge: Judge | None = None,
    device: torch.device | str | None = None,
    compiled: bool = False,
    rank: Rank = ALONE,
) -> dict[str, Any]:
    """Train a diffusion policy and write it into a folder.

    The folder receives the averaged weights, ``config.json``, ``training.json``, ``loss.png`` and some
    recorded windows; a checkpoint in ``scratch/`` lets a killed run go on where it stopped. Training ends
    after ``config.max_steps`` or ``config.minutes``, whichever comes first; trials in closed loop are part of
    the minutes.

    Args:
        windows: dataset of windows.
        config: every number of the model and of its training.
        contract: what states and actions mean.
        folder: where to write.
        warm_start: folder of an earlier policy to start from; one of another architecture is not used,
            which is logged and stands in the result.
        progress: called with each point of the curve.
        judge: tries the averaged weights every ``config.check_minutes``, and before the first step those of
            a warm start; the weights with the highest score are what is written. Without one the last are.
        device: where to train; a GPU if there is one.
        compiled: have torch compile the network, which takes a minute and pays in long runs.
        rank: one of several processes that each take a share of every batch. The first alone tries, reports
            and writes; all return its figures.

    Returns:
        Figures of the run: ``steps, samples, minutes, samples_per_s, loss, validation, parameters, ...``.

    Raises:
        ConfigError: the windows lack a column, the configuration cannot be used, or ``config.workers`` is not
            the number of ranks.
        StoreError: there is no training window, a window is not finite, or a checkpoint cannot be used.
        BeyondMimicError: the loss stayed non-finite.
    """
    require_columns(windows.columns, config.action_label)
    if config.workers != rank.count:
        raise ConfigError("diffusion.workers", config.workers, f"{rank.count}: as many train here")
    if windows.num_windows(TRAIN) == 0:
        raise StoreError("the dataset holds no training window; collect longer episodes, or more of them")
    process.prepare(torch.get_num_threads())
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    started = time.monotonic()
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        state = _initial_state(windows, config, contract, warm_start, device)
        fingerprint = hash_value([config, contract, str(warm_start)])
        if rank.leads and state.restore(folder, fingerprint):
            log.info("training goes on at step %d, after %.1f minutes", state.step, state.seconds / 60)
        _begin_alike(state, rank)
        if compiled:
            state.policy.denoiser.compile()
        _optimise(state, windows, folder, fingerprint, progress, judge, started, rank)
    return dict(rank.receive(_finish(state, windows, folder) if rank.leads else None))


def _initial_state(
    windows: WindowSource,
    config: DiffusionConfig,
    contract: Contract,
    warm_start: Path | None,
    device: torch.device,
) -> TrainingState:
    policy = DiffusionPolicy(config, contract)
    rng = np.random.default_rng(config.seed)
    low_high = _data_range(policy, windows, rng)
    note = _warm_start(policy, warm_start)
    for normaliser, (low, high) in zip((policy.state_normaliser, policy.action_normaliser), low_high):
        if note["used"]:
            normaliser.include(low, high)
        else:
            normaliser.fit(low, high)
    policy.to(device)
    generator = torch.Generator(device=device).manual_seed(config.seed)
    bfloat16, why = _use_bfloat16(policy, device)
    log.info("training in %s: %s", "bfloat16" if bfloat16 else "float32", why)
    return TrainingState(
        policy=policy,
        optimiser=PolicyOptimiser(policy.denoiser, config),
        average=MovingAverage(policy.denoiser, config),
        rng=rng,
        generator=generator,
        notes={
            "warm_start": note,
            "train_windows": windows.num_windows(TRAIN),
            "bfloat16": bfloat16,
            "precision": why,
        },
    )


def _begin_alike(state: TrainingState, rank: Rank) -> None:
    """Give the other ranks the first one's weights, and each its own windows and noise."""
    if rank.count == 1:
        return
    shared = rank.receive((state.step, state.notes, state.tensors()) if rank.leads else None)
    if rank.leads:
        return
    state.step, state.notes, tensors = shared
    state.load(tensors)
    seed = [state.policy.config.seed, rank.number, state.step]
    state.rng = np.random.default_rng(seed)
    state.generator.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))


def _use_bfloat16(policy: DiffusionPolicy, device: torch.device) -> tuple[bool, str]:
    """Decide the precision of the network's products, and say why."""
    config = policy.config
    if config.precision != "auto":
        return config.precision == "bfloat16", "as configured"
    if device.type == "cuda":
        return True, "a GPU"
    batch, actions = config.batch_size, horizon(config)
    levels = torch.full((batch, config.window), config.denoise_steps)
    inputs = (
        torch.randn(batch, config.window, policy.emphasis.dim_out),
        torch.randn(batch, actions, policy.num_joints),
        levels,
        levels[:, :actions],
    )
    seconds = time_precisions(policy.denoiser, inputs)
    gain = seconds["float32"] / seconds["bfloat16"]
    return gain > WORTHWHILE_GAIN, f"bfloat16 is {gain:.2f} times as fast on this CPU"


def _data_range(
    policy: DiffusionPolicy, windows: WindowSource, rng: np.random.Generator
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return the range of features and of actions over a sample of windows and their mirror images.

    With the images, normalising commutes with the reflection, whether or not training mirrors.
    """
    wanted = int(np.clip(FIT_FRACTION * windows.num_windows(TRAIN), *FIT_BOUNDS))
    features, actions = _draw(policy, windows, TRAIN, wanted, rng)
    mirror = policy.representation
    return [
        central_range(torch.cat([features, mirror.mirror_states(features)])),
        central_range(torch.cat([actions, mirror.mirror_actions(actions)])),
    ]


def _warm_start(policy: DiffusionPolicy, folder: Path | None) -> dict[str, Any]:
    """Load an earlier policy's weights, ranges and projection where its architecture is the same."""
    if folder is None:
        return {"used": False, "reason": "none given"}
    earlier = DiffusionPolicy.load(folder)
    for field in ARCHITECTURE_FIELDS:
        ours, theirs = getattr(policy.config, field), getattr(earlier.config, field)
        if ours != theirs:
            log.warning("no warm start from %s: its %s is %s, this one's %s", folder, field, theirs, ours)
            return {"used": False, "reason": f"{field} was {theirs}, is {ours}"}
    if earlier.contract != policy.contract:
        log.warning("no warm start from %s: it was trained for another contract", folder)
        return {"used": False, "reason": "its contract differs"}
    policy.load_state_dict(earlier.state_dict())
    return {"used": True, "reason": "same architecture and contract"}


def _draw(
    policy: DiffusionPolicy, windows: WindowSource, split: str, count: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sample windows and return their physical features and actions.

    Raises:
        StoreError: a value is not finite.
    """
    rows = windows.sample(split, count, rng).to(policy.device)
    features, actions = policy.features_of_rows(rows, windows.columns)
    if windows.known_finite:
        return features, actions
    if not (torch.isfinite(features).all() and torch.isfinite(actions).all()):
        raise StoreError(f"a {split} window holds values that are not finite; check the rollouts' store")
    return features, actions


def training_tokens(
    policy: DiffusionPolicy,
    windows: WindowSource,
    rng: np.random.Generator,
    generator: torch.Generator,
    rank: Rank = ALONE,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sample one training batch: represented, some of it mirrored, normalised.

    Args:
        policy: gives representation, normalisation and batch size.
        windows: where windows come from.
        rng: draws windows.
        generator: draws which of them are mirrored.
        rank: takes its share of the batch.

    Returns:
        States (B, T, D') and actions (B, T, J) in the space of the diffusion.

    Raises:
        StoreError: a value is not finite.
    """
    config = policy.config
    features, actions = _draw(policy, windows, TRAIN, rank.share(config.batch_size), rng)
    if config.mirror:
        chosen = torch.rand(len(features), 1, 1, generator=generator, device=policy.device) < 0.5
        features = torch.where(chosen, policy.representation.mirror_states(features), features)
        actions = torch.where(chosen, policy.representation.mirror_actions(actions), actions)
    return policy.encode_states(features), policy.encode_actions(actions)


def _optimise(
    state: TrainingState,
    windows: WindowSource,
    folder: Path,
    fingerprint: str,
    progress: Progress | None,
    judge: Judge | None,
    started: float,
    rank: Rank,
) -> None:
    """Run steps until the budget is spent, logging, trying and saving on the way."""
    config = state.policy.config
    before = state.seconds
    saved = logged = tried = started
    first_step, recent, bad = state.step, [], 0
    unread: list[torch.Tensor] = []
    warm = state.notes["warm_start"]["used"]
    if config.check_minutes is None or not rank.leads:
        judge = None
    if judge is not None and warm and not state.trials:
        _try(state, judge)  # what a training starts from may be better than all that it comes to
        tried = logged = time.monotonic()
        state.seconds = before + tried - started
    while (done := rank.hear(_fraction_done(state, config))) < 1.0:
        rate = learning_rate(config, state.step, done, warm=warm)
        unread.append(_step(state, windows, rate, rank))
        state.step += 1
        if len(unread) < READ_EVERY[state.policy.device.type] and state.step < config.max_steps:
            continue
        if not rank.leads:
            unread = []
            continue
        for loss in torch.stack(unread).tolist():
            if np.isfinite(loss):
                bad = 0
                recent.append(loss)
                continue
            bad += 1
            state.skipped += 1
            log.warning("a step up to %d left out: its loss is %s", state.step, loss)
            if bad >= MAX_SKIPPED:
                raise BeyondMimicError(
                    f"the diffusion loss was not finite in {bad} steps running (step {state.step}); "
                    f"lower learning_rate, found {config.learning_rate}"
                )
        unread = []
        now = time.monotonic()
        state.seconds = before + now - started
        finished = _fraction_done(state, config) >= 1.0
        due = config.check_minutes is not None and now - tried >= 60 * config.check_minutes
        # Before a trial too: it may take what is left of the budget.
        if now - logged >= LOG_SECONDS or finished or due:
            _report(state, recent, (now - logged) / max(1, state.step - first_step), rate, progress)
            logged, first_step, recent = now, state.step, []
        if judge is not None and (due or finished):
            _try(state, judge)
            tried = time.monotonic()
            state.seconds = before + tried - started
            logged, first_step = tried, state.step
        if now - saved >= 60 * config.checkpoint_minutes or finished or due:
            state.validation.append({"step": state.step, **_validate(state, windows)})
            state.save(folder, fingerprint)
            saved = time.monotonic()


def _try(state: TrainingState, judge: Judge) -> None:
    """Try the averaged weights in closed loop, and remember them if none did better."""
    trial = {"step": float(state.step), "minutes": state.seconds / 60, **judge(_averaged(state))}
    if not state.trials or trial["score"] >= max(t["score"] for t in state.trials):
        state.best = [value.clone() for value in state.average.values]
    state.trials.append(trial)
    log.info("closed loop: %s", ", ".join(f"{name} {value:.3g}" for name, value in trial.items()))


def _fraction_done(state: TrainingState, config: DiffusionConfig) -> float:
    steps = state.step / config.max_steps
    return steps if config.minutes is None else max(steps, state.seconds / (60 * config.minutes))


def _step(state: TrainingState, windows: WindowSource, rate: float, rank: Rank) -> torch.Tensor:
    """Take one optimiser step, which changes no weight if the loss is not finite; returns the loss, ().

    Nothing in it waits for the device but Muon.
    """
    policy, config = state.policy, state.policy.config
    tokens = training_tokens(policy, windows, state.rng, state.generator, rank)
    policy.train()
    batch = draw_noise(*tokens, config, state.generator)
    with torch.autocast(policy.device.type, torch.bfloat16, enabled=state.notes["bfloat16"]):
        total = diffusion_loss(policy, batch).total
    total.backward()
    loss = _average_over_ranks(policy.denoiser, total.detach(), len(tokens[0]) / config.batch_size, rank)
    if config.max_grad_norm > 0:
        torch.nn.utils.clip_grad_norm_(policy.denoiser.parameters(), config.max_grad_norm)
    state.optimiser.step(rate, loss)
    state.average.update(state.step)
    state.optimiser.zero_grad()
    return loss


def _average_over_ranks(
    denoiser: torch.nn.Module, loss: torch.Tensor, share: float, rank: Rank
) -> torch.Tensor:
    """Replace gradients by those of the whole batch, and return its loss (); one message for all of them."""
    if rank.count == 1:
        return loss
    gradients = [p.grad for p in denoiser.parameters() if p.grad is not None]
    whole = rank.total(torch.cat([share * x.flatten() for x in (*gradients, loss)]))
    for gradient, value in zip(gradients, whole.split([g.numel() for g in gradients] + [1])):
        gradient.copy_(value.view_as(gradient))
    return whole[-1]


def _report(
    state: TrainingState, recent: list[float], seconds_a_step: float, rate: float, progress: Progress | None
) -> None:
    """Add a point to the curve, log it and hand it on."""
    config = state.policy.config
    done = _fraction_done(state, config)
    left = state.seconds * (1 - done) / max(done, 1e-9)
    point = {
        "step": float(state.step),
        "minutes": state.seconds / 60,
        "loss": float(np.mean(recent)) if recent else float("nan"),
        "learning_rate": rate,
        "samples_per_s": config.batch_size / max(seconds_a_step, 1e-9),
        "minutes_left": left / 60,
    }
    state.curve.append(point)
    log.info(
        "diffusion step %d: loss %.4f, %.2f steps/s (%.0f samples/s), %.1f minutes left",
        state.step,
        point["loss"],
        1 / max(seconds_a_step, 1e-9),
        point["samples_per_s"],
        point["minutes_left"],
    )
    if progress is not None:
        progress(point)


def _validate(state: TrainingState, windows: WindowSource) -> dict[str, Any]:
    """Return the averaged weights' loss by noise level on validation windows, always the same ones."""
    split = VALIDATION if windows.num_windows(VALIDATION) else TRAIN
    policy = _averaged(state)
    rng = np.random.default_rng(policy.config.seed)
    features, actions = _draw(policy, windows, split, VALIDATION_WINDOWS, rng)
    steps = policy.config.denoise_steps
    levels = sorted({max(1, round(steps * (i + 1) / VALIDATION_LEVELS)) for i in range(VALIDATION_LEVELS)})
    by_level = loss_by_level(
        policy, policy.encode_states(features), policy.encode_actions(actions), levels, policy.config.seed
    )
    mean = float(np.mean([v["state"] + v["action"] for v in by_level.values()]))
    return {"split": split, "loss": mean, "by_level": {str(k): v for k, v in by_level.items()}}


def _averaged(state: TrainingState) -> DiffusionPolicy:
    """Return the policy with the averaged weights, in evaluation mode."""
    policy = DiffusionPolicy(state.policy.config, state.policy.contract)
    policy.load_state_dict(state.policy.state_dict())
    policy.to(state.policy.device)
    state.average.copy_to(policy.denoiser)
    return policy.eval()


def recorded_windows(windows: WindowSource, seed: int) -> RecordedWindows:
    """Return the windows that travel with a policy: of the validation split, if it has any."""
    split = VALIDATION if windows.num_windows(VALIDATION) else TRAIN
    rows = windows.sample(split, RECORDED_WINDOWS, np.random.default_rng(seed)).float().cpu()
    return RecordedWindows(rows, windows.columns)


def _finish(state: TrainingState, windows: WindowSource, folder: Path) -> dict[str, Any]:
    """Write the policy, its curve and some windows; returns the figures of the run."""
    config = state.policy.config
    policy = _averaged(state)
    if state.best:
        write_parameters(policy.denoiser, state.best)
    policy.save(folder)
    recorded_windows(windows, config.seed).save(folder)
    last = state.curve[-1]
    samples = state.step * config.batch_size
    result = {
        "steps": state.step,
        "samples": samples,
        "minutes": state.seconds / 60,
        "samples_per_s": samples / max(state.seconds, 1e-9),
        "loss": last["loss"],
        "validation_loss": state.validation[-1]["loss"],
        "validation": state.validation[-1],
        "parameters": policy.num_parameters(),
        "skipped_steps": state.skipped,
        "best_trial": max(state.trials, key=lambda t: (t["score"], t["step"])) if state.trials else None,
        "stopped_by": "steps" if state.step >= config.max_steps else "minutes",
        **state.notes,
    }
    record = {"curve": state.curve, "validations": state.validation, "trials": state.trials}
    write_json(folder / TRAINING, {**result, **record})
    plot_training(state.curve, state.validation, state.trials, folder / "loss.png")
    return result
