"""Plan first, then act: states are denoised by themselves, and the action is told from the finished plan.

States attend to no action (METHOD 2.3), so a plan of states can be made, and guided, without action tokens.
Then the actions are denoised from pure noise with the planned states held. So the executed action is the one
that leads into the guided plan, and what earlier actions were cannot speak against it: in the published loops
states and actions come down together, and the action follows what the plan was before guidance had moved it.
A call without action tokens is also cheaper, and those for the action need no state tokens: what they see of
the plan does not change.

From the second control step on, the plan starts from the last one: moved to the new character frame, shifted
by one step, and noised to ``PlanningConfig.start_level``. That keeps what guidance had reached.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import torch

from beyondmimic_data.config import PlanningConfig
from beyondmimic_data.diffusion.frames import Frames
from beyondmimic_data.diffusion.policy import DiffusionPolicy
from beyondmimic_data.diffusion.representation import character_frame
from beyondmimic_data.diffusion.sampler import Guidance, Keyframes, Noise, NoiseTable, Plan, Window, denoise
from beyondmimic_data.errors import ConfigError


def state_table(window: int, steps: int, calls: int, start: int, fresh: int) -> NoiseTable:
    """Return the levels of one plan of so many states, and no action.

    They fall evenly from ``start`` to 0, the last ``fresh`` ones, which are pure noise, from ``steps``.
    """
    states = _fall(start, calls)[:, None].repeat(1, window)
    states[:, window - fresh :] = _fall(steps, calls)[:, None]
    return NoiseTable(states, torch.zeros(calls + 1, 0, dtype=torch.long), (0,) * calls)


def _fall(start: int, calls: int) -> torch.Tensor:
    """Return (calls + 1,) levels from ``start`` evenly to 0."""
    return torch.linspace(start, 0, calls + 1).round().long()


def _begun_anew(first: NoiseTable, later: NoiseTable, new: torch.Tensor) -> NoiseTable:
    """Return the table of B plans of which those that are ``new`` (B,) begin as the first one did."""
    states = torch.where(new[:, None], first.states[:, None], later.states[:, None])
    return NoiseTable(states, later.actions, later.counts)


class PlanFirstSampler:
    """Plans at every control step of one run of B robots: states first, then the action."""

    def __init__(self, policy: DiffusionPolicy, noise: Noise, config: PlanningConfig) -> None:
        """Bind a policy in evaluation mode and a source of noise.

        Raises:
            ConfigError: a level or a number of calls that the policy's schedule has not, more actions to
                execute than were trained, or full attention.
        """
        policy.require_differentiated("the sampler plan_first")
        steps, window = policy.config.denoise_steps, policy.config.window
        for name, low, high in (
            ("start_level", 1, steps),
            ("state_calls", 1, steps),
            ("action_calls", 1, steps),
            ("execute", 1, policy.config.action_horizon + 1),
        ):
            if not low <= getattr(config, name) <= high:
                found = getattr(config, name)
                raise ConfigError(f"closed_loop.planning.{name}", found, f"{low} to {high}")
        self.policy, self.noise, self.execute = policy, noise, config.execute
        self.num_actions = policy.current + self.execute
        self.first, self.later = (
            state_table(window, steps, config.state_calls, start, self.execute)
            for start in (steps, config.start_level)
        )
        falling = _fall(steps, config.action_calls)[:, None]
        self.action_levels = falling.expand(-1, self.num_actions).to(policy.device)
        self._last: Plan | None = None
        self._forgotten: set[int] = set()

    def reset(self) -> None:
        """Forget the last plan; the next one starts from noise."""
        self._last = None

    def forget(self, ids: Sequence[int]) -> None:
        """Forget the last plan of some robots; their next one starts from noise, the others' do not.

        Raises:
            ConfigError: several actions of a plan are executed, so that no new one is due for all at once.
        """
        if self.execute > 1:
            raise ConfigError("closed_loop.planning.execute", self.execute, "1, to restart robots")
        self._forgotten.update(int(i) for i in ids)

    def plan(
        self, history: Frames, guidance: Guidance | None = None, keyframes: Keyframes | None = None
    ) -> Plan:
        """Denoise one window a robot; ``history`` is (B, past + 1, ...), the same robots at every call."""
        policy, batch = self.policy, len(history)
        states = self.noise((batch, policy.config.window, policy.emphasis.dim_out))
        actions = self.noise((batch, self.num_actions, policy.num_joints))
        table = self.first
        if self._last is not None:
            table, last = self.later, self._last
            frame = character_frame(history, policy.current)
            moved = policy.representation.rebase(last.features, last.frame, frame)
            gone = moved[:, -1:].expand(-1, self.execute, -1)  # their level is noise alone
            shifted = torch.cat([moved[:, self.execute :], gone], 1)
            levels = table.states[0].to(policy.device).expand(batch, -1)
            kept = policy.schedule.add_noise(policy.encode_states(shifted), states, levels)
            if self._forgotten:
                new = torch.zeros(batch, dtype=torch.bool)
                new[sorted(self._forgotten)] = True
                table = _begun_anew(self.first, self.later, new)
                kept = torch.where(new.to(policy.device)[:, None, None], states, kept)
            states = kept
        self._forgotten.clear()
        window = Window(states, actions[:, :0])
        plan = denoise(policy, window, table, history, self.noise, guidance, keyframes)
        told = policy.decode_actions(self._actions(window.states, actions))
        self._last = dataclasses.replace(plan, actions=told, calls=plan.calls + len(self.action_levels) - 1)
        return self._last

    @torch.no_grad()
    def _actions(self, states: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """Denoise actions (B, n, J) from pure noise beside clean states (B, T, D')."""
        policy, batch = self.policy, len(states)
        seen = policy.see_states(
            states, torch.zeros(states.shape[:2], dtype=torch.long, device=policy.device)
        )
        for level, next_level in itertools.pairwise(self.action_levels):
            clean = policy.predict_actions(seen, actions, level.expand(batch, -1))
            mean, std = policy.schedule.posterior(actions, clean.clamp(-1, 1), level, next_level)
            actions = mean + std * self.noise(tuple(mean.shape))
        return actions
