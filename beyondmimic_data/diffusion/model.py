"""The denoiser: a Transformer over interleaved state and action tokens, each with a noise level of its own.

Tokens stand as s0, a0, s1, a1, ... (METHOD 2.3). States attend to all states and to no action; action i
attends to states and actions up to step i. So a plan of states never depends on actions, and guidance of
future states reaches the current action through the hidden current state, from the second layer on.
"""

import dataclasses
import math

import torch
from torch import nn
from torch.nn import functional as F

from beyondmimic_data.config import Attention


def attention_mask(window: int, attention: Attention = "differentiated") -> torch.Tensor:
    """Return (2T, 2T) bool, True where the row's token may attend to the column's, interleaved order."""
    if attention == "full":
        return torch.ones(2 * window, 2 * window, dtype=torch.bool)
    step = torch.arange(2 * window) // 2
    is_action = torch.arange(2 * window) % 2 == 1
    from_state = ~is_action[:, None] & ~is_action[None]
    from_action = is_action[:, None] & (step[None] <= step[:, None])
    return from_state | from_action


def level_table(levels: int, dim: int) -> torch.Tensor:
    """Return (levels, dim) sinusoidal embeddings of noise levels, from the fastest wave to a slow one."""
    half = dim // 2
    rates = torch.exp(-math.log(1e4) * torch.arange(half) / half)
    phase = torch.arange(levels)[:, None] * rates
    return torch.cat([phase.sin(), phase.cos()], -1)


class Block(nn.Module):
    """Pre-norm self-attention and feed-forward."""

    def __init__(self, embedding: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.attention_norm = nn.LayerNorm(embedding)
        self.query_key_value = nn.Linear(embedding, 3 * embedding)
        self.attention_out = nn.Linear(embedding, embedding)
        self.feed_norm = nn.LayerNorm(embedding)
        self.feed_in = nn.Linear(embedding, 4 * embedding)
        self.feed_out = nn.Linear(4 * embedding, embedding)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Map tokens (B, L, E) under a mask (L, L)."""
        return self.attend(x, *self.project(x), mask)

    def project(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return queries, keys and values (B, heads, L, E / heads) of tokens (B, L, E)."""
        batch, length, width = x.shape
        qkv = self.query_key_value(self.attention_norm(x))
        q, k, v = qkv.view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        return q, k, v

    def attend(
        self, x: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """Map tokens (B, L, E) of these queries, that look at M keys under a mask (L, M)."""
        batch, length, width = x.shape
        dropout = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        x = x + self._drop(self.attention_out(attended.transpose(1, 2).reshape(batch, length, width)))
        return x + self._drop(self.feed_out(F.gelu(self.feed_in(self.feed_norm(x)))))

    def _drop(self, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x


@dataclasses.dataclass(frozen=True)
class SeenStates:
    """What actions see of the states of B windows: they look at states, and no state at them."""

    keys_and_values: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    """(B, heads, T, E / heads) twice, one pair a block."""


class Denoiser(nn.Module):
    """Predicts the clean window from a noisy one and the noise level of each token."""

    mask: torch.Tensor
    levels: torch.Tensor

    def __init__(
        self,
        state_dim: int,
        action_dim: int,
        window: int,
        denoise_steps: int,
        embedding: int,
        layers: int,
        heads: int,
        dropout: float,
        attention: Attention = "differentiated",
    ) -> None:
        """Build the network; ``embedding`` must be divisible by 8 and by ``heads``."""
        super().__init__()
        level_width = embedding // 4
        content = embedding - level_width
        self.encode_state = nn.Sequential(
            nn.Linear(state_dim, content), nn.GELU(), nn.Linear(content, content)
        )
        self.encode_action = nn.Linear(action_dim, content)
        self.position = nn.Parameter(torch.zeros(2 * window, embedding))
        self.blocks = nn.ModuleList(Block(embedding, heads, dropout) for _ in range(layers))
        self.state_head = nn.Sequential(nn.LayerNorm(embedding), nn.Linear(embedding, state_dim))
        self.action_head = nn.Sequential(nn.LayerNorm(embedding), nn.Linear(embedding, action_dim))
        self.register_buffer("mask", attention_mask(window, attention), persistent=False)
        self.register_buffer("levels", level_table(denoise_steps + 1, level_width), persistent=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() >= 2:
                nn.init.normal_(parameter, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(
        self,
        states: torch.Tensor,
        actions: torch.Tensor,
        state_levels: torch.Tensor,
        action_levels: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Predict the clean window.

        With differentiated attention no token attends to a later action, so later actions may be left out:
        the first n actions alone give the same prediction as all T.

        Args:
            states: (B, T, S) noisy states in the space of the diffusion.
            actions: (B, n, A) noisy normalised actions of the first n <= T steps.
            state_levels: (B, T) int64 noise level of each state, 0 for clean.
            action_levels: (B, n) int64 noise level of each action.

        Returns:
            Clean states (B, T, S) and clean actions (B, n, A).
        """
        # What comes in and goes out keeps its digits in a coarser precision: it steers centimetres a second.
        with torch.autocast(states.device.type, enabled=False):
            encoded, acting = self.encode_state(states), self.encode_action(actions)
        state_tokens = torch.cat([encoded, self.levels[state_levels]], -1)
        action_tokens = torch.cat([acting, self.levels[action_levels]], -1)
        n = actions.shape[1]
        pairs = torch.stack([state_tokens[:, :n], action_tokens], 2).flatten(1, 2)
        if n == states.shape[1]:
            x, mask = pairs + self.position, self.mask
        else:
            every = torch.arange(len(self.position), device=self.position.device)
            kept = torch.cat([every[: 2 * n], every[2 * n :: 2]])
            x = torch.cat([pairs, state_tokens[:, n:]], 1) + self.position[kept]
            mask = self.mask[kept][:, kept]
        for block in self.blocks:
            x = block(x, mask)
        state_out = torch.cat([x[:, 0 : 2 * n : 2], x[:, 2 * n :]], 1)
        with torch.autocast(states.device.type, enabled=False):
            return self.state_head(state_out), self.action_head(x[:, 1 : 2 * n : 2])

    def _attention_blocks(self) -> list[Block]:
        return [block for block in self.blocks if isinstance(block, Block)]

    def see_states(self, states: torch.Tensor, state_levels: torch.Tensor) -> SeenStates:
        """Return what ``clean_actions`` needs of states (B, T, S) at levels (B, T); in evaluation mode.

        Needs differentiated attention. Several calls for actions beside the same states then cost those of
        the actions alone.
        """
        with torch.autocast(states.device.type, enabled=False):
            encoded = self.encode_state(states)
        x = torch.cat([encoded, self.levels[state_levels]], -1) + self.position[0::2]
        mask, seen = self.mask[0::2, 0::2], []
        for block in self._attention_blocks():
            q, k, v = block.project(x)
            seen.append((k, v))
            if len(seen) < len(self.blocks):  # of the last block no action sees more
                x = block.attend(x, q, k, v, mask)
        return SeenStates(tuple(seen))

    def clean_actions(
        self, seen: SeenStates, actions: torch.Tensor, action_levels: torch.Tensor
    ) -> torch.Tensor:
        """Predict clean actions (B, n, A) as ``forward`` does, of noisy ones and the states that are seen."""
        with torch.autocast(actions.device.type, enabled=False):
            acting = self.encode_action(actions)
        n = actions.shape[1]
        tokens = slice(1, 2 * n, 2)
        x = torch.cat([acting, self.levels[action_levels]], -1) + self.position[tokens]
        rows = self.mask[tokens]
        mask = torch.cat([rows[:, 0::2], rows[:, tokens]], 1)
        for block, (keys, values) in zip(self._attention_blocks(), seen.keys_and_values, strict=True):
            q, k, v = block.project(x)
            x = block.attend(x, q, torch.cat([keys, k], 2), torch.cat([values, v], 2), mask)
        with torch.autocast(actions.device.type, enabled=False):
            return self.action_head(x)
