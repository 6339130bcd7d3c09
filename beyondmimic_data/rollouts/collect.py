"""One unit of collection: a pure function of policy, clips, configuration and unit number.

Row t of a unit holds the state read before the action of t acts (``ROW_COLUMNS`` names the order). Every
episode that was started is finished, so that a unit's size does not favour short episodes; the last one is
cut where the unit is full.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from beyondmimic_data.config import Preset, RandomisationConfig
from beyondmimic_data.diffusion.policy import DiffusionPolicy
from beyondmimic_data.motions.clip import Clip
from beyondmimic_data.robots import g1_facts
from beyondmimic_data.rollouts.noise import ActionNoise, EpisodeNoise
from beyondmimic_data.rollouts.starts import Start, StartSampler
from beyondmimic_data.rollouts.student import Student
from beyondmimic_data.rollouts.student_source import is_student_unit
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
    ("action_noise_free", 29),
    ("foot_contact", 2),
    ("phase", 1),
    ("clip_id", 1),
)
"""What a row holds, in order, with widths."""
MOST_SIMULATED = 20
"""Steps simulated for one unit, in units: a policy that only falls must not keep its collector for ever."""
SHORTEST_SHARE = 2
"""Length down to which the last episodes of a unit are shortened, in shortest episodes."""
ROW_WIDTH = sum(width for _, width in ROW_COLUMNS)
ROW_SLICES: dict[str, slice] = {
    name: slice(stop - width, stop)
    for (name, width), stop in zip(ROW_COLUMNS, np.cumsum([w for _, w in ROW_COLUMNS]).tolist(), strict=True)
}
"""Name of each quantity and its slice of a row."""


class UnitSink(Protocol):
    """Where finished units go."""

    def write_unit(self, unit: int, result: "Unit") -> None:
        """Store one unit; a second call with the same bytes changes nothing."""
        ...


@dataclasses.dataclass(frozen=True)
class Unit:
    """What one unit yielded."""

    pieces: list[np.ndarray]
    """(length, 342) float32 each, the kept episodes; not joined, for a unit is large."""
    episodes: list[dict[str, Any]]
    """One index row a kept episode; ``start_row`` counts from the unit's first row."""
    simulated_steps: int
    """Control steps simulated for it."""
    rejected: int
    """Episodes that fell too early to be kept."""

    @property
    def kept_steps(self) -> int:
        """Rows of all kept episodes."""
        return sum(len(piece) for piece in self.pieces)


@dataclasses.dataclass(frozen=True)
class _Running:
    """The episode that an environment is playing."""

    number: int
    first_tick: int
    start: Start
    seed: tuple[int, ...]
    noise: EpisodeNoise
    draw: rand.Randomisation
    rows: np.ndarray
    """(start.steps, 342) float32, filled as it plays."""
    errors: np.ndarray
    """(start.steps,) m, mean body position error."""
    driven: np.ndarray
    """(start.steps,) bool, which steps the student drove."""


def usable_ranges(ranges: RandomisationConfig, max_latency_ms: float) -> RandomisationConfig:
    """Cut the latency range where the policy's gate showed that it no longer holds."""
    low, high = ranges.latency_ms
    return dataclasses.replace(ranges, latency_ms=(low, max(min(high, max_latency_ms), low)))


class UnitCollector:
    """Collects units of one skill; a unit's bytes depend on its number alone, not on the units before it."""

    def __init__(
        self,
        policy: TrackingPolicy,
        clips: Sequence[Clip],
        preset: Preset,
        skill: str,
        max_latency_ms: float,
        student: Path | None = None,
    ) -> None:
        """Prepare policies, clips and ranges; the simulator is built anew for every unit.

        ``student`` is the folder of a diffusion policy that drives for bursts, if any does.
        """
        self.policy, self.clips, self.preset, self.skill = policy, clips, preset, skill
        self.student = None if student is None else DiffusionPolicy.load(student).eval()
        self.config = preset.rollouts
        self.ranges = usable_ranges(preset.randomisation, max_latency_ms)

    def collect(self, unit: int) -> Unit:
        """Simulate one unit on one physics thread."""
        return UnitRun(self, unit).run()


class UnitRun:
    """One unit while it is collected."""

    def __init__(self, collector: UnitCollector, unit: int) -> None:
        """Build the simulator; nothing runs yet."""
        self.c, self.unit = collector, unit
        config, preset = collector.config, collector.preset
        self.n, self.capacity, self.hz = config.num_envs, config.chunk_steps, preset.control.control_hz
        self.least = round(config.min_episode_seconds * self.hz)
        self.backend = backend = MujocoBackend(self.n, preset.control, num_threads=1)
        mixed = int(np.random.SeedSequence([config.seed, unit]).generate_state(1)[0])
        self.world = TrackingWorld(
            backend, collector.clips, preset.control, preset.task, collector.ranges, seed=mixed
        )
        self.noise = ActionNoise(config, self.n, mixed + 1)
        self.student = None
        if collector.student is not None and is_student_unit(config, unit):
            self.student = Student(collector.student, preset, self.world, mixed + 2)
        self.starts = StartSampler(self.world.library.lengths.numpy(), config, self.hz)
        self.feet = torch.tensor([backend.contact_bodies.index(name) for name in g1_facts.FOOT_BODIES])
        self.ticks = 0
        self.running: list[_Running | None] = [None] * self.n
        self.over_at = np.full(self.n, -1)
        """Tick at which each environment's episode is over at the latest; -1 where none runs."""
        self.finished: dict[int, tuple[np.ndarray, dict[str, Any]]] = {}
        self.started = self.rejected = self.simulated_steps = 0
        self.expected_steps = 0
        """Steps kept so far, and those that running episodes bring if none falls."""

    @torch.no_grad()
    def run(self) -> Unit:
        """Play episodes until those finished and running fill the unit, and let the running ones end."""
        self._start(np.arange(self.n))
        while (ids := np.flatnonzero(self.over_at >= 0)).size:
            ended = self._tick(ids)
            if not self._start(ended):
                self.world.advance_reference()
        return self._assemble()

    def _start(self, ids: np.ndarray) -> bool:
        """Begin new episodes in environments, as many as the unit has room for; tells whether any began."""
        config, preset = self.c.config, self.c.preset
        enough = self.simulated_steps >= MOST_SIMULATED * self.capacity
        longest = self._longest_now()
        episodes, generators = [], []
        for _ in ids:
            if enough or self.expected_steps + self.least > self.capacity:
                break
            seed = (config.seed, self.unit, self.started)
            rng = np.random.default_rng(seed)
            start = self.starts.draw(rng, longest)
            draw = rand.draw(self.c.ranges, preset.control, [rng])
            noise = EpisodeNoise.draw(config, rng)
            rows, errors = np.empty((start.steps, ROW_WIDTH), np.float32), np.empty(start.steps, np.float32)
            driven = np.zeros(start.steps, bool)
            episodes.append(
                _Running(self.started, self.ticks, start, seed, noise, draw, rows, errors, driven)
            )
            generators.append(rng)
            self.started += 1
            self.expected_steps += start.steps
        if not episodes:
            return False
        ids, starts = ids[: len(episodes)], [episode.start for episode in episodes]
        self.world.randomise(ids, rand.join([episode.draw for episode in episodes]))
        first = self.world.library.starts.numpy()
        self.world.reset(
            ids,
            np.array([first[start.clip] + start.frame for start in starts]),
            generators,
            np.where([start.recovery for start in starts], config.recovery_scale, 1.0),
        )
        self.noise.reset(ids, [episode.noise for episode in episodes])
        if self.student is not None:
            self.student.forget(ids)
        for env, episode in zip(ids, episodes, strict=True):
            self.running[env] = episode
            self.over_at[env] = episode.first_tick + episode.start.steps
        self.world.refresh()
        return True

    def _longest_now(self) -> int:
        """Return how long an episode may be that begins now: an even share of the rows still to come.

        Without this the last episodes would run on, with most environments idle.
        """
        share = -(-(self.capacity - self.expected_steps) // self.n)
        return max(share, SHORTEST_SHARE * self.least)

    def _tick(self, ids: np.ndarray) -> np.ndarray:
        """Record, act and step the running environments once; return those whose episode ended."""
        world = self.world
        frame = world.frame - 1
        noisy, exact = world.observe_actor_twice()
        clean = self.c.policy.act(noisy)
        command, driven = clean + self.noise.sample(), np.zeros(self.n, bool)
        if self.student is not None:
            command, by_student = self.student.take_over(command)
            driven = by_student.numpy()
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
                self.c.policy.act(exact),
                (state.contact_force[:, self.feet] > self.c.preset.task.contact_force_threshold).float(),
                world.library.phase(frame)[:, None],
                world.library.clip_of_frame[frame][:, None].float(),
            ],
            dim=-1,
        )
        rows = row.numpy()
        ends = world.advance(command, clean, ids)
        self.simulated_steps += len(ids)
        errors = task.body_pos_error(world.tracked).numpy()
        for env in ids:
            episode = self.running[env]
            assert episode is not None, "ids are the running ones"
            tick = self.ticks - episode.first_tick
            episode.rows[tick], episode.errors[tick] = rows[env], errors[env]
            episode.driven[tick] = driven[env]
        self.ticks += 1
        fell = ends.fell.numpy()
        over = fell | ends.clip_end.numpy() | (self.ticks >= self.over_at)
        ended = ids[over[ids]]
        for env in ended:
            if fell[env]:
                self._finish(env, f"fall:{task.TERMINATIONS[int(ends.causes[env].int().argmax())]}")
            else:
                self._finish(env, "clip_end" if ends.clip_end[env] else "time_out")
        return ended

    def _finish(self, env: int, termination: str) -> None:
        """Keep an ended episode, less what led to its fall, or reject it."""
        episode, config = self.running[env], self.c.config
        assert episode is not None, "only a running episode ends"
        self.running[env], self.over_at[env] = None, -1
        if self.student is not None:
            self.student.forget(np.array([env]))
        raw = self.ticks - episode.first_tick
        lost = round(config.drop_before_fall_seconds * self.hz) if termination.startswith("fall") else 0
        length = raw - lost
        if length < self.least:
            self.rejected += 1
            self.expected_steps -= episode.start.steps
            return
        self.expected_steps += length - episode.start.steps
        pushes = [push for push in self.world.pushes[env] if push.seconds < length / self.hz]
        start, draw = episode.start, episode.draw
        self.finished[episode.number] = (
            episode.rows[:length],
            {
                "episode_id": f"{self.c.skill}-{self.unit:05d}-{episode.number:06d}",
                "skill": self.c.skill,
                "clip": self.world.library.clip_names[start.clip],
                "unit": self.unit,
                "start_frame": start.frame,
                "recovery": start.recovery,
                "seed": "-".join(map(str, episode.seed)),
                "termination": termination,
                "raw_length": raw,
                "verdict": "kept",
                "latency_ms": float(draw.latency_steps[0] * self.c.preset.control.physics_dt * 1e3),
                "friction": float(draw.friction[0]),
                "damping_scale": float(draw.damping_scale[0]),
                "stiffness_scale": float(draw.stiffness_scale[0]),
                "noise_kind": episode.noise.kind,
                "noise_std": episode.noise.scale,
                "student_share": float(episode.driven[:length].mean()),
                "pushes": len(pushes),
                "push_seconds": [push.seconds for push in pushes],
                "push_velocity": [float(v) for p in pushes for v in (*p.lin_vel, *p.ang_vel)],
                "mass_scale": draw.mass_scale[0].tolist(),
                "joint_offset": draw.joint_offset[0].tolist(),
                "com_offset": draw.com_offset[0].tolist(),
                "body_pos_err_m": float(episode.errors[:length].mean()),
            },
        )

    def _assemble(self) -> Unit:
        """Lay the kept episodes out in the order in which they were planned, cut at the unit's capacity."""
        pieces, episodes, used = [], [], 0
        for number in sorted(self.finished):
            rows, entry = self.finished[number]
            length = min(len(rows), self.capacity - used)
            if length < self.least:
                break
            pieces.append(rows[:length])
            episodes.append({**entry, "start_row": used, "length": length})
            used += length
        return Unit(pieces, episodes, self.simulated_steps, self.rejected)


def units_for_hours(hours: float, preset: Preset) -> int:
    """Return how many units hold at least ``hours`` of kept steps, at least one.

    A unit ends with up to the shortest episode less than it has room for.
    """
    control, config = preset.control, preset.rollouts
    full = config.chunk_steps - round(config.min_episode_seconds * control.control_hz) + 1
    return max(1, -(-round(hours * 3600 * control.control_hz) // max(full, 1)))
