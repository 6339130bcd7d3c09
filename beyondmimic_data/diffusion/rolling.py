"""Rolling inference: each plan starts from the last one's half-denoised tokens (Diffuse-CLoC; METHOD 2.8).

Tokens are kept at the level where the next call picks them up, shifted by one step, and one fresh noise token
is appended. States start at level 15 (t = 14) and take 15 calls instead of 20; actions start at level 12
(t = 11) for the current step and one level more for each step ahead, take 12 calls and are then held. In
levels (k = t + 1), with the current step c:

* first call of a run: states K -> 0; actions from K to 0 at the current step, 1 at the next, 2, ...
* later calls: states from 15 (the fresh one: K, held there) to 0 (10); actions as above.

The kept tokens are relative to the last step's character frame, which the emphasis of base position makes
heard through the noise. So the signal in them is moved to the new frame, by what that move does to the last
plan.
"""

from collections.abc import Sequence

import torch

from beyondmimic_data.diffusion.frames import Frames
from beyondmimic_data.diffusion.policy import DiffusionPolicy
from beyondmimic_data.diffusion.representation import CharacterFrame, character_frame
from beyondmimic_data.diffusion.sampler import (
    Guidance,
    Keyframes,
    Noise,
    NoiseTable,
    Plan,
    Window,
    denoise,
)
from beyondmimic_data.errors import ConfigError

STATE_START = 15
"""Level at which kept states are picked up; also the number of network calls (METHOD 2.8: t = 14)."""
STATE_LAG = 10
"""Level at which the newest state is left."""
ACTION_START = 12
"""Level at which the kept current action is picked up (METHOD 2.8: t = 11)."""


def _descend(start: torch.Tensor, calls: int, steps: int) -> torch.Tensor:
    """Return (calls + 1, n) levels that fall by one a call from a virtual start, bounded to [0, steps].

    The newest token is fresh noise, so it starts at the top.
    """
    start = torch.cat([start[:-1], start[-1:].clamp_min(steps)])
    return (start - torch.arange(calls + 1)[:, None]).clamp(0, steps)


def _ahead(window: int, current: int) -> torch.Tensor:
    """Return (T,) control steps ahead of the current one, 0 for the past."""
    return (torch.arange(window) - current).clamp_min(0)


def first_table(window: int, current: int, steps: int) -> NoiseTable:
    """Return the levels of a run's first call: states from noise to clean, actions to a staircase."""
    states = _descend(torch.full((window,), steps), steps, steps)
    actions = _descend(steps + _ahead(window, current), steps, steps)
    return NoiseTable(states, actions, (window,) * steps)


def rolling_table(window: int, current: int, steps: int) -> NoiseTable:
    """Return the levels of every later call.

    Schedules of other than 20 steps keep the published proportions.
    """
    state_start, lag, action_start = (
        max(1, round(level * steps / 20)) for level in (STATE_START, STATE_LAG, ACTION_START)
    )
    states = torch.full((window,), state_start)
    states[-1] = state_start + lag
    state_rows = _descend(states, state_start, steps)
    action_rows = _descend(action_start + _ahead(window, current), action_start, steps)
    held = action_rows[-1:].expand(state_start - action_start, -1)
    return NoiseTable(state_rows, torch.cat([action_rows, held]), (window,) * state_start)


def trim(table: NoiseTable, following: NoiseTable, current: int) -> NoiseTable:
    """Leave out what cannot reach the executed action or the next call's start.

    No token attends to a later action, so a call needs actions only as far as one of them is still to be
    executed or kept, and no call is needed once all are. The executed action and all later plans are the
    same; at the published levels 12 calls with 26 to 34 tokens remain of 15 with 42.
    """
    counts = []
    for row in range(table.calls):
        above = table.actions[row, 1:] > following.actions[0, :-1]
        awaited = [0, *(above.nonzero().flatten() + 1).tolist()]
        if table.actions[row, current] > 0:
            awaited.append(current)
        states_awaited = bool(
            (table.states[row, current + 2 :] > following.states[0, current + 1 : -1]).any()
        )
        counts.append(max(awaited) + 1 if len(awaited) > 1 or states_awaited else 0)
    while counts[-1] == 0:
        counts.pop()
    return NoiseTable(table.states, table.actions, tuple(counts))


class _Keeper:
    """Keeps each token as it was when its level came down to where the next call picks it up."""

    def __init__(self, next_table: NoiseTable, window: Window) -> None:
        # The token at step j is the next call's token at step j - 1.
        self.state_levels, self.action_levels = next_table.states[0][:-1], next_table.actions[0][:-1]
        self.states, self.actions = window.states.clone(), window.actions.clone()

    def __call__(self, window: Window, state_levels: torch.Tensor, action_levels: torch.Tensor) -> None:
        for kept, now, levels, wanted in (
            (self.states, window.states, state_levels, self.state_levels),
            (self.actions, window.actions, action_levels, self.action_levels),
        ):
            reached = levels[1:] == wanted
            kept[:, 1:][:, reached] = now[:, 1:][:, reached]

    def shifted(self, policy: DiffusionPolicy, last: Plan, frame: CharacterFrame, noise: Noise) -> Window:
        """Return the next call's start: moved to a new frame, shifted by one step, fresh noise at the end."""
        batch, _, state_dim = self.states.shape
        moved = policy.representation.rebase(last.features, last.frame, frame)
        signal = policy.schedule.alpha_bar[self.state_levels.to(policy.device)].sqrt()[:, None]
        change = policy.encode_states(moved) - policy.encode_states(last.features)
        return Window(
            torch.cat([self.states[:, 1:] + signal * change[:, 1:], noise((batch, 1, state_dim))], 1),
            torch.cat([self.actions[:, 1:], noise((batch, 1, self.actions.shape[-1]))], 1),
        )


class RollingSampler:
    """Plans at every control step of one run of B robots, reusing the last plan's tokens."""

    def __init__(self, policy: DiffusionPolicy, noise: Noise) -> None:
        """Bind a policy in evaluation mode and a source of noise.

        Raises:
            ConfigError: its attention is full.
        """
        policy.require_differentiated("the sampler rolling")
        config = policy.config
        self.policy, self.noise = policy, noise
        later = rolling_table(config.window, policy.current, config.denoise_steps)
        first = first_table(config.window, policy.current, config.denoise_steps)
        self.first, self.later = trim(first, later, policy.current), trim(later, later, policy.current)
        self._kept: tuple[_Keeper, Plan] | None = None

    def reset(self) -> None:
        """Forget the last plan; the next one starts from noise."""
        self._kept = None

    def forget(self, ids: Sequence[int]) -> None:
        """Refuse to begin anew with some robots only: a first plan takes more calls than later ones.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("closed_loop.planning.sampler", "rolling", "plan_first or full to restart robots")

    def plan(
        self, history: Frames, guidance: Guidance | None = None, keyframes: Keyframes | None = None
    ) -> Plan:
        """Denoise one window a robot; ``history`` is (B, past + 1, ...), the same robots at every call."""
        policy, batch, length = self.policy, len(history), self.policy.config.window
        if self._kept is None:
            table = self.first
            window = Window(
                states=self.noise((batch, length, policy.emphasis.dim_out)),
                actions=self.noise((batch, length, policy.num_joints)),
            )
        else:
            keeper, last = self._kept
            frame = character_frame(history, policy.current)
            table, window = self.later, keeper.shifted(policy, last, frame, self.noise)
        keeper = _Keeper(self.later, window)
        plan = denoise(policy, window, table, history, self.noise, guidance, keyframes, keeper)
        self._kept = keeper, plan
        return plan
