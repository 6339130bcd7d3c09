"""One unit of collection: a pure function of policy, clips, configuration and unit number.

Row t of a unit holds the state read before the action of t acts (``columns`` names the order). Every episode
that was started is finished, so that a unit's size does not favour short episodes; the last one is cut where
the unit is full.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch

from beyondmimic_data.config import Preset, RandomisationConfig
from beyondmimic_data.motions.clip import Clip
from beyondmimic_data.robots import g1_facts
from beyondmimic_data.rollouts.noise import ActionNoise
from beyondmimic_data.sim import randomisation as rand
from beyondmimic_data.sim.mujoco_backend import MujocoBackend
from beyondmimic_data.tracking import task
from beyondmimic_data.tracking.policy import TrackingPolicy
from beyondmimic_data.tracking.world import TrackingWorld

ROW_COLUMNS: tuple[tuple[str, int], ...] = (
    ("root_pos_w", 3),
    ("root_quat_w", 4),
    ("root_lin_vel_w", 3),
    ("root_ang_vel_w", 3),
    ("body_pos_w", 90),
    ("body_lin_vel_w", 90),
    ("joint_pos", 29),
    ("joint_vel", 29),
    ("action_clean", 29),
    ("action_cmd", 29),
    ("foot_contact", 2),
    ("phase", 1),
    ("clip_id", 1),
)
"""What a row holds, in order, with widths."""
MOST_SIMULATED = 20
"""Steps simulated for one unit, in units: a policy that only falls must not keep its collector for ever."""
ROW_WIDTH = sum(width for _, width in ROW_COLUMNS)

MIN_KEPT_SHARE = 0.2
"""A unit stops after simulating capacity / share steps, however few it kept."""


class UnitSink(Protocol):
    """Where finished units go."""

    def write_unit(self, unit: int, rows: np.ndarray, episodes: list[dict[str, Any]]) -> None:
        """Store one unit; a second call with the same bytes changes nothing."""
        ...


@dataclasses.dataclass(frozen=True)
class Unit:
    """What one unit yielded."""

    rows: np.ndarray
    """(n, 313) float32, kept episodes one after the other."""
    episodes: list[dict[str, Any]]
    """One index row a kept episode; ``start_row`` counts from the unit's first row."""
    simulated_steps: int
    """Control steps simulated for it."""
    rejected: int
    """Episodes that fell too early to be kept."""


@dataclasses.dataclass
class _Running:
    """The episode that an environment is playing."""

    number: int
    first_tick: int
    start_frame: int
    seed: tuple[int, ...]
    noise_scale: float
    draw: rand.Randomisation


def usable_ranges(ranges: RandomisationConfig, max_latency_ms: float) -> RandomisationConfig:
    """Cut the latency range where the policy's gate showed that it no longer holds."""
    low, high = ranges.latency_ms
    return dataclasses.replace(ranges, latency_ms=(low, max(min(high, max_latency_ms), low)))


class UnitCollector:
    """Collects units of one skill; a unit's bytes depend on its number alone, not on the units before it."""

    def __init__(
        self, policy: TrackingPolicy, clips: Sequence[Clip], preset: Preset, skill: str, max_latency_ms: float
    ) -> None:
        """Prepare policy, clips and ranges; the simulator is built anew for every unit."""
        self.policy, self.clips, self.preset, self.skill = policy, clips, preset, skill
        self.config = preset.rollouts
        self.ranges = usable_ranges(preset.randomisation, max_latency_ms)
        self._episode_steps = round(self.config.episode_seconds * preset.control.control_hz)

    def collect(self, unit: int) -> Unit:
        """Simulate one unit on one physics thread."""
        return UnitRun(self, unit).run()


class UnitRun:
    """One unit while it is collected."""

    def __init__(self, collector: UnitCollector, unit: int) -> None:
        self.c, self.unit = collector, unit
        config, preset = collector.config, collector.preset
        self.n = config.num_envs
        self.backend = backend = MujocoBackend(self.n, preset.control, num_threads=1)
        mixed = int(np.random.SeedSequence([config.seed, unit]).generate_state(1)[0])
        self.world = TrackingWorld(
            backend, collector.clips, preset.control, preset.task, collector.ranges, seed=mixed
        )
        self.noise = ActionNoise(config, self.n, mixed + 1)
        self.feet = torch.tensor([backend.contact_bodies.index(name) for name in g1_facts.FOOT_BODIES])
        self.ticks: list[np.ndarray] = []
        self.errors: list[np.ndarray] = []
        self.running: list[_Running | None] = [None] * self.n
        self.finished: dict[int, tuple[np.ndarray, dict[str, Any]]] = {}
        self.started = self.rejected = self.kept_steps = 0
        self.hz = preset.control.control_hz

    def run(self) -> Unit:
        """Play episodes until those finished and running fill the unit; then let the running ones end."""
        self._start(np.arange(self.n))
        capacity = self.c.config.chunk_steps
        most_ticks = MOST_SIMULATED * capacity // self.n
        while any(r is not None for r in self.running):
            ended = self._tick()
            in_flight = sum(len(self.ticks) - r.first_tick for r in self.running if r is not None)
            if len(ended) and self.kept_steps + in_flight < capacity and len(self.ticks) < most_ticks:
                self._start(ended)
            else:
                self.world.advance_reference()
        return self._assemble(capacity)

    def _start(self, ids: np.ndarray) -> None:
        """Begin a new episode in each environment."""
        config, preset = self.c.config, self.c.preset
        seeds = [(config.seed, self.unit, self.started + i) for i in range(len(ids))]
        generators = [np.random.default_rng(seed) for seed in seeds]
        draw = rand.draw(self.c.ranges, preset.control, generators)
        frames = np.array([self._start_frame(g) for g in generators])
        scales = np.array([g.uniform(*config.noise_scale) for g in generators])
        self.world.randomise(ids, draw)
        self.world.reset(ids, frames, generators)
        self.noise.reset(ids, scales)
        for i, env in enumerate(ids):
            self.running[env] = _Running(
                self.started + i,
                len(self.ticks),
                int(frames[i]),
                seeds[i],
                float(scales[i]),
                draw.take(np.array([i])),
            )
        self.started += len(ids)
        self.world.refresh()

    def _start_frame(self, rng: np.random.Generator) -> int:
        """Draw a start uniformly over the seconds of all clips that leave room for a kept episode."""
        library = self.world.library
        room = max(round(self.c.config.min_episode_seconds * self.hz), 1)
        choices = np.maximum(library.lengths.numpy() - 1 - room, 1)
        pick = int(rng.integers(choices.sum()))
        clip = int(np.searchsorted(np.cumsum(choices), pick, side="right"))
        return int(library.starts[clip]) + pick - int(choices[:clip].sum())

    def _tick(self) -> np.ndarray:
        """Record, act and step once; return the environments whose episode ended."""
        world = self.world
        frame = world.frame - 1
        clean = self.c.policy.act(world.observe_actor())
        command = clean + self.noise.sample()
        state = world.state
        row = torch.cat(
            [
                state.root_pos_w,
                state.root_quat_w,
                state.root_lin_vel_w,
                state.root_ang_vel_w,
                state.body_pos_w.flatten(1),
                state.body_lin_vel_w.flatten(1),
                state.joint_pos,
                state.joint_vel,
                clean,
                command,
                (state.contact_force[:, self.feet] > self.c.preset.task.contact_force_threshold).float(),
                world.library.phase(frame)[:, None],
                world.library.clip_of_frame[frame][:, None].float(),
            ],
            dim=-1,
        )
        self.ticks.append(row.numpy())
        ends = world.advance(command, clean)
        self.errors.append(task.body_pos_error(self.world.tracked).numpy())
        ended = []
        fell, clip_end, causes = (
            ends.fell.numpy(),
            ends.clip_end.numpy(),
            ends.causes.float().argmax(-1).numpy(),
        )
        for env, episode in enumerate(self.running):
            if episode is None:
                continue
            length = len(self.ticks) - episode.first_tick
            if fell[env]:
                self._finish(env, episode, f"fall:{task.TERMINATIONS[causes[env]]}")
            elif clip_end[env]:
                self._finish(env, episode, "clip_end")
            elif length >= self.c._episode_steps:
                self._finish(env, episode, "time_out")
            else:
                continue
            ended.append(env)
        return np.array(ended, dtype=np.int64)

    def _finish(self, env: int, episode: _Running, termination: str) -> None:
        """Keep an ended episode, less what led to its fall, or reject it."""
        self.running[env] = None
        config = self.c.config
        raw = len(self.ticks) - episode.first_tick
        length = (
            raw - round(config.drop_before_fall_seconds * self.hz) if termination.startswith("fall") else raw
        )
        if length < round(config.min_episode_seconds * self.hz):
            self.rejected += 1
            return
        span = slice(episode.first_tick, episode.first_tick + length)
        rows = np.stack([tick[env] for tick in self.ticks[span]])
        errors = np.array([tick[env] for tick in self.errors[span]])
        clip = int(self.world.library.clip_of_frame[episode.start_frame])
        draw = episode.draw
        self.kept_steps += length
        self.finished[episode.number] = (
            rows,
            {
                "skill": self.c.skill,
                "clip": self.world.library.clip_names[clip],
                "unit": self.unit,
                "length": length,
                "start_frame": episode.start_frame - int(self.world.library.starts[clip]),
                "seed": "-".join(map(str, episode.seed)),
                "termination": termination,
                "raw_length": raw,
                "verdict": "kept",
                "latency_ms": float(draw.latency_steps[0] * self.c.preset.control.physics_dt * 1e3),
                "friction": float(draw.friction[0]),
                "damping_scale": float(draw.damping_scale[0]),
                "noise_std": episode.noise_scale,
                "pushes": int(self.world.pushes[env]),
                "mass_scale": draw.mass_scale[0].tolist(),
                "joint_offset": draw.joint_offset[0].tolist(),
                "com_offset": draw.com_offset[0].tolist(),
                "body_pos_err_m": float(errors.mean()),
            },
        )

    def _assemble(self, capacity: int) -> Unit:
        """Lay the kept episodes out in the order in which they were planned, cut at the unit's capacity."""
        least = round(self.c.config.min_episode_seconds * self.hz)
        parts, episodes, used = [], [], 0
        for number in sorted(self.finished):
            rows, entry = self.finished[number]
            room = capacity - used
            if room < least:
                break
            rows = rows[:room]
            entry |= {
                "episode_id": f"{self.c.skill}-{self.unit:05d}-{number:06d}",
                "start_row": used,
                "length": len(rows),
            }
            parts.append(rows)
            episodes.append(entry)
            used += len(rows)
        rows = np.concatenate(parts) if parts else np.empty((0, ROW_WIDTH), np.float32)
        return Unit(rows.astype(np.float32), episodes, len(self.ticks) * self.n, self.rejected)


def units_for_hours(hours: float, preset: Preset) -> int:
    """Return how many units hold at least ``hours`` of kept steps, at least one."""
    return max(1, -(-round(hours * 3600 * preset.control.control_hz) // preset.rollouts.chunk_steps))
