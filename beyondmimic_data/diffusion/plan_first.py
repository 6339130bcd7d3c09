"""Plan first, then act: states are denoised by themselves, and the action is told from the finished plan.

States attend to no action (METHOD 2.3), so a plan of states can be made, and guided, without action tokens.
Then the actions are denoised from pure noise with the planned states held. So the executed action is the one
that leads into the guided plan, and what earlier actions were cannot speak against it: in the published loops
states and actions come down together, and the action follows what the plan was before guidance had moved it.
A call without action tokens is also cheaper.

From the second control step on, the plan starts from the last one: moved to the new character frame, shifted
by one step, and noised to ``PlanningConfig.start_level``. That keeps what guidance had reached.
"""

from collections.abc import Sequence

import torch

from beyondmimic_data.config import PlanningConfig
from beyondmimic_data.diffusion.frames import Frames
from beyondmimic_data.diffusion.policy import DiffusionPolicy
from beyondmimic_data.diffusion.representation import character_frame
from beyondmimic_data.diffusion.sampler import Guidance, Keyframes, Noise, NoiseTable, Plan, Window, denoise
from beyondmimic_data.errors import ConfigError


def plan_first_table(
    window: int, actions: int, steps: int, config: PlanningConfig, start: int, fresh: int
) -> NoiseTable:
    """Return the levels of one plan of so many states and actions.

    States fall evenly from ``start`` to ``config.end_level`` in ``config.state_calls`` calls, the last
    ``fresh`` ones, which are pure noise, from ``steps``. Then actions fall from ``steps`` to 0 in
    ``config.action_calls`` calls while the states stay.
    """

    def fall(first: int, last: int, calls: int) -> torch.Tensor:
        return torch.linspace(first, last, calls + 1).round().long()

    held = torch.full((config.action_calls,), config.end_level)
    known = torch.cat([fall(start, config.end_level, config.state_calls), held])
    new = torch.cat([fall(steps, config.end_level, config.state_calls), held])
    states = known[:, None].repeat(1, window)
    states[:, window - fresh :] = new[:, None]
    acting = torch.cat([torch.full((config.state_calls,), steps), fall(steps, 0, config.action_calls)])
    counts = (0,) * config.state_calls + (actions,) * config.action_calls
    return NoiseTable(states, acting[:, None].repeat(1, window), counts)


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
            ("end_level", 0, config.start_level - 1),
            ("state_calls", 1, steps),
            ("action_calls", 1, steps),
            ("execute", 1, policy.config.action_horizon + 1),
        ):
            if not low <= getattr(config, name) <= high:
                found = getattr(config, name)
                raise ConfigError(f"closed_loop.planning.{name}", found, f"{low} to {high}")
        self.policy, self.noise, self.execute = policy, noise, config.execute
        self.num_actions = policy.current + self.execute
        self.first = plan_first_table(window, self.num_actions, steps, config, steps, self.execute)
        self.later = plan_first_table(
            window, self.num_actions, steps, config, config.start_level, self.execute
        )
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
        plan = denoise(policy, Window(states, actions), table, history, self.noise, guidance, keyframes)
        self._last = plan
        return plan
