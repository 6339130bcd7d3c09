"""The clips of a skill as one table of reference frames."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from beyondmimic_data.motions.clip import Clip


@dataclasses.dataclass(frozen=True)
class ReferenceFrame:
    """The reference of N environments at one instant, world frame of the environment, tracked bodies only."""

    joint_pos: torch.Tensor
    """(N, J) rad."""
    joint_vel: torch.Tensor
    """(N, J) rad/s."""
    body_pos_w: torch.Tensor
    """(N, K, 3) m."""
    body_quat_w: torch.Tensor
    """(N, K, 4)."""
    body_lin_vel_w: torch.Tensor
    """(N, K, 3) m/s."""
    body_ang_vel_w: torch.Tensor
    """(N, K, 3) rad/s."""


class MotionLibrary:
    """All clips of one skill, frame after frame; a frame's index is its row in that table."""

    def __init__(self, clips: Sequence[Clip], body_names: Sequence[str], joint_names: Sequence[str]) -> None:
        """Concatenate clips, selecting bodies and joints by name.

        Args:
            clips: at least one clip, all at the control rate.
            body_names: bodies of the reference frames, the first being the base.
            joint_names: joint order of the simulator.

        Raises:
            ValueError: a clip lacks a body or joint.
        """
        self.clip_names = tuple(clip.name for clip in clips)
        self.lengths = torch.tensor([clip.num_frames for clip in clips])
        self.starts = torch.cumsum(self.lengths, 0) - self.lengths
        self.num_frames = int(self.lengths.sum())
        self.fps = clips[0].fps
        self.clip_of_frame = torch.repeat_interleave(torch.arange(len(clips)), self.lengths)
        self.last_of_frame = (self.starts + self.lengths - 1)[self.clip_of_frame]

        joints = [[clip.joint_names.index(name) for name in joint_names] for clip in clips]
        bodies = [[clip.body_names.index(name) for name in body_names] for clip in clips]
        columns = []
        for field in dataclasses.fields(ReferenceFrame):
            order = joints if field.name.startswith("joint") else bodies
            values = np.concatenate([getattr(clip, field.name)[:, o] for clip, o in zip(clips, order)])
            columns.append(torch.from_numpy(values).float())
        self._shapes = [values.shape[1:] for values in columns]
        self._widths = [shape.numel() for shape in self._shapes]
        # One row a frame: a single lookup finds everything.
        self._table = torch.cat([values.flatten(1) for values in columns], dim=1)

    def at(self, frames: torch.Tensor) -> ReferenceFrame:
        """Return the reference at frame indices (N,)."""
        parts = self._table.index_select(0, frames).split(self._widths, dim=1)
        return ReferenceFrame(*(part.unflatten(1, shape) for part, shape in zip(parts, self._shapes)))

    def joint_moments(self, around: torch.Tensor) -> torch.Tensor:
        """Return (2J,) how far all frames' joint positions and velocities are from ``around``, mean square.

        Args:
            around: (2J,) rad, then rad/s.
        """
        joints = self._table[:, : sum(self._widths[:2])]
        return (joints - around).square().mean(dim=0)

    def phase(self, frames: torch.Tensor) -> torch.Tensor:
        """Return (N,) progress through each frame's clip, 0 at its first frame and 1 at its last."""
        clip = self.clip_of_frame[frames]
        return (frames - self.starts[clip]).float() / (self.lengths[clip] - 1).clamp(min=1).float()
