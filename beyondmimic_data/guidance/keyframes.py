"""Keyframe inpainting: states that stand clean in the window when their time comes (METHOD 4.3, 7)."""

import dataclasses

import torch

from beyondmimic_data.diffusion.frames import Frames
from beyondmimic_data.diffusion.policy import DiffusionPolicy
from beyondmimic_data.diffusion.representation import character_frame
from beyondmimic_data.diffusion.sampler import Keyframes


@dataclasses.dataclass(frozen=True)
class KeyframePlan:
    """States to pass through at given control steps; no cost, but tokens at noise level 0."""

    frames: Frames
    """(B, K, ...) states in the world."""
    steps: tuple[int, ...]
    """Control step of each of the K states, counted from the start of the run."""

    def at(self, policy: DiffusionPolicy, history: Frames, step: int) -> Keyframes | None:
        """Return the keyframes inside the window at a control step, or ``None`` if there is none.

        Args:
            policy: gives the window and the features.
            history: past and current states (B, past + 1, ...).
            step: control step of the current state.

        Raises:
            ValueError: steps and frames differ in number.
        """
        if len(self.steps) != self.frames.num_frames:
            raise ValueError(f"{len(self.steps)} steps for {self.frames.num_frames} keyframes")
        ahead = [s - step for s in self.steps]
        inside = [i for i, a in enumerate(ahead) if 0 < a <= policy.config.future]
        if not inside:
            return None
        features = policy.representation.encode_in(self.frames, character_frame(history, policy.current))
        encoded = policy.constrain_states(features)
        batch, window = len(history), policy.config.window
        mask = torch.zeros(batch, window, dtype=torch.bool, device=encoded.device)
        states = encoded.new_zeros(batch, window, encoded.shape[-1])
        for i in inside:
            mask[:, policy.current + ahead[i]] = True
            states[:, policy.current + ahead[i]] = encoded[:, i]
        return Keyframes(mask, states)
