import dataclasses

import torch

from beyondmimic_data.control.protocols.starts import standing, walking
from beyondmimic_data.diffusion.frames import frames_from_rows


def test_starts_are_told_apart_by_their_speed(windows) -> None:
    frames = frames_from_rows(windows.rows[:, :5], windows.columns)
    speed = frames.root_lin_vel_w[:, -1, :2].norm(dim=-1)
    assert torch.equal(walking(frames), speed > 0.3)
    assert not standing(frames).any()
    lying = dataclasses.replace(frames, root_pos_w=frames.root_pos_w * torch.tensor([1.0, 1.0, 0.3]))
    assert not walking(lying).any()
