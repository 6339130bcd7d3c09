"""Reference player of a deployment bundle: NumPy and onnxruntime, nothing else. It travels inside the bundle.

    player = Player("bundle")
    targets = player.act(history, numpy.random.default_rng(0).standard_normal)

``history`` maps names to arrays over the past steps and the current one, oldest first (N is ``player.rows``,
five at 50 Hz), world frame, SI units, quaternions wxyz, bodies and joints in the contract's order:
``root_pos_w`` (N, 3), ``root_quat_w`` (N, 4), ``root_lin_vel_w`` (N, 3), ``root_ang_vel_w`` (N, 3),
``body_pos_w`` (N, B, 3), ``body_lin_vel_w`` (N, B, 3), ``joint_pos`` (N, J), ``joint_vel`` (N, J). What the
contract's representation does not need may be left out: ``joint_rot`` needs no bodies, ``body_pos`` no
joints.

A history that cannot be a robot's is a ``ValueError`` that names the field, what was found and what is
expected; a bundle that is damaged is a ``BundleError`` that names the file.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

Array = np.ndarray
Gradient = Callable[[Array], Array]
"""Maps future features (F, D), physical units, character frame, to the gradient of a cost (F, D)."""
Noise = Callable[[tuple[int, ...]], Array]
"""Draws standard normal values of a shape."""
CONTRACT_VERSION = 1
HASHES = {
    "denoiser.onnx": "onnx_sha256",
    "normaliser.json": "normaliser_sha256",
    "emphasis.npz": "emphasis_sha256",
}
"""Field of the contract that has the hash of a file's bytes."""
UNIT_TOLERANCE = 0.01
"""How far the norm of a quaternion may be from one."""


class BundleError(ValueError):
    """A file of a bundle that is missing, damaged or of another bundle."""


def checked_array(name: str, value: Any, shape: tuple[int, ...]) -> Array:
    """Return a value as an array of floats.

    Args:
        name: of the field, for the error.
        value: anything that NumPy makes an array of.
        shape: that it has to have.

    Raises:
        ValueError: it is no array of numbers, has another shape, or holds a number that is not finite.
    """
    try:
        array = np.asarray(value, float)
    except (TypeError, ValueError) as error:
        found = type(value).__name__
        raise ValueError(f"{name}: found {found}, expected numbers of shape {shape}") from error
    if array.shape != shape:
        raise ValueError(f"{name}: found shape {array.shape}, expected {shape}")
    wrong = int((~np.isfinite(array)).sum())
    if wrong:
        raise ValueError(f"{name}: found {wrong} numbers that are not finite, expected none")
    return array


def checked_quaternions(name: str, value: Any, shape: tuple[int, ...]) -> Array:
    """Return unit quaternions (..., 4) as an array.

    Raises:
        ValueError: see ``checked_array``; or one's norm is not one.
    """
    array = checked_array(name, value, shape)
    norms = np.linalg.norm(array, axis=-1).ravel()
    worst = norms[np.abs(norms - 1).argmax()]
    if abs(worst - 1) > UNIT_TOLERANCE:
        raise ValueError(
            f"{name}: found a quaternion of norm {worst:.3g}, expected 1 within {UNIT_TOLERANCE}"
        )
    return array


def checked_fields(
    what: str, values: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], optional: Collection[str]
) -> dict[str, Array]:
    """Return the named arrays of a robot's state; those that end in ``_quat_w`` are unit quaternions.

    Args:
        what: name of the whole, for the error.
        values: arrays by name.
        shapes: that each has to have.
        optional: names that may be missing.

    Raises:
        ValueError: one is missing, or cannot be a robot's.
    """
    if not isinstance(values, Mapping):
        found = type(values).__name__
        raise ValueError(f"{what}: found {found}, expected a mapping of names to arrays")
    checked = {}
    for name, shape in shapes.items():
        if name in values:
            check = checked_quaternions if name.endswith("_quat_w") else checked_array
            checked[name] = check(name, values[name], shape)
        elif name not in optional:
            raise ValueError(f"{name}: found nothing of that name in the {what}, expected shape {shape}")
    return checked


def read_bytes(path: Path) -> bytes:
    """Return what a file of the bundle holds.

    Raises:
        BundleError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror or error}; copy it again") from error


def open_network(path: Path, data: bytes) -> onnxruntime.InferenceSession:
    """Open the network that a file holds, on the CPU.

    Raises:
        BundleError: onnxruntime cannot read it.
    """
    try:
        return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a class of its own for each way to fail
        raise BundleError(f"{path}: onnxruntime cannot read it ({_said(error)}); copy it again") from error


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
        """Load a bundle.

        Raises:
            BundleError: a file is missing, damaged or of another bundle.
        """
        folder = Path(folder)
        self.contract = _json_object(folder / "contract.json", read_bytes(folder / "contract.json"))
        self.session = open_network(folder / "denoiser.onnx", self._recorded(folder, "denoiser.onnx"))
        self._require_own_contract(folder)
        self.alpha_bar = np.array(self.contract["alpha_bar"])
        self.rows: int = self.contract["current"] + 1
        """Steps of a history: the past ones and the current one."""
        ranges = _json_object(folder / "normaliser.json", self._recorded(folder, "normaliser.json"))
        joints, features = len(self.contract["joint_names"]), self.contract["feature_dim"]
        try:
            self.state_half, self.state_middle = self._affine(ranges["states"], features)
            self.action_half, self.action_middle = self._affine(ranges["actions"], joints)
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(
                f"{folder / 'normaliser.json'}: {_said(error)}; copy the bundle again"
            ) from error
        self.project, self.unproject = self._matrices(folder)

    def _recorded(self, folder: Path, name: str) -> bytes:
        """Return a file's bytes, once they are found to be those whose hash the contract has."""
        key = HASHES[name]
        data, wanted = read_bytes(folder / name), self.contract.get(key)
        found = hashlib.sha256(data).hexdigest()
        if found != wanted:
            raise BundleError(
                f"{folder / name}: found SHA-256 {found[:12]}, expected {_short(wanted)} as {key} of "
                "contract.json; the file is damaged or of another bundle, copy the bundle again"
            )
        return data

    def _require_own_contract(self, folder: Path) -> None:
        """Compare contract.json with the copy of the contract inside the network's file."""
        path, inside = folder / "contract.json", self.session.get_modelmeta().custom_metadata_map
        own = _json_object(folder / "denoiser.onnx", inside.get("contract", "").encode())
        if own.get("contract_version") != CONTRACT_VERSION:
            raise BundleError(
                f"{path}: contract_version: found {own.get('contract_version')!r}, expected "
                f"{CONTRACT_VERSION}; use the player of that bundle"
            )
        for name, value in own.items():
            if name not in self.contract or self.contract[name] != value:
                raise BundleError(
                    f"{path}: {name}: found {_short(self.contract.get(name))}, expected {_short(value)} as "
                    "in denoiser.onnx; the file is damaged or of another bundle, copy the bundle again"
                )

    @staticmethod
    def _affine(ranges: Mapping[str, Any], dim: int) -> tuple[Array, Array]:
        low, high = (checked_array(name, ranges[name], (dim,)) for name in ("low", "high"))
        half = (high - low) / 2
        return np.where(half < ranges["constant_below"], 1.0, half), (high + low) / 2

    def _matrices(self, folder: Path) -> tuple[Array, Array]:
        """Return the projection (D', D) to the network's states and the way back (D, D')."""
        data = self._recorded(folder, "emphasis.npz")
        rows, columns = self.contract["state_dim"], self.contract["feature_dim"]
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as found:
                project = checked_array("project", found["project"], (rows, columns))
                return project, checked_array("unproject", found["unproject"], (columns, rows))
        except (EOFError, KeyError, OSError, ValueError, zipfile.BadZipFile) as error:
            raise BundleError(f"{folder / 'emphasis.npz'}: {_said(error)}; copy the bundle again") from error

    def _checked(self, history: Mapping[str, Array]) -> dict[str, Array]:
        """Return the fields of a history as arrays.

        Raises:
            ValueError: one is missing, or cannot be a robot's.
        """
        n, joints, bodies = self.rows, len(self.contract["joint_names"]), len(self.contract["body_names"])
        shapes = {
            "root_pos_w": (n, 3),
            "root_quat_w": (n, 4),
            "root_lin_vel_w": (n, 3),
            "root_ang_vel_w": (n, 3),
            "body_pos_w": (n, bodies, 3),
            "body_lin_vel_w": (n, bodies, 3),
            "joint_pos": (n, joints),
            "joint_vel": (n, joints),
        }
        unused = "body" if self.contract["representation"] == "joint_rot" else "joint"
        return checked_fields("history", history, shapes, [n for n in shapes if n.startswith(unused)])

    def features(self, history: Mapping[str, Array]) -> Array:
        """Return the features (N, D) of a history, relative to the current character frame.

        Raises:
            ValueError: a field of the history is missing, or cannot be a robot's.
        """
        history = self._checked(history)
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
        noise: Noise,
        gradient: Gradient | None = None,
        scale: float = 1.0,
    ) -> Array:
        """Return servo targets (J,) in rad.

        Args:
            history: see above.
            noise: draws standard normal values, such as ``numpy.random.default_rng(0).standard_normal``.
            gradient: of a cost to descend.
            scale: step along its negative.

        Raises:
            ValueError: the history, the noise, the gradient or the scale cannot be used, or the network gives
                an action that is not finite.
        """
        action = self.plan(history, noise, gradient, scale)[0]
        return self.contract["default_joint_pos"] + np.array(self.contract["action_scale"]) * action

    def plan(
        self,
        history: Mapping[str, Array],
        noise: Noise,
        gradient: Gradient | None = None,
        scale: float = 1.0,
    ) -> tuple[Array, Array]:
        """Return the current action (J,) and the planned features (T, D); all tokens from level K to 0.

        Raises:
            ValueError: see ``act``.
        """
        window, current = self.contract["window"], self.contract["current"]
        scale = float(checked_array("scale", scale, ()))
        observed = ((self.features(history) - self.state_middle) / self.state_half) @ self.project.T
        states = _draw(noise, (1, window, len(self.project)))[0].copy()
        actions = _draw(noise, (1, current + 1, len(self.action_half)))[0]
        features = np.zeros((window, len(self.state_half)))
        for level in range(self.contract["denoise_steps"], 0, -1):
            states[: current + 1] = observed
            clean, clean_actions = self._denoise(states, actions, level)
            features = np.clip(clean @ self.unproject.T, -1, 1) * self.state_half + self.state_middle
            if gradient is not None:
                ahead = features[current + 1 :]
                found = checked_array("gradient", gradient(ahead), ahead.shape)
                features[current + 1 :] -= self._descent(found, level, scale)
            normalised = np.clip((features - self.state_middle) / self.state_half, -1, 1)
            states = self._step(states, normalised @ self.project.T, level, noise)
            actions = self._step(actions, np.clip(clean_actions, -1, 1), level, noise)
        action = checked_array("action", actions[current], self.action_half.shape)
        return action * self.action_half + self.action_middle, features

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

    def _step(self, noisy: Array, clean: Array, level: int, noise: Noise) -> Array:
        """Draw the next, less noisy tokens from the posterior."""
        here, there = self.alpha_bar[level], self.alpha_bar[level - 1]
        ratio, left = here / there, 1 - here
        on_clean, on_noisy = np.sqrt(there) * (1 - ratio) / left, np.sqrt(ratio) * (1 - there) / left
        std = np.sqrt((1 - ratio) * (1 - there) / left)
        return on_clean * clean + on_noisy * noisy + std * _draw(noise, (1, *clean.shape))[0]


def _json_object(path: Path, data: bytes) -> dict[str, Any]:
    """Return the JSON object that a file holds."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path}: found no JSON ({error}); copy the bundle again") from error
    if not isinstance(found, dict):
        raise BundleError(f"{path}: found {type(found).__name__}, expected an object; copy the bundle again")
    return found


def _draw(noise: Noise, shape: tuple[int, ...]) -> Array:
    """Return noise of a shape; it has to be a function, not the generator that draws it."""
    if not callable(noise):
        raise ValueError(
            f"noise: found {type(noise).__name__}, expected a function of a shape, such as "
            "numpy.random.default_rng(0).standard_normal"
        )
    return checked_array("noise", noise(shape), shape)


def _said(error: Exception) -> str:
    """Return an error's text in one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return f"found no {text}" if isinstance(error, KeyError) else text


def _short(value: Any) -> str:
    """Return a value as text that fits into a line."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
