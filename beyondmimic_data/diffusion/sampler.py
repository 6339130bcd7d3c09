"""Denoising with a noise level a token: guidance, observed history, keyframes (METHOD 2.5, 2.9 and 7)."""

import dataclasses
from collections.abc import Callable, Sequence

import torch

from beyondmimic_data.diffusion.frames import Frames
from beyondmimic_data.diffusion.policy import DiffusionPolicy
from beyondmimic_data.diffusion.representation import CharacterFrame

Noise = Callable[[tuple[int, ...]], torch.Tensor]
"""Draws standard normal values of a shape."""


def gaussian(generator: torch.Generator, device: torch.device | str = "cpu") -> Noise:
    """Return a source of noise that a generator decides."""
    return lambda shape: torch.randn(shape, generator=generator, device=device)


@dataclasses.dataclass(frozen=True)
class NoiseTable:
    """Noise levels of every token along a denoising loop.

    Row i holds the levels that network call i starts from, the last row those it leaves behind.
    """

    states: torch.Tensor
    """(R + 1, T) int64, or (R + 1, B, T) where robots are at levels of their own."""
    actions: torch.Tensor
    """(R + 1, T) int64."""
    counts: tuple[int, ...]
    """How many actions each of the R calls takes part with; later ones are left out and stay as they are."""

    @property
    def calls(self) -> int:
        """Network calls R."""
        return len(self.counts)


def full_table(window: int, steps: int, actions: int) -> NoiseTable:
    """Return the table of an ordinary DDPM loop: all tokens from level K to 0 together."""
    rows = torch.arange(steps, -1, -1)[:, None].expand(-1, window)
    return NoiseTable(rows, rows, (actions,) * steps)


@dataclasses.dataclass(frozen=True)
class Prediction:
    """A predicted window of states in physical units, as costs see it."""

    features: torch.Tensor
    """(B, F, D) features of the future steps current + 1, ..., relative to the character frame."""
    policy: DiffusionPolicy
    """Knows where each quantity is."""
    frame: CharacterFrame
    """The character frame in the world."""

    def field(self, name: str) -> torch.Tensor:
        """Return a quantity (B, F, width), such as ``root_lin_vel`` in m/s, in the character frame."""
        return self.features[..., self.policy.representation.slices[name]]

    def root_pos_w(self) -> torch.Tensor:
        """Return root positions (B, F, 3) in the world, m."""
        return self.frame.to_world(self.field("root_pos"))

    def body_pos_w(self) -> torch.Tensor:
        """Return body positions (B, F, 30, 3) in the world, m."""
        return self.frame.to_world(self.policy.representation.body_positions(self.features))

    @property
    def dt(self) -> float:
        """Seconds between steps."""
        return 1.0 / self.policy.contract.control_hz


Cost = Callable[[Prediction], torch.Tensor]
"""Maps a predicted window to a cost (B,), differentiable in its features."""


@dataclasses.dataclass(frozen=True)
class Guidance:
    """A cost that every denoising step descends (BeyondMimic v3 eq. 6).

    The gradient is taken with respect to the clean prediction in physical units, not through the network, and
    scaled by the noise-to-signal ratio of the step, so that it vanishes as the window becomes clean.
    """

    cost: Cost
    scale: float | torch.Tensor = 1.0
    """Step along the negative gradient, in units of the inverse curvature of a cost like half a square; one
    number, or (B,) one a robot."""
    max_norm: float | torch.Tensor = 1.0
    """Bound on the gradient of one predicted step, physical units; one number, or (B,) one a robot."""
    max_ratio: float = 1.0
    """Bound on the noise-to-signal factor; the noisiest steps would otherwise take any distance."""
    until_level: int = 0
    """Tokens at this level or below are left alone: the last calls bring what guidance moved, and what it did
    not, back together."""


@dataclasses.dataclass(frozen=True)
class Keyframes:
    """States that the window must pass through: they stand in it clean, at level 0 (inpainting)."""

    mask: torch.Tensor
    """(B, T) bool, or (T,) if alike for all, which tokens are given."""
    states: torch.Tensor
    """(B, T, D') their values in the space of the diffusion; elsewhere ignored."""


@dataclasses.dataclass
class Window:
    """Tokens of B windows while they are denoised."""

    states: torch.Tensor
    """(B, T, D') in the space of the diffusion."""
    actions: torch.Tensor
    """(B, T, J) normalised; T may be less where later actions are left out from the start."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """A denoised window."""

    features: torch.Tensor
    """(B, T, D) physical features relative to the character frame."""
    actions: torch.Tensor
    """(B, n, J) actions; that of index ``past`` is the current step's, to be executed."""
    frame: CharacterFrame
    """The character frame in the world."""
    calls: int
    """Network calls spent."""


Observer = Callable[[Window, torch.Tensor, torch.Tensor], None]
"""Sees the window and its nominal levels (T,) before each network call and after the last."""


@torch.no_grad()
def denoise(
    policy: DiffusionPolicy,
    window: Window,
    table: NoiseTable,
    history: Frames,
    noise: Noise,
    guidance: Guidance | None = None,
    keyframes: Keyframes | None = None,
    observer: Observer | None = None,
) -> Plan:
    """Denoise windows along a table of levels.

    Past and current states are overwritten with the observed ones and count as clean in every call; the clean
    prediction is clipped to the range of the data in un-projected space (METHOD 7). Noise is drawn for
    states, then for actions, once a call.

    Args:
        policy: trained policy in evaluation mode.
        window: noisy tokens at the table's first row; changed in place, to what the plan holds.
        table: levels of every call.
        history: past and current states (B, past + 1, ...) in the world.
        noise: source of the noise of each step.
        guidance: cost to descend.
        keyframes: future states that are given.
        observer: called with intermediate windows.
    """
    observed, frame = policy.encode_history(history)
    known = _known_states(observed, keyframes, window.states)
    device, batch = window.states.device, len(window.states)
    state_rows, action_rows = table.states.to(device), table.actions.to(device)
    clean = window.states
    for row, count in enumerate(table.counts):
        window.states = torch.where(known.mask[..., None], known.states, window.states)
        if observer is not None:
            observer(window, table.states[row], table.actions[row])
        levels, next_levels = (r.masked_fill(known.mask, 0) for r in state_rows[row : row + 2])
        action_levels, next_action_levels = action_rows[row : row + 2, :count]
        actions = window.actions[:, :count]
        clean, clean_actions = policy.predict(
            window.states, actions, levels.expand(batch, -1), action_levels.expand(batch, -1)
        )
        features = policy.decode_states(clean)
        # Where the gradient's factor is zero it would cost its time and move nothing.
        future = table.states[row][..., policy.current + 1 :]
        if guidance is not None and bool((future > guidance.until_level).any()):
            features = _guided(policy, features, frame, levels, guidance)
        clean = policy.constrain_states(features)
        mean, std = policy.schedule.posterior(window.states, clean, levels, next_levels)
        window.states = mean + std * noise(tuple(mean.shape))
        mean, std = policy.schedule.posterior(
            actions, clean_actions.clamp(-1, 1), action_levels, next_action_levels
        )
        actions = mean + std * noise(tuple(mean.shape))
        window.actions = torch.cat([actions, window.actions[:, count:]], 1)
    if observer is not None:
        observer(window, table.states[table.calls], table.actions[table.calls])
    # A state that has come down to 0 is what the plan holds; a later call only predicts it once more.
    finished = (state_rows[table.calls] == 0) | known.mask
    clean = torch.where(finished[..., None], window.states, clean)
    window.states = torch.where(known.mask[..., None], known.states, clean)
    return Plan(
        policy.decode_states(window.states), policy.decode_actions(window.actions), frame, table.calls
    )


def _known_states(observed: torch.Tensor, keyframes: Keyframes | None, like: torch.Tensor) -> Keyframes:
    """Return the given tokens, history and keyframes together; the mask is (T,) without keyframes."""
    count = observed.shape[1]
    values = like.clone()
    mask = torch.zeros(like.shape[1], dtype=torch.bool, device=like.device)
    if keyframes is not None:
        mask = keyframes.mask.clone()
        values = torch.where(mask[..., None], keyframes.states, values)
    mask[..., :count] = True
    values[:, :count] = observed
    return Keyframes(mask, values)


def _guided(
    policy: DiffusionPolicy,
    features: torch.Tensor,
    frame: CharacterFrame,
    levels: torch.Tensor,
    guidance: Guidance,
) -> torch.Tensor:
    """Move the future of a clean prediction (B, T, D) down the gradient of the cost."""
    first = policy.current + 1
    with torch.enable_grad():
        future = features[:, first:].detach().requires_grad_()
        total = guidance.cost(Prediction(future, policy, frame)).sum()
        (gradient,) = torch.autograd.grad(total, future)
    scale, max_norm = (_each(value, features) for value in (guidance.scale, guidance.max_norm))
    norm = gradient.norm(dim=-1, keepdim=True)
    gradient = gradient * (max_norm / norm.clamp_min(max_norm))
    ratio = policy.schedule.noise_ratio(levels[..., first:]).clamp_max(guidance.max_ratio)
    ratio = (ratio * (levels[..., first:] > guidance.until_level))[..., None]
    return torch.cat([features[:, :first], features[:, first:] - scale * ratio * gradient], 1)


def _each(value: float | torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return a number or (B,) as (1, 1, 1) or (B, 1, 1), beside windows (B, T, D)."""
    return torch.as_tensor(value, dtype=like.dtype, device=like.device).reshape(-1, 1, 1)


class FullSampler:
    """Plans from pure noise at every control step: K network calls.

    Only the actions that matter are denoised: where no token attends to later ones than the current step's,
    the executed action is the same without them.
    """

    def __init__(self, policy: DiffusionPolicy, noise: Noise) -> None:
        """Bind a policy in evaluation mode and a source of noise."""
        self.policy, self.noise = policy, noise
        config = policy.config
        self.table = full_table(config.window, config.denoise_steps, policy.acting_tokens)

    def forget(self, ids: Sequence[int]) -> None:
        """Let some robots begin anew: here every plan does."""

    def plan(
        self, history: Frames, guidance: Guidance | None = None, keyframes: Keyframes | None = None
    ) -> Plan:
        """Denoise one window a robot; ``history`` is (B, past + 1, ...)."""
        policy, batch = self.policy, len(history)
        window = Window(
            states=self.noise((batch, policy.config.window, policy.emphasis.dim_out)),
            actions=self.noise((batch, policy.acting_tokens, policy.num_joints)),
        )
        return denoise(policy, window, self.table, history, self.noise, guidance, keyframes)
