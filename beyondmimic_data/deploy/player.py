"""Reference player of a deployment bundle: NumPy and onnxruntime, nothing else. It travels inside the bundle.

    player = Player("bundle")
    action_target = player.act(history, numpy.random.default_rng(0))

``history`` maps names to arrays over the past steps and the current one, oldest first (five at 50 Hz), world
frame, SI units, quaternions wxyz, bodies and joints in the contract's order: ``root_pos_w`` (N, 3),
``root_quat_w`` (N, 4), ``root_lin_vel_w`` (N, 3), ``root_ang_vel_w`` (N, 3), ``body_pos_w`` (N, B, 3),
``body_lin_vel_w`` (N, B, 3), ``joint_pos`` (N, J), ``joint_vel`` (N, J).
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnxruntime

Array = np.ndarray
Gradient = Callable[[Array], Array]
"""Maps future features (F, D), physical units, character frame, to the gradient of a cost (F, D)."""


def yaw_of(quat: Array) -> Array:
    """Return the heading of quaternions (..., 4), rad."""
    w, x, y, z = np.moveaxis(quat, -1, 0)
    return np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))


def turn(vectors: Array, angle: Array) -> Array:
    """Turn vectors (..., 3) about z; the angle broadcasts against the leading axes."""
    c, s = np.cos(angle), np.sin(angle)
    x, y, z = np.moveaxis(vectors, -1, 0)
    return np.stack([c * x - s * y, s * x + c * y, z + 0 * c], -1)


def rotation_vector(quat: Array) -> Array:
    """Return the rotation vector (..., 3) of quaternions (..., 4), the shorter way round."""
    quat = quat * np.where(quat[..., :1] < 0, -1.0, 1.0)
    length = np.linalg.norm(quat[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(length, quat[..., :1])
    return quat[..., 1:] * np.where(length < 1e-8, 2.0, angle / np.maximum(length, 1e-8))


def turned_about_z(quat: Array, angle: float) -> Array:
    """Return the quaternion (..., 4) of a rotation followed by a turn about z."""
    c, s = np.cos(angle / 2), np.sin(angle / 2)
    w, x, y, z = np.moveaxis(quat, -1, 0)
    return np.stack([c * w - s * z, c * x - s * y, c * y + s * x, c * z + s * w], -1)


class Player:
    """Turns a history of states into servo targets."""

    def __init__(self, folder: str | Path) -> None:
        """Load a bundle."""
        folder = Path(folder)
        self.contract = json.loads((folder / "contract.json").read_text())
        ranges = json.loads((folder / "normaliser.json").read_text())
        self.state_half, self.state_middle = self._affine(ranges["states"])
        self.action_half, self.action_middle = self._affine(ranges["actions"])
        with np.load(folder / "emphasis.npz") as matrices:
            self.project, self.unproject = matrices["project"], matrices["unproject"]
        self.alpha_bar = np.array(self.contract["alpha_bar"])
        self.session = onnxruntime.InferenceSession(
            str(folder / "denoiser.onnx"), providers=["CPUExecutionProvider"]
        )

    @staticmethod
    def _affine(ranges: Mapping[str, list[float]]) -> tuple[Array, Array]:
        low, high = np.array(ranges["low"]), np.array(ranges["high"])
        half = (high - low) / 2
        return np.where(half < ranges["constant_below"], 1.0, half), (high + low) / 2

    def features(self, history: Mapping[str, Array]) -> Array:
        """Return the features (N, D) of a history, relative to the current character frame."""
        pos, quat = history["root_pos_w"], history["root_quat_w"]
        yaw = float(yaw_of(quat[-1]))
        shift = np.array([pos[-1, 0], pos[-1, 1], 0.0])
        root = [
            turn(pos - shift, np.array(-yaw)),
            rotation_vector(turned_about_z(quat, -yaw)),
            turn(history["root_lin_vel_w"], np.array(-yaw)),
            turn(history["root_ang_vel_w"], np.array(-yaw)),
        ]
        if self.contract["representation"] == "joint_rot":
            return np.concatenate([history["joint_pos"], history["joint_vel"], *root], -1)
        own = -yaw_of(quat)[:, None]
        flat = pos * [1.0, 1.0, 0.0]
        bodies = turn(history["body_pos_w"] - flat[:, None], own)
        velocities = turn(history["body_lin_vel_w"] - history["root_lin_vel_w"][:, None], own)
        return np.concatenate([bodies.reshape(len(pos), -1), velocities.reshape(len(pos), -1), *root], -1)

    def act(
        self,
        history: Mapping[str, Array],
        noise: Callable[[tuple[int, ...]], Array],
        gradient: Gradient | None = None,
        scale: float = 1.0,
    ) -> Array:
        """Return servo targets (J,) in rad.

        Args:
            history: see above.
            noise: draws standard normal values, such as ``numpy.random.default_rng(0).standard_normal``.
            gradient: of a cost to descend.
            scale: step along its negative.
        """
        action = self.plan(history, noise, gradient, scale)[0]
        return self.contract["default_joint_pos"] + np.array(self.contract["action_scale"]) * action

    def plan(
        self,
        history: Mapping[str, Array],
        noise: Callable[[tuple[int, ...]], Array],
        gradient: Gradient | None = None,
        scale: float = 1.0,
    ) -> tuple[Array, Array]:
        """Return the current action (J,) and the planned features (T, D); all tokens from level K to 0."""
        window, current = self.contract["window"], self.contract["current"]
        observed = ((self.features(history) - self.state_middle) / self.state_half) @ self.project.T
        states = noise((1, window, len(self.project)))[0]
        actions = noise((1, current + 1, len(self.action_half)))[0]
        features = np.zeros((window, len(self.state_half)))
        for level in range(self.contract["denoise_steps"], 0, -1):
            states[: current + 1] = observed
            clean, clean_actions = self._denoise(states, actions, level)
            features = np.clip(clean @ self.unproject.T, -1, 1) * self.state_half + self.state_middle
            if gradient is not None:
                features[current + 1 :] -= self._descent(gradient(features[current + 1 :]), level, scale)
            normalised = np.clip((features - self.state_middle) / self.state_half, -1, 1)
            states = self._step(states, normalised @ self.project.T, level, noise)
            actions = self._step(actions, np.clip(clean_actions, -1, 1), level, noise)
        return actions[current] * self.action_half + self.action_middle, features

    def _denoise(self, states: Array, actions: Array, level: int) -> tuple[Array, Array]:
        """Call the network at one level; the observed states are clean."""
        state_levels = np.full((1, len(states)), level, np.int64)
        state_levels[:, : self.contract["current"] + 1] = 0
        feed = {
            "states": states[None].astype(np.float32),
            "actions": actions[None].astype(np.float32),
            "state_levels": state_levels,
            "action_levels": np.full((1, len(actions)), level, np.int64),
        }
        clean, clean_actions = self.session.run(None, feed)
        return clean[0].astype(float), clean_actions[0].astype(float)

    def _descent(self, gradient: Array, level: int, scale: float) -> Array:
        """Return the guidance step: gradient of norm at most one, times the noise-to-signal ratio."""
        norm = np.linalg.norm(gradient, axis=-1, keepdims=True)
        signal = self.alpha_bar[level]
        return scale * min(1.0, np.sqrt((1 - signal) / signal)) * gradient / np.maximum(norm, 1.0)

    def _step(
        self, noisy: Array, clean: Array, level: int, noise: Callable[[tuple[int, ...]], Array]
    ) -> Array:
        """Draw the next, less noisy tokens from the posterior."""
        here, there = self.alpha_bar[level], self.alpha_bar[level - 1]
        ratio, left = here / there, 1 - here
        on_clean, on_noisy = np.sqrt(there) * (1 - ratio) / left, np.sqrt(ratio) * (1 - there) / left
        std = np.sqrt((1 - ratio) * (1 - there) / left)
        return on_clean * clean + on_noisy * noisy + std * noise((1, *clean.shape))[0]
