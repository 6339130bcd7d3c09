"""Raw robot states over time, in the world frame, from stored rows or from a live simulation."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import torch

from beyondmimic_data.config import ActionLabel
from beyondmimic_data.errors import ConfigError
from beyondmimic_data.sim.backend import RobotState

ROW_FIELDS = {
    "root_pos_w": 3,
    "root_quat_w": 4,
    "root_lin_vel_w": 3,
    "root_ang_vel_w": 3,
    "body_pos_w": 90,
    "body_lin_vel_w": 90,
    "joint_pos": 29,
    "joint_vel": 29,
}
"""Columns of a stored row that make a state, with their widths."""


@dataclasses.dataclass(frozen=True)
class Frames:
    """States of B robots at T consecutive control steps; float32, SI units, world frame, quaternions wxyz."""

    root_pos_w: torch.Tensor
    """(B, T, 3) m."""
    root_quat_w: torch.Tensor
    """(B, T, 4)."""
    root_lin_vel_w: torch.Tensor
    """(B, T, 3) m/s, of the link origin."""
    root_ang_vel_w: torch.Tensor
    """(B, T, 3) rad/s."""
    body_pos_w: torch.Tensor
    """(B, T, 30, 3) m."""
    body_lin_vel_w: torch.Tensor
    """(B, T, 30, 3) m/s, of link origins."""
    joint_pos: torch.Tensor
    """(B, T, 29) rad."""
    joint_vel: torch.Tensor
    """(B, T, 29) rad/s."""

    def __len__(self) -> int:
        return len(self.root_pos_w)

    @property
    def num_frames(self) -> int:
        """Control steps T."""
        return self.root_pos_w.shape[1]

    def _map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> "Frames":
        return Frames(**{f.name: function(getattr(self, f.name)) for f in dataclasses.fields(self)})

    def time(self, index: slice) -> "Frames":
        """Return some control steps of every robot."""
        return self._map(lambda x: x[:, index])

    def select(self, index: torch.Tensor | slice) -> "Frames":
        """Return some robots."""
        return self._map(lambda x: x[index])

    def put(self, index: torch.Tensor, new: "Frames") -> "Frames":
        """Return the same states with those of some robots replaced."""
        fields = (f.name for f in dataclasses.fields(self))
        return Frames(**{n: getattr(self, n).index_copy(0, index, getattr(new, n)) for n in fields})

    def push(self, newest: "Frames") -> "Frames":
        """Drop the oldest step of every robot and append one."""
        return concatenate([self.time(slice(1, None)), newest], dim=1)

    def to(self, device: torch.device | str) -> "Frames":
        """Move to a device."""
        return self._map(lambda x: x.to(device))


def concatenate(parts: Sequence[Frames], dim: int = 0) -> Frames:
    """Join frames along robots (0) or control steps (1)."""
    return Frames(
        **{f.name: torch.cat([getattr(p, f.name) for p in parts], dim) for f in dataclasses.fields(Frames)}
    )


def require_columns(columns: Mapping[str, slice], action: ActionLabel) -> None:
    """Check that rows hold every column that a state and an action need; ``action`` names the target's.

    Raises:
        ConfigError: the first column that is missing or has another width.
    """
    for name, width in {**ROW_FIELDS, action: 29}.items():
        if name not in columns:
            raise ConfigError(f"columns.{name}", "missing", f"a column of width {width}")
        found = columns[name].stop - columns[name].start
        if found != width:
            raise ConfigError(f"columns.{name}", f"width {found}", f"width {width}")


def frames_from_rows(rows: torch.Tensor, columns: Mapping[str, slice]) -> Frames:
    """Cut stored rows (B, T, 342) into states; ``columns`` maps a name to its slice of the last axis."""
    cut = {name: rows[..., columns[name]] for name in ROW_FIELDS}
    for name in ("body_pos_w", "body_lin_vel_w"):
        cut[name] = cut[name].unflatten(-1, (-1, 3))
    return Frames(**cut)


def frames_from_state(state: RobotState) -> Frames:
    """Return a simulator's current state as one control step, (N, 1, ...)."""
    return Frames(**{name: getattr(state, name)[:, None] for name in ROW_FIELDS})
