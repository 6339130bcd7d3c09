"""The training loss: clean prediction at independent noise levels (METHOD 2.5)."""

import dataclasses

import torch

from beyondmimic_data.config import DiffusionConfig
from beyondmimic_data.diffusion.policy import DiffusionPolicy


@dataclasses.dataclass(frozen=True)
class NoisyBatch:
    """Clean tokens with the levels and the noise drawn for them."""

    states: torch.Tensor
    """(B, T, D') clean, in the space of the diffusion."""
    actions: torch.Tensor
    """(B, n, J) clean, normalised, up to the horizon."""
    state_levels: torch.Tensor
    """(B, T) int64."""
    action_levels: torch.Tensor
    """(B, n) int64."""
    state_noise: torch.Tensor
    """(B, T, D')."""
    action_noise: torch.Tensor
    """(B, n, J)."""


@dataclasses.dataclass(frozen=True)
class LossTerms:
    """Loss of a batch and its parts, scalars."""

    total: torch.Tensor
    state: torch.Tensor
    action: torch.Tensor
    smoothness: torch.Tensor


def horizon(config: DiffusionConfig) -> int:
    """Return how many actions of a window count: past, current and the next ``action_horizon`` ones."""
    return config.past + 1 + config.action_horizon


def draw_noise(
    states: torch.Tensor, actions: torch.Tensor, config: DiffusionConfig, generator: torch.Generator
) -> NoisyBatch:
    """Draw a level in 0..K for each token; past and current states are clean, past actions if configured so.

    Actions beyond the horizon are left out: they do not count, and no token that counts attends to them.

    A share ``config.shared_levels`` of the windows has what sampling visits instead: all future states at one
    level, all actions at another, which in half of these windows is K. There the actions, past ones among
    them, say nothing, and the current one has to be told from the states alone.
    """
    batch, window = states.shape[:2]
    actions = actions[:, : horizon(config)]
    device, steps = states.device, config.denoise_steps

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator, device=device)

    levels = torch.randint(0, steps + 1, (2, batch, window), generator=generator, device=device)
    if config.shared_levels > 0:
        shared = levels[:, :, -1:].clone()
        shared[1].masked_fill_(uniform(batch, 1) < 0.5, steps)
        levels = torch.where(uniform(batch, 1) < config.shared_levels, shared, levels)
    levels[0, :, : config.past + 1] = 0
    if config.past_actions == "clean":
        levels[1, :, : config.past] = 0
    return NoisyBatch(
        states,
        actions,
        levels[0],
        levels[1, :, : actions.shape[1]],
        torch.randn(states.shape, generator=generator, device=device),
        torch.randn(actions.shape, generator=generator, device=device),
    )


def diffusion_loss(policy: DiffusionPolicy, batch: NoisyBatch) -> LossTerms:
    """Return the loss: mean squared error of states, of actions within the horizon, and 0.1 of their
    roughness.

    States that are given clean are left out of the mean, as their prediction is never used. The roughness is
    the squared difference of neighbouring predicted actions.
    """
    return _terms(policy, batch, *_predict(policy, batch))


def _predict(policy: DiffusionPolicy, batch: NoisyBatch) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise the batch and predict it clean."""
    states = policy.schedule.add_noise(batch.states, batch.state_noise, batch.state_levels)
    actions = policy.schedule.add_noise(batch.actions, batch.action_noise, batch.action_levels)
    clean_states, clean_actions = policy.denoiser(states, actions, batch.state_levels, batch.action_levels)
    return clean_states, clean_actions


def _terms(
    policy: DiffusionPolicy, batch: NoisyBatch, states: torch.Tensor, actions: torch.Tensor
) -> LossTerms:
    first = policy.current + 1
    state = (states - batch.states)[:, first:].square().mean()
    action = (actions - batch.actions).square().mean()
    smoothness = actions.diff(dim=1).square().mean()
    total = state + action + policy.config.smoothness_weight * smoothness
    return LossTerms(total, state, action, smoothness)


@torch.no_grad()
def loss_by_level(
    policy: DiffusionPolicy, states: torch.Tensor, actions: torch.Tensor, levels: list[int], seed: int
) -> dict[int, dict[str, float]]:
    """Return for each noise level, shared by all noised tokens, the errors on clean windows.

    Args:
        policy: in evaluation mode.
        states: (B, T, D') clean, in the space of the diffusion.
        actions: (B, T, J) clean, normalised.
        levels: noise levels to try.
        seed: of the noise, equal for every level.

    Returns:
        level -> ``state`` and ``action`` mean squared errors, and ``action_rms``: the error of the action at
        the current step in units of action.
    """
    config = policy.config
    result = {}
    for level in levels:
        generator = torch.Generator(device=states.device).manual_seed(seed)
        batch = draw_noise(states, actions, config, generator)
        state_levels = torch.full_like(batch.state_levels, level)
        state_levels[:, : config.past + 1] = 0
        batch = dataclasses.replace(
            batch, state_levels=state_levels, action_levels=torch.full_like(batch.action_levels, level)
        )
        predicted_states, predicted = _predict(policy, batch)
        terms = _terms(policy, batch, predicted_states, predicted)
        error = policy.decode_actions(predicted) - policy.decode_actions(batch.actions)
        result[level] = {
            "state": float(terms.state),
            "action": float(terms.action),
            "action_rms": float(error[:, policy.current].square().mean().sqrt()),
        }
    return result
