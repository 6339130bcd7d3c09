"""The stages one after the other: motions, rollouts, training, protocols, each within its time."""

import dataclasses
import logging
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beyondmimic_data.config import Preset
from beyondmimic_data.errors import ConfigError
from beyondmimic_data.files import read_json, write_json
from pipelines.stage2_bare.budget import Budget, Clock, ProtocolsInTime, TimedJudge
from pipelines.stage2_bare.options import SKILLS, Options
from pipelines.stage2_bare.results import RUN, deliver, store_halved

if TYPE_CHECKING:
    import concurrent.futures

    import torch

    from beyondmimic_data.rollouts.pool import Collected, RowFile
    from storage.device_windows import DeviceWindows

log = logging.getLogger("beyondmimic.stage2_bare")

MOST_OF_MEMORY = 0.5
"""Share of the free memory, the GPU's or the machine's, that rows may take."""
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
    clock, budget = Clock(), Budget(60 * options.total_minutes)
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

        self.options, self.preset, self.clock, self.budget = options, preset, clock, budget
        self.scratch, self.out, self.policy = scratch, out, scratch / "policy"
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.warnings: list[str] = []
        self.figures: dict[str, Any] = {"options": _plain(options), "machine": _machine(self.device, options)}
        if self.device.type == "cpu":
            self._warn("there is no GPU: the policy was trained on the CPU")

    def run(self, warm_start: Path | None) -> dict[str, Any]:
        """Run every stage."""
        windows, latency_ms = self._collect()
        judge = self._train(windows, latency_ms, warm_start)
        self._examine(latency_ms, judge)
        return self._write()

    def _warn(self, line: str) -> None:
        log.warning("%s", line)
        self.warnings.append(line)

    def _collect(self) -> "tuple[DeviceWindows, tuple[float, float]]":
        """Synthesise and roll out; returns windows on the device, and the data's range of latency in ms."""
        from beyondmimic_data.rollouts import pool
        from beyondmimic_data.rollouts.collect import units_for_hours, usable_ranges
        from beyondmimic_data.rollouts.workers import CollectionJob
        from beyondmimic_data.tracking import shipped
        from beyondmimic_data.tracking.policy_files import EVALUATION

        shares, preset, cores = self.options.skill_shares, self.preset, self.options.num_cores
        counts = {s: units_for_hours(share * self.options.hours, preset) for s, share in shares.items()}
        file = self._row_file(sum(counts.values()))
        teacher = shipped.FOLDER / shipped.FOUNDATION
        usable = float(read_json(teacher / EVALUATION)["max_latency_ms"])
        with pool.open_pool(cores) as processes:
            clips = _synthesise(processes, preset, shares, self.scratch)
            self.clock.ends("motions")
            jobs = {s: CollectionJob(s, clips[s], teacher, usable, preset) for s in shares}
            until = self.clock.began + self.budget.collect_until
            units = pool.interleave(counts)
            collected = pool.collect(processes, cores, jobs, units, file, until=until, progress=log.info)
        self.figures["rollouts"] = _rollout_figures(collected, preset)
        self.clock.ends("rollouts")
        if collected.units < collected.planned_units:
            self._warn(
                f"rollouts were cut short: {collected.units} of {collected.planned_units} units in time"
            )
        windows = self._windows(file, collected)
        self.clock.ends("windows")
        return windows, usable_ranges(preset.randomisation, usable).latency_ms

    def _row_file(self, units: int) -> "RowFile":
        """Make the file for rows, of the widest type that memory has room for."""
        from beyondmimic_data.rollouts.collect import ROW_WIDTH
        from beyondmimic_data.rollouts.pool import RowFile

        unit_rows = self.preset.rollouts.chunk_steps
        dtype = row_type(units * unit_rows * ROW_WIDTH, _free_memory(self.device), self.options.hours)
        if dtype == "float16":
            self._warn("rows are float16: memory has no room for float32")
        file = RowFile(self.scratch / "rows.npy", units, unit_rows, dtype)
        file.create()
        return file

    def _windows(self, file: "RowFile", collected: "Collected") -> "DeviceWindows":
        import numpy as np
        import torch

        from beyondmimic_data.rollouts.collect import ROW_COLUMNS
        from storage.device_windows import DeviceWindows

        stops = np.cumsum([width for _, width in ROW_COLUMNS]).tolist()
        columns = {name: slice(stop - width, stop) for (name, width), stop in zip(ROW_COLUMNS, stops)}
        dataset, config = self.preset.dataset, self.preset.diffusion
        return DeviceWindows(
            torch.from_numpy(file.rows()).to(self.device),
            columns,
            {
                skill: [(e["episode_id"], e["start_row"], e["length"]) for e in listed]
                for skill, listed in collected.episodes.items()
            },
            config.window,
            validation_fraction=dataset.validation_fraction,
            split_seed=dataset.split_seed,
            skill_weights=config.skill_weights,
        )

    def _train(
        self, windows: "DeviceWindows", latency_ms: tuple[float, float], warm_start: Path | None
    ) -> TimedJudge:
        """Train into the policy's folder, and have its files delivered before anything else is tried."""
        from beyondmimic_data.control.judge import ClosedLoopJudge
        from beyondmimic_data.diffusion.contract import g1_contract
        from beyondmimic_data.diffusion.train import recorded_windows, train

        asked = None if self.options.minutes is None else 60 * self.options.minutes
        minutes = self.budget.training_seconds(self.clock.seconds(), asked) / 60
        trials = self.options.trials
        config = dataclasses.replace(
            self.preset.diffusion, minutes=minutes, check_minutes=minutes / trials if trials else None
        )
        recorded = recorded_windows(windows, config.seed)
        judge = TimedJudge(
            ClosedLoopJudge(recorded, self.preset, runs=config.check_runs, latency_ms=latency_ms),
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
            self.policy,
            warm_start=warm_start,
            progress=show,
            judge=judge if trials else None,
            device=self.device,
            compiled=self.options.compile,
        )
        self.figures["training"] = {
            **training,
            "steps_per_s_between_trials": statistics.median(rates) / config.batch_size,
            "loading_share": _loading_share(windows, config.batch_size, statistics.median(rates)),
        }
        if judge.left_out:
            self._warn(f"{judge.left_out} trials were left out: no time")
        error = store_halved(self.policy)
        self.figures["weights"] = {
            "type": "float32" if error is None else "float16",
            "largest_action_error": error,
        }
        self.clock.ends("training")
        deliver(self.policy, self.out)
        return judge

    def _examine(self, latency_ms: tuple[float, float], judge: TimedJudge) -> None:
        """Run protocols on what was delivered, those that there is time for."""
        from beyondmimic_data.control.evaluate import evaluate_closed_loop
        from beyondmimic_data.control.judge import pushed_joystick

        runs = max(1.0, self.options.seeds / self.preset.diffusion.check_runs)
        pace = judge.seconds / pushed_joystick().seconds * runs
        result = evaluate_closed_loop(
            self.policy,
            self.preset,
            self.policy,
            latency_ms=latency_ms,
            leave_out=ProtocolsInTime(self.clock, self.budget.examine_until, pace),
            progress=log.info,
        )
        for name, figures in result["protocols"].items():
            if "skipped" in figures:
                self._warn(f"{name} was left out: {figures['skipped']}")
        kept = ("success_rate", "wilson_low", "wilson_high", "n", "falls", "mean_seconds_upright", "skipped")
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


def row_type(values: int, free_bytes: int, hours: float) -> str:
    """Return the widest type in which so many values fit into memory.

    Raises:
        ConfigError: none does.
    """
    for name, size in (("float32", 4), ("float16", 2)):
        if values * size <= MOST_OF_MEMORY * free_bytes:
            return name
    fitting = hours * MOST_OF_MEMORY * free_bytes / (2 * values)
    raise ConfigError("hours", hours, f"at most {fitting:.1f}, which memory has room for")


def _free_memory(device: "torch.device") -> int:
    """Return the free bytes of the machine, or of its GPU if that has less."""
    import torch

    from storage.mapping import available_memory

    free = available_memory()
    return min(free, torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else free


def _synthesise(
    processes: "concurrent.futures.Executor", preset: Preset, skills: Mapping[str, float], folder: Path
) -> dict[str, tuple[Path, ...]]:
    """Synthesise the clips of skills, a clip a process; returns their paths."""
    from beyondmimic_data.motions.synth import clip_configs, write_clip

    paths: dict[str, tuple[Path, ...]] = {}
    running = []
    # Long clips begin first.
    for skill in sorted(skills, key=SKILLS.index, reverse=True):
        name = skill.removeprefix("synth__")
        configs = clip_configs(name, preset.synth)
        paths[skill] = tuple(folder / f"{skill}__{number}.npz" for number in range(1, len(configs) + 1))
        for config, path in zip(configs, paths[skill], strict=True):
            running.append(processes.submit(write_clip, name, config, preset.control.control_hz, path))
    for future in running:
        future.result()
    return paths


def _rollout_figures(collected: "Collected", preset: Preset) -> dict[str, Any]:
    hour = 3600 * preset.control.control_hz
    steps = {skill: sum(e["length"] for e in listed) for skill, listed in collected.episodes.items()}
    return {
        "hours": sum(steps.values()) / hour,
        "hours_by_skill": {skill: count / hour for skill, count in steps.items()},
        "episodes": sum(map(len, collected.episodes.values())),
        "rejected_episodes": collected.rejected,
        "kept_share": collected.kept_steps / max(1, collected.simulated_steps),
        "kept_steps_per_s": collected.kept_steps / max(collected.seconds, 1e-9),
        "units": collected.units,
        "planned_units": collected.planned_units,
    }


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
    return {name: str(v) if isinstance(v, Path) else v for name, v in dataclasses.asdict(options).items()}
