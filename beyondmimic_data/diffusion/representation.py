"""State features relative to the character frame, and their mirror image (BeyondMimic v3 §VI-D; METHOD 2.2).

Both representations end with twelve root entries relative to the character frame, the position and yaw of the
root at the current step: position (x and y relative, z absolute), rotation vector against that yaw, linear
and angular velocity in its axes. Before them stand

* ``body_pos``: positions of all bodies relative to their own step's root in x and y, absolute in z, and their
  linear velocities relative to the root's, both in the axes of their own step's yaw: 192 entries, in the
  order of the authors' code; or
* ``joint_rot``: joint angles and joint velocities: 70 entries.
"""

import dataclasses
from collections.abc import Sequence

import torch

from beyondmimic_data import rotations
from beyondmimic_data.config import Representation as RepresentationName
from beyondmimic_data.diffusion.frames import Frames
from beyondmimic_data.errors import ConfigError
from beyondmimic_data.robots import symmetry

ROOT_FIELDS = ("root_pos", "root_rot", "root_lin_vel", "root_ang_vel")
EMPHASISED = ("root_pos", "root_rot", "root_ang_vel")
"""Root entries that the emphasis projection enlarges; not the linear velocity (METHOD 2.4)."""


@dataclasses.dataclass(frozen=True)
class CharacterFrame:
    """The frame that features are relative to: on the floor under the root, turned to its heading."""

    xy: torch.Tensor
    """(B, 2) m, world."""
    yaw: torch.Tensor
    """(B,) rad."""

    def to_world(self, points: torch.Tensor) -> torch.Tensor:
        """Carry points (B, ..., 2 or 3) from the character frame to the world; z is the same in both."""
        return _shift(_turn(points, self._expand(self.yaw, points)), self.xy, 1.0)

    def to_local(self, points: torch.Tensor) -> torch.Tensor:
        """Carry points (B, ..., 2 or 3) from the world to the character frame."""
        return _turn(_shift(points, self.xy, -1.0), -self._expand(self.yaw, points))

    @staticmethod
    def _expand(angle: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        return angle.reshape(-1, *(1,) * (points.dim() - 2))


def _turn(v: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    """Turn vectors (..., 2 or 3) about z; ``angle`` broadcasts against the leading axes."""
    c, s = torch.cos(angle), torch.sin(angle)
    x, y = v[..., 0], v[..., 1]
    return torch.cat([torch.stack([c * x - s * y, s * x + c * y], -1), v[..., 2:]], -1)


def _shift(points: torch.Tensor, xy: torch.Tensor, sign: float) -> torch.Tensor:
    """Move points (B, ..., 2 or 3) in x and y."""
    offset = xy.reshape(len(xy), *(1,) * (points.dim() - 2), 2)
    return torch.cat([points[..., :2] + sign * offset, points[..., 2:]], -1)


def character_frame(frames: Frames, current: int) -> CharacterFrame:
    """Return the character frame at control step ``current`` of every robot."""
    return CharacterFrame(frames.root_pos_w[:, current, :2], rotations.yaw(frames.root_quat_w[:, current]))


class Representation(torch.nn.Module):
    """Turns world-frame states into features, tells where each quantity is, and mirrors them."""

    state_permutation: torch.Tensor
    state_sign: torch.Tensor
    action_permutation: torch.Tensor
    action_sign: torch.Tensor

    def __init__(
        self, name: RepresentationName, joint_names: Sequence[str], body_names: Sequence[str]
    ) -> None:
        """Lay out the features.

        Raises:
            ConfigError: no such representation.
        """
        super().__init__()
        if name not in ("body_pos", "joint_rot"):
            raise ConfigError("diffusion.representation", name, "body_pos or joint_rot")
        self.name = name
        polar, axial = list(symmetry.POLAR), list(symmetry.AXIAL)
        joints, joint_signs = symmetry.counterparts(joint_names), symmetry.joint_signs(joint_names)
        bodies = [3 * b + k for b in symmetry.counterparts(body_names) for k in range(3)]
        local: tuple[tuple[str, list[int], list[float]], ...]
        if name == "body_pos":
            local = (
                ("body_pos", bodies, polar * len(body_names)),
                ("body_lin_vel", bodies, polar * len(body_names)),
            )
        else:
            local = (("joint_pos", joints, joint_signs), ("joint_vel", joints, joint_signs))
        root = (
            ("root_pos", [0, 1, 2], polar),
            ("root_rot", [0, 1, 2], axial),
            ("root_lin_vel", [0, 1, 2], polar),
            ("root_ang_vel", [0, 1, 2], axial),
        )
        self.slices: dict[str, slice] = {}
        permutation: list[int] = []
        sign: list[float] = []
        for field, indices, signs in (*local, *root):
            start = len(permutation)
            self.slices[field] = slice(start, start + len(indices))
            permutation += [start + i for i in indices]
            sign += signs
        self.dim = len(permutation)
        self.register_buffer("state_permutation", torch.tensor(permutation), persistent=False)
        self.register_buffer("state_sign", torch.tensor(sign), persistent=False)
        self.register_buffer("action_permutation", torch.tensor(joints), persistent=False)
        self.register_buffer("action_sign", torch.tensor(joint_signs), persistent=False)

    def encode(self, frames: Frames, current: int) -> torch.Tensor:
        """Return features (B, T, D) of states relative to the character frame at step ``current``."""
        return self.encode_in(frames, character_frame(frames, current))

    def encode_in(self, frames: Frames, frame: CharacterFrame) -> torch.Tensor:
        """Return features (B, T, D) of states relative to a given character frame."""
        yaw = frame.yaw[:, None]
        turned = rotations.multiply(rotations.from_yaw(-yaw), frames.root_quat_w)
        root = [
            frame.to_local(frames.root_pos_w),
            rotations.to_rotation_vector(turned),
            _turn(frames.root_lin_vel_w, -yaw),
            _turn(frames.root_ang_vel_w, -yaw),
        ]
        if self.name == "joint_rot":
            return torch.cat([frames.joint_pos, frames.joint_vel, *root], -1)
        own_yaw = rotations.yaw(frames.root_quat_w)[:, :, None]
        flat = frames.root_pos_w * frames.root_pos_w.new_tensor([1.0, 1.0, 0.0])
        position = _turn(frames.body_pos_w - flat[:, :, None], -own_yaw)
        velocity = _turn(frames.body_lin_vel_w - frames.root_lin_vel_w[:, :, None], -own_yaw)
        return torch.cat([position.flatten(2), velocity.flatten(2), *root], -1)

    def rebase(self, features: torch.Tensor, old: CharacterFrame, new: CharacterFrame) -> torch.Tensor:
        """Return features (B, T, D) given relative to one character frame relative to another."""
        turn = (old.yaw - new.yaw)[:, None]
        rotation = rotations.from_rotation_vector(features[..., self.slices["root_rot"]])
        moved = {
            "root_pos": new.to_local(old.to_world(features[..., self.slices["root_pos"]])),
            "root_rot": rotations.to_rotation_vector(rotations.multiply(rotations.from_yaw(turn), rotation)),
            "root_lin_vel": _turn(features[..., self.slices["root_lin_vel"]], turn),
            "root_ang_vel": _turn(features[..., self.slices["root_ang_vel"]], turn),
        }
        first = self.slices[ROOT_FIELDS[0]].start
        return torch.cat([features[..., :first], *(moved[name] for name in ROOT_FIELDS)], -1)

    def mirror_states(self, states: torch.Tensor) -> torch.Tensor:
        """Reflect features (..., D) left to right."""
        return states[..., self.state_permutation] * self.state_sign

    def mirror_actions(self, actions: torch.Tensor) -> torch.Tensor:
        """Reflect actions (..., J) left to right; the default pose and the scales are symmetric."""
        return actions[..., self.action_permutation] * self.action_sign

    def body_positions(self, states: torch.Tensor) -> torch.Tensor:
        """Return body positions (B, T, 30, 3) in the character frame, m, differentiable in the features.

        Raises:
            ConfigError: the representation holds no body positions.
        """
        if "body_pos" not in self.slices:
            raise ConfigError("diffusion.representation", self.name, "body_pos, for a cost on body positions")
        local = states[..., self.slices["body_pos"]].unflatten(-1, (-1, 3))
        vector = states[..., self.slices["root_rot"]]
        # The small term keeps the gradient finite at no rotation at all.
        half = (vector.square().sum(-1) + 1e-12).sqrt() / 2
        scale = torch.sin(half) / (2 * half)
        w, x, y, z = torch.cos(half), *(vector * scale[..., None]).unbind(-1)
        yaw = torch.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
        root = states[..., self.slices["root_pos"]]
        flat = root * root.new_tensor([1.0, 1.0, 0.0])
        return _turn(local, yaw[..., None]) + flat[..., None, :]
