"""The tracking task bound to a back end: reset, step, observe; for training, gates and collection."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from beyondmimic_data import rotations
from beyondmimic_data.config import ControlConfig, RandomisationConfig, TaskConfig
from beyondmimic_data.motions.clip import Clip
from beyondmimic_data.robots import g1_facts
from beyondmimic_data.sim import randomisation as rand
from beyondmimic_data.sim.backend import Backend, RobotState
from beyondmimic_data.tracking import task
from beyondmimic_data.tracking.reference import MotionLibrary, ReferenceFrame


@dataclasses.dataclass
class Ends:
    """Which of N environments a control step ended."""

    causes: torch.Tensor
    """(N, 4) causes of a fall, in the order of ``task.TERMINATIONS``."""
    clip_end: torch.Tensor
    """(N,) the reference has no further frame."""

    @property
    def fell(self) -> torch.Tensor:
        """(N,) whether any cause ended the episode."""
        return self.causes.any(-1)


@dataclasses.dataclass
class Step(Ends):
    """What one control step did to N environments that learn."""

    reward: torch.Tensor
    """(N,) weighted sum of the terms, times the control period."""
    reward_terms: dict[str, torch.Tensor]
    """Each (N,), weighted, per second."""


@dataclasses.dataclass(frozen=True)
class Push:
    """A velocity that was added to a floating base, world frame."""

    seconds: float
    """Time since the reset."""
    lin_vel: np.ndarray
    """(3,) m/s."""
    ang_vel: np.ndarray
    """(3,) rad/s."""


class TrackingWorld:
    """N environments that track clips.

    At a reset the robot stands at frame f and the command is frame f + 1: where it should be after the next
    control step. After a step the state is compared with the command that led to it, which then advances.
    """

    def __init__(
        self,
        backend: Backend,
        clips: Sequence[Clip],
        control: ControlConfig,
        config: TaskConfig,
        randomisation: RandomisationConfig,
        seed: int,
    ) -> None:
        """Bind clips and a back end; every environment must be reset before it is stepped."""
        self.backend, self.config, self.control, self.ranges = backend, config, control, randomisation
        self.num_envs = backend.num_envs
        self.dt = 1.0 / control.control_hz
        first = backend.read()
        self.bodies = task.TaskBodies.of(backend.body_names, backend.joint_names, first.contact_bodies)
        self.library = MotionLibrary(clips, g1_facts.TRACKED_BODIES, backend.joint_names)
        self.generator = torch.Generator().manual_seed(seed)
        self.rng = np.random.default_rng(seed)
        n, joints = self.num_envs, len(backend.joint_names)
        self.draw = rand.nominal(n)
        self.frame = torch.zeros(n, dtype=torch.long)
        self.last_action = torch.zeros(n, joints)
        self._joint_offset = torch.zeros(n, joints)
        self._latency_s = torch.zeros(n, 1)
        self._next_push = np.full(n, np.inf)
        self._elapsed = np.zeros(n)
        self._sources = [self.rng] * n
        """What each environment's pushes are drawn from."""
        self.pushes: list[list[Push]] = [[] for _ in range(n)]
        """What pushed each environment since its reset."""
        self.state: RobotState = first
        self.reference: ReferenceFrame = self.library.at(self.frame)
        self.tracked = task.anchor_reference(self.state, self.reference, self.bodies)

    def randomise(self, ids: np.ndarray, draw: rand.Randomisation) -> None:
        """Apply new physical parameters to some environments, sorted ids; takes hold at their next reset."""
        for field in dataclasses.fields(draw):
            getattr(self.draw, field.name)[ids] = getattr(draw, field.name)
        self.backend.randomise(ids, draw)
        self._joint_offset[ids] = torch.from_numpy(draw.joint_offset).float()
        self._know_latency(ids)

    def set_latency(self, ids: np.ndarray, steps: np.ndarray) -> None:
        """Give some environments, sorted ids, a new latency (n,) in physics steps alone; it costs little."""
        self.draw.latency_steps[ids] = steps
        self.backend.set_latency(ids, steps)
        self._know_latency(ids)

    def _know_latency(self, ids: np.ndarray) -> None:
        seconds = self.draw.latency_steps[ids] * self.control.physics_dt
        self._latency_s[ids, 0] = torch.from_numpy(seconds).float()

    def reset(
        self,
        ids: np.ndarray,
        frames: np.ndarray,
        generators: Sequence[np.random.Generator] | None = None,
        pose_scale: np.ndarray | None = None,
    ) -> None:
        """Place environments on reference frames, with METHOD 1.6's noise.

        Args:
            ids: sorted environment indices (n,).
            frames: library frame of each, never the last of its clip.
            generators: one source an environment of its noise and pushes, so that a seed decides one episode
                but for what it observes; by default all share the world's own.
            pose_scale: (n,) factor on the noise of base pose and joints, 1 by default.
        """
        if not len(ids):
            return
        n, config = len(ids), self.config
        far = np.ones((n, 1)) if pose_scale is None else np.asarray(pose_scale)[:, None]
        start = torch.from_numpy(np.asarray(frames)).long()
        ref = self.library.at(start)
        pos, quat = ref.body_pos_w[:, 0].numpy().astype(float), ref.body_quat_w[:, 0].numpy().astype(float)
        noise = self._uniform(n, 18 + self.last_action.shape[1], generators)
        pos = pos + far * noise[:, :3] * config.reset_position
        quat = rotations.multiply(
            rotations.from_rotation_vector(far * noise[:, 3:6] * config.reset_rotation), quat
        )
        scale = 1.0 if self.ranges.push else 0.0
        lin_vel = ref.body_lin_vel_w[:, 0].numpy() + scale * noise[:, 6:9] * self.ranges.push_linear
        ang_vel = ref.body_ang_vel_w[:, 0].numpy() + scale * noise[:, 9:12] * self.ranges.push_angular
        joints = ref.joint_pos.numpy() + far * noise[:, 18:] * config.reset_joint
        joints = np.clip(joints, self.bodies.soft_lower.numpy(), self.bodies.soft_upper.numpy())
        self.backend.write(
            ids, pos, rotations.normalize(quat), lin_vel, ang_vel, joints, ref.joint_vel.numpy().astype(float)
        )
        self.frame[ids] = start + 1
        self.last_action[ids] = 0.0
        self._elapsed[ids] = 0.0
        for env, source in zip(ids, [self.rng] * n if generators is None else generators, strict=True):
            self.pushes[env], self._sources[env] = [], source
        self._next_push[ids] = self._push_delay(noise[:, 12]) if self.ranges.push else np.inf

    def _push_delay(self, noise: np.ndarray) -> np.ndarray:
        low, high = self.ranges.push_interval
        return low + (noise + 1) / 2 * (high - low)

    def _uniform(self, n: int, width: int, generators: Sequence[np.random.Generator] | None) -> np.ndarray:
        if generators is None:
            return self.rng.uniform(-1, 1, (n, width))
        return np.stack([g.uniform(-1, 1, width) for g in generators])

    def refresh(self) -> None:
        """Read the back end; call after resets and before ``observe``."""
        self.state = self.backend.read()
        self.reference = self.library.at(self.frame)
        self.tracked = task.anchor_reference(self.state, self.reference, self.bodies)

    def observe(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the actor's noisy observation (N, 160 or 154) and the critic's clean one (N, 287)."""
        terms = self._actor_terms()
        critic = task.critic_terms(terms, self.tracked, self._latency_s, self.bodies)
        return self._noisy(terms), torch.cat(list(critic.values()), dim=-1)

    def observe_actor(self) -> torch.Tensor:
        """Return the actor's noisy observation alone, (N, 160 or 154)."""
        return self._noisy(self._actor_terms())

    def observe_actor_twice(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the actor's observation (N, 160 or 154) with its noise, and the same one without."""
        terms = self._actor_terms()
        return self._noisy(terms), self._joined(terms, noise=False)

    def _actor_terms(self) -> dict[str, torch.Tensor]:
        return task.actor_terms(
            self.state, self.tracked, self.reference, self.last_action, self._joint_offset, self.bodies
        )

    def _noisy(self, terms: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the actor's terms in one row an environment, with METHOD 1.2's noise if the task asks."""
        return self._joined(terms, noise=self.config.observation_noise)

    def _joined(self, terms: dict[str, torch.Tensor], *, noise: bool) -> torch.Tensor:
        """Return the actor's terms in one row an environment."""
        actor = []
        for name, value in terms.items():
            if name in task.STATE_ESTIMATION_TERMS and not self.config.state_estimation:
                continue
            width = task.ACTOR_NOISE.get(name, 0.0) if noise else 0.0
            if width:
                value = value + width * (2 * torch.rand(value.shape, generator=self.generator) - 1)
            actor.append(value)
        return task.limit_anchor_offset(torch.cat(actor, dim=-1), self.last_action.shape[1], self.config)

    def step(self, action: torch.Tensor) -> Step:
        """Advance one control step and reward it; takes and ends what ``advance`` does."""
        last_action = self.last_action
        ends = self.advance(action)
        terms = task.rewards(
            self.state, self.tracked, self.reference, action, last_action, self.bodies, self.config
        )
        reward = torch.stack(list(terms.values())).sum(0) * self.dt
        reward = torch.where(ends.causes[:, -1], torch.zeros_like(reward), reward)
        return Step(ends.causes, ends.clip_end, reward, terms)

    def advance(
        self,
        action: torch.Tensor,
        clean_action: torch.Tensor | None = None,
        ids: np.ndarray | None = None,
    ) -> Ends:
        """Advance one control step; the observation shows its new command after ``advance_reference``.

        Args:
            action: (N, J) executed action.
            clean_action: what the policy itself asked for, remembered as its last one; by default ``action``.
            ids: environments that somebody still looks at, sorted, all by default; others may stand still.
        """
        self._push()
        targets = self.bodies.default_joint_pos + self._joint_offset + self.bodies.action_scale * action
        self.backend.step(targets.numpy().astype(np.float64), ids)
        self._elapsed += self.dt
        self.state = self.backend.read()
        self.tracked = task.anchor_reference(self.state, self.reference, self.bodies)
        causes = task.terminations(self.state, self.tracked, self.reference, self.bodies, self.config)
        clip_end = self.frame >= self.library.last_of_frame[self.frame]
        self.last_action = (action if clean_action is None else clean_action).clone()
        self.frame = torch.where(clip_end, self.frame, self.frame + 1)
        return Ends(causes, clip_end)

    def errors(self) -> dict[str, torch.Tensor]:
        """Return the tracking errors (N,) of the last step; ask before the reference advances."""
        return task.tracking_errors(self.tracked, self.reference, self.state, self.bodies)

    def advance_reference(self) -> None:
        """Point the observation at the new command after ``step`` where no environment was reset."""
        self.reference = self.library.at(self.frame)
        self.tracked = dataclasses.replace(self.tracked, reference=self.reference)

    def _push(self) -> None:
        due = np.flatnonzero(self._elapsed >= self._next_push)
        if not len(due):
            return
        noise = np.stack([self._sources[env].uniform(-1, 1, 7) for env in due])
        linear, angular = noise[:, :3] * self.ranges.push_linear, noise[:, 3:6] * self.ranges.push_angular
        self.backend.push(due, linear, angular)
        for env, lin_vel, ang_vel in zip(due, linear, angular, strict=True):
            self.pushes[env].append(Push(float(self._elapsed[env]), lin_vel, ang_vel))
        self._next_push[due] = self._elapsed[due] + self._push_delay(noise[:, 6])
