"""Rollouts of a run, in one file of rows: the teacher's, then those with bursts of a student's."""

import concurrent.futures
import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beyondmimic_data.config import SYNTH_KEYS, Preset, Range
from beyondmimic_data.errors import ConfigError
from beyondmimic_data.files import read_json
from beyondmimic_data.motions.synth import clip_configs, write_clip
from beyondmimic_data.rollouts import pool
from beyondmimic_data.rollouts.collect import ROW_SLICES, ROW_WIDTH, units_for_hours, usable_ranges
from beyondmimic_data.rollouts.workers import CollectionJob
from beyondmimic_data.tracking import shipped
from beyondmimic_data.tracking.policy_files import EVALUATION
from pipelines.stage2_bare.options import Options
from storage.device_windows import DeviceWindows

if TYPE_CHECKING:
    import torch

log = logging.getLogger("beyondmimic.stage2_bare")

MOST_OF_MEMORY = 0.5
"""Share of the free memory, the GPU's or the machine's, that rows may take."""


class Rollouts:
    """Collects rounds of rollouts on the cores of this machine."""

    def __init__(self, options: Options, preset: Preset, scratch: Path, device: "torch.device") -> None:
        """Make the file for the rows of all rounds; nothing is collected yet.

        Args:
            options: hours and skills.
            preset: every number.
            scratch: folder for clips and rows.
            device: where windows are to lie.

        Raises:
            ConfigError: memory has no room for so many hours.
        """
        self.options, self.preset, self.scratch, self.device = options, preset, scratch, device
        self.shares = options.skill_shares
        self.teacher = shipped.FOLDER / shipped.FOUNDATION
        self.usable_ms = float(read_json(self.teacher / EVALUATION)["max_latency_ms"])
        self._planned = [self._units(options.hours)]
        if options.student_hours > 0:
            self._planned.append(self._units(options.student_hours))
        units, rows = sum(sum(counts.values()) for counts in self._planned), preset.rollouts.chunk_steps
        hours = options.hours + options.student_hours
        dtype = row_type(units * rows * ROW_WIDTH, _free_memory(device), hours)
        self.halved = dtype == "float16"
        """Whether rows are float16, for want of memory."""
        self._file = pool.RowFile(scratch / "rows.npy", units, rows, dtype)
        self._file.create()
        self._clips: dict[str, tuple[Path, ...]] = {}
        self.rounds: list[pool.Collected] = []
        """What was collected so far."""

    @property
    def latency_ms(self) -> Range:
        """Range of the latency in the data, ms."""
        return usable_ranges(self.preset.randomisation, self.usable_ms).latency_ms

    def _units(self, hours: float) -> dict[str, int]:
        return {skill: units_for_hours(share * hours, self.preset) for skill, share in self.shares.items()}

    def synthesise(self) -> None:
        """Synthesise the clips of all skills, a clip a process."""
        running = []
        with pool.open_pool(self.options.num_cores) as processes:
            # Long clips begin first.
            for skill in sorted(self.shares, key=SYNTH_KEYS.index, reverse=True):
                name = skill.removeprefix("synth__")
                configs = clip_configs(name, self.preset.synth)
                self._clips[skill] = tuple(
                    self.scratch / f"{skill}__{number}.npz" for number in range(1, len(configs) + 1)
                )
                for config, path in zip(configs, self._clips[skill], strict=True):
                    hz = self.preset.control.control_hz
                    running.append(processes.submit(write_clip, name, config, hz, path))
            for future in concurrent.futures.as_completed(running):
                future.result()

    def collect(self, until: float, student: Path | None = None) -> pool.Collected:
        """Collect the next round: the first is the teacher's, in the second the student drives for bursts.

        Args:
            until: value of ``time.monotonic`` from which on no unit begins.
            student: folder of the policy that drives.
        """
        preset = self.preset
        if student is not None:
            rollouts = dataclasses.replace(preset.rollouts, student=str(student), student_share=1.0)
            preset = dataclasses.replace(preset, rollouts=rollouts)
        jobs = {
            s: CollectionJob(s, self._clips[s], self.teacher, self.usable_ms, preset, student)
            for s in self.shares
        }
        # A unit's number decides its seed: no round repeats another's.
        number = len(self.rounds)
        before = {s: sum(counts[s] for counts in self._planned[:number]) for s in self.shares}
        units = [(s, before[s] + unit) for s, unit in pool.interleave(self._planned[number])]
        cores = self.options.num_cores
        with pool.open_pool(cores) as processes:
            collected = pool.collect(
                processes,
                cores,
                jobs,
                units,
                self._file,
                until=until,
                first_slot=sum(before.values()),
                progress=log.info,
            )
        self.rounds.append(collected)
        return collected

    def windows(self) -> DeviceWindows:
        """Return windows of all rounds on the device."""
        import torch

        dataset, config = self.preset.dataset, self.preset.diffusion
        episodes = {
            skill: [
                (e["episode_id"], e["start_row"], e["length"])
                for one in self.rounds
                for e in one.episodes[skill]
            ]
            for skill in self.shares
        }
        return DeviceWindows(
            torch.from_numpy(self._file.rows()).to(self.device),
            ROW_SLICES,
            episodes,
            config.window,
            validation_fraction=dataset.validation_fraction,
            split_seed=dataset.split_seed,
            skill_weights=config.skill_weights,
        )

    def figures(self) -> list[dict[str, Any]]:
        """Return the figures of each round."""
        return [_figures(collected, self.preset.control.control_hz) for collected in self.rounds]


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


def _figures(collected: pool.Collected, hz: float) -> dict[str, Any]:
    steps: Mapping[str, int] = {
        skill: sum(e["length"] for e in listed) for skill, listed in collected.episodes.items()
    }
    driven = sum(e["length"] * e["student_share"] for listed in collected.episodes.values() for e in listed)
    return {
        "hours": sum(steps.values()) / hz / 3600,
        "hours_by_skill": {skill: count / hz / 3600 for skill, count in steps.items()},
        "student_share": driven / max(1, collected.kept_steps),
        "episodes": sum(map(len, collected.episodes.values())),
        "rejected_episodes": collected.rejected,
        "kept_share": collected.kept_steps / max(1, collected.simulated_steps),
        "kept_steps_per_s": collected.kept_steps / max(collected.seconds, 1e-9),
        "units": collected.units,
        "planned_units": collected.planned_units,
    }
