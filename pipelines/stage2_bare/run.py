"""The stages one after the other: motions, rollouts, training, protocols, each within its time."""

import dataclasses
import logging
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beyondmimic_data.config import Preset
from beyondmimic_data.diffusion.policy_files import WEIGHTS
from beyondmimic_data.errors import ConfigError
from beyondmimic_data.files import write_json
from pipelines.stage2_bare.budget import LEAST_TRAINING, Budget, Clock, ProtocolsInTime, TimedJudge
from pipelines.stage2_bare.options import Options
from pipelines.stage2_bare.results import FIRST_ROUND, RUN, deliver, store_halved

if TYPE_CHECKING:
    import torch

    from storage.device_windows import DeviceWindows

log = logging.getLogger("beyondmimic.stage2_bare")

TIMED_BATCHES = 50


def run(options: Options) -> dict[str, Any]:
    """Run all stages and write the results.

    Args:
        options: what to do.

    Returns:
        What ``run.json`` holds: ``stages`` in seconds, ``rollouts``, ``training``, ``weights``,
        ``protocols`` and ``warnings``; and ``files`` with their bytes.

    Raises:
        BeyondMimicError: an option that cannot be used, or a stage that cannot be done.
    """
    clock = Clock()
    budget = Budget(60 * options.total_minutes, bool(options.protocols or options.trials))
    options.check()
    out, preset, warm_start = options.results_folder(), options.preset(), _warm_start(options)
    with tempfile.TemporaryDirectory(prefix="stage2_bare_") as scratch:
        return _Run(options, preset, Path(scratch), out, clock, budget).run(warm_start)


def _warm_start(options: Options) -> Path | None:
    """Return the folder of the policy to start from.

    Raises:
        ConfigError: the one that ships has another size.
    """
    if options.start == "nothing":
        return None
    from beyondmimic_data.diffusion.shipped import shipped_diffusion

    found = shipped_diffusion(options.diffusion)
    if found is None:
        raise ConfigError("start", options.start, f"nothing: no policy of size {options.size} ships")
    return found.path


class _Run:
    """One run: its numbers, its folders and what it has found so far."""

    def __init__(
        self, options: Options, preset: Preset, scratch: Path, out: Path, clock: Clock, budget: Budget
    ) -> None:
        import torch

        from pipelines.stage2_bare.rollouts import Rollouts

        self.options, self.preset, self.clock, self.budget = options, preset, clock, budget
        self.out, self.policy, self.first = out, scratch / "policy", scratch / "first_policy"
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.warnings: list[str] = []
        self.figures: dict[str, Any] = {"options": _plain(options), "machine": _machine(self.device, options)}
        if self.device.type == "cpu":
            self._warn("there is no GPU: the policy was trained on the CPU")
        self.rollouts = Rollouts(options, preset, scratch, self.device)
        if self.rollouts.halved:
            self._warn("rows are float16: memory has no room for float32")

    def run(self, warm_start: Path | None) -> dict[str, Any]:
        """Run every stage."""
        self.rollouts.synthesise()
        self.clock.ends("motions")
        self._collect(self.budget.collect_until)
        if self.options.student_hours > 0:
            warm_start = self._student_round(warm_start)
        if self.first.exists() and self.budget.train_until - self.clock.seconds() < LEAST_TRAINING:
            self._warn("there was no time to train with the student's rollouts")
            self.policy = self.first
            return self._write()
        judge = self._train(self.policy, warm_start, trials=self.options.trials)
        self._examine(judge)
        return self._write()

    def _student_round(self, start: Path | None) -> Path:
        """Collect with a student, that of the start or one that is trained first; returns its folder."""
        if start is not None:
            self._collect(self.budget.train_until, student=start)
            return start
        until, collect_until = self.budget.student_round(self.clock.seconds())
        self._train(self.first, None, trials=0, until=until)
        self._collect(collect_until, student=self.first)
        return self.first

    def _warn(self, line: str) -> None:
        log.warning("%s", line)
        self.warnings.append(line)

    def _collect(self, until: float, student: Path | None = None) -> None:
        """Collect a round of rollouts."""
        collected = self.rollouts.collect(self.clock.began + until, student)
        self.figures["rollouts"] = self.rollouts.figures()
        what = "rollouts" if student is None else "student rollouts"
        self.clock.ends(what)
        if collected.units < collected.planned_units:
            self._warn(f"{what} were cut short: {collected.units} of {collected.planned_units} units in time")

    def _train(
        self, folder: Path, warm_start: Path | None, *, trials: int, until: float | None = None
    ) -> TimedJudge:
        """Train into a folder with all rollouts so far, and deliver it before anything else is tried.

        Args:
            folder: of the policy.
            warm_start: folder of the policy to start from.
            trials: how many trials in closed loop choose the weights.
            until: s since the start at which training ends; by default as late as possible.
        """
        from beyondmimic_data.control.judge import ClosedLoopJudge
        from beyondmimic_data.diffusion.contract import g1_contract
        from beyondmimic_data.diffusion.train import recorded_windows, train

        windows = self.rollouts.windows()
        self.clock.ends("windows")
        asked = None if self.options.minutes is None else 60 * self.options.minutes
        minutes = self.budget.training_seconds(self.clock.seconds(), asked, until) / 60
        config = dataclasses.replace(
            self.preset.diffusion, minutes=minutes, check_minutes=minutes / trials if trials else None
        )
        recorded = recorded_windows(windows, config.seed)
        judge = TimedJudge(
            ClosedLoopJudge(
                recorded, self.preset, runs=config.check_runs, latency_ms=self.rollouts.latency_ms
            ),
            self.clock,
            self.budget.examine_until,
        )
        rates: list[float] = []

        def show(point: dict[str, float]) -> None:
            rates.append(point["samples_per_s"])
            line = (
                "step {step:.0f}, loss {loss:.4f}, {samples_per_s:.0f} samples/s, {minutes_left:.1f} min left"
            )
            log.info(line.format(**point))

        training = train(
            windows,
            config,
            g1_contract(self.preset.control),
            folder,
            warm_start=warm_start,
            progress=show,
            judge=judge if trials else None,
            device=self.device,
            compiled=self.options.compile,
        )
        self.figures.setdefault("training", []).append(
            {
                **training,
                "steps_per_s_between_trials": statistics.median(rates) / config.batch_size,
                "loading_share": _loading_share(windows, config.batch_size, statistics.median(rates)),
            }
        )
        if judge.left_out:
            self._warn(f"{judge.left_out} trials were left out: no time")
        error = store_halved(folder)
        self.figures["weights"] = {
            "type": "float32" if error is None else "float16",
            "largest_action_error": error,
        }
        if folder != self.first and self.first.exists():
            shutil.copyfile(self.first / WEIGHTS, folder / FIRST_ROUND)
        self.clock.ends("training")
        deliver(folder, self.out)
        return judge

    def _examine(self, judge: TimedJudge) -> None:
        """Run protocols on what was delivered, those that there is time for."""
        from beyondmimic_data.control.evaluate import OUTCOME, evaluate_closed_loop
        from beyondmimic_data.control.judge import pushed_joystick

        if not self.options.protocols:
            return
        runs = max(1.0, self.options.seeds / self.preset.diffusion.check_runs)
        pace = judge.seconds / pushed_joystick().seconds * runs
        result = evaluate_closed_loop(
            self.policy,
            self.preset,
            self.policy,
            latency_ms=self.rollouts.latency_ms,
            leave_out=ProtocolsInTime(self.clock, self.budget.examine_until, pace),
            progress=log.info,
        )
        for name, figures in result["protocols"].items():
            if "skipped" in figures:
                self._warn(f"{name} was left out: {figures['skipped']}")
        kept = (*OUTCOME, "mean_seconds_upright", "skipped")
        self.figures["protocols"] = {
            name: {key: figures[key] for key in kept if key in figures}
            for name, figures in result["protocols"].items()
        }
        self.clock.ends("protocols")

    def _write(self) -> dict[str, Any]:
        """Deliver everything; the list of files is that of the delivery."""
        self.figures |= {"stages": self.clock.stages, "warnings": self.warnings}
        write_json(self.policy / RUN, self.figures)
        files = deliver(self.policy, self.out)
        self.clock.ends("writing")
        return {**self.figures, "files": {name: (self.out / name).stat().st_size for name in files}}


def _loading_share(windows: "DeviceWindows", batch: int, samples_per_s: float) -> float:
    """Return the share of a training step that drawing its windows takes."""
    import numpy as np
    import torch

    from storage.datasets import TRAIN

    rng = np.random.default_rng(0)
    windows.sample(TRAIN, batch, rng)
    began = time.perf_counter()
    for _ in range(TIMED_BATCHES):
        last = windows.sample(TRAIN, batch, rng)
    if last.device.type == "cuda":
        torch.cuda.synchronize(last.device)
    return (time.perf_counter() - began) / TIMED_BATCHES * samples_per_s / batch


def _machine(device: "torch.device", options: Options) -> dict[str, Any]:
    import torch

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "none"
    return {"gpu": name, "cores": options.num_cores, "torch": torch.__version__}


def _plain(options: Options) -> dict[str, Any]:
    """Return what decides the results; where they go does not."""
    return {name: value for name, value in dataclasses.asdict(options).items() if name != "out"}
