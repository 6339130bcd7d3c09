"""A small recorded world for the tests of diffusion, guidance, control and deployment."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from beyondmimic_data.config import ControlConfig, DiffusionConfig
from beyondmimic_data.diffusion.contract import Contract, g1_contract
from beyondmimic_data.diffusion.policy import DiffusionPolicy
from beyondmimic_data.diffusion.train import train
from beyondmimic_data.motions.clip import clip_from_qpos
from beyondmimic_data.robots import g1

WIDTHS = {
    "root_pos_w": 3,
    "root_quat_w": 4,
    "root_lin_vel_w": 3,
    "root_ang_vel_w": 3,
    "body_pos_w": 90,
    "body_lin_vel_w": 90,
    "joint_pos": 29,
    "joint_vel": 29,
    "action_clean": 29,
    "action_cmd": 29,
    "action_noise_free": 29,
    "foot_contact": 2,
    "phase": 1,
    "clip_id": 1,
}


class MemoryWindows:
    """Windows of equally long episodes held in memory; the last fifth of the episodes is for validation."""

    known_finite = False

    def __init__(self, rows: torch.Tensor) -> None:
        """Hold rows (E, L, 342)."""
        stops = np.cumsum(list(WIDTHS.values()))
        self.columns = {name: slice(stop - width, stop) for (name, width), stop in zip(WIDTHS.items(), stops)}
        self.rows = rows

    def _episodes(self, split: str) -> range:
        border = len(self.rows) - len(self.rows) // 5
        return range(border) if split == "train" else range(border, len(self.rows))

    def num_windows(self, split: str) -> int:
        """Return how many windows a split has."""
        return len(self._episodes(split)) * (self.rows.shape[1] - 20)

    def sample(self, split: str, batch: int, rng: np.random.Generator) -> torch.Tensor:
        """Return random windows (B, 21, 342)."""
        episodes = self._episodes(split)
        episode = rng.integers(episodes.start, episodes.stop, batch)
        start = rng.integers(0, self.rows.shape[1] - 20, batch)
        return self.rows[episode[:, None], start[:, None] + np.arange(21)]


def record_episode(seed: int, frames: int = 50) -> torch.Tensor:
    """Return rows (L, 342) of a robot that wanders and waves; its action leads its joints by 40 ms."""
    rng = np.random.default_rng(seed)
    t = np.arange(frames) / 50.0
    qpos = np.tile(g1.default_qpos(), (frames, 1))
    heading = rng.uniform(-np.pi, np.pi) + rng.uniform(-1, 1) * t
    speed = rng.uniform(0.2, 1.0)
    qpos[:, 0] = rng.uniform(-3, 3) + np.cumsum(speed * np.cos(heading)) / 50
    qpos[:, 1] = rng.uniform(-3, 3) + np.cumsum(speed * np.sin(heading)) / 50
    qpos[:, 2] += 0.02 * np.sin(6 * t + rng.uniform(0, 6))
    tilt = 0.05 * np.sin(5 * t + rng.uniform(0, 6))
    qpos[:, 3:7] = (
        np.stack([np.cos(heading / 2), np.sin(tilt / 2), 0 * t, np.sin(heading / 2)], axis=-1)
        / np.sqrt(1 + np.sin(tilt / 2) ** 2)[:, None]
    )
    phase, amplitude = rng.uniform(0, 2 * np.pi, 29), rng.uniform(0, 0.2, 29)
    qpos[:, 7:] += amplitude * np.sin(6 * t[:, None] + phase)
    clip = clip_from_qpos("made_up", qpos, 50.0, 50.0)
    table = g1.joint_table()
    action = (clip.joint_pos + 0.04 * clip.joint_vel - table.default_pos) / table.action_scale
    parts = {
        "root_pos_w": clip.body_pos_w[:, 0],
        "root_quat_w": clip.body_quat_w[:, 0],
        "root_lin_vel_w": clip.body_lin_vel_w[:, 0],
        "root_ang_vel_w": clip.body_ang_vel_w[:, 0],
        "body_pos_w": clip.body_pos_w.reshape(frames, -1),
        "body_lin_vel_w": clip.body_lin_vel_w.reshape(frames, -1),
        "joint_pos": clip.joint_pos,
        "joint_vel": clip.joint_vel,
        "action_clean": action,
        "action_cmd": action,
        "action_noise_free": action,
        "foot_contact": np.ones((frames, 2)),
        "phase": t[:, None],
        "clip_id": np.zeros((frames, 1)),
    }
    return torch.from_numpy(np.concatenate([parts[name] for name in WIDTHS], axis=-1)).float()


@pytest.fixture(scope="session")
def windows() -> MemoryWindows:
    return MemoryWindows(torch.stack([record_episode(seed) for seed in range(15)]))


@pytest.fixture(scope="session")
def contract() -> Contract:
    return g1_contract(ControlConfig())


@pytest.fixture(scope="session")
def tiny_config() -> DiffusionConfig:
    return DiffusionConfig(
        embedding=32,
        layers=2,
        dropout=0.0,
        batch_size=16,
        learning_rate=3e-3,
        warmup_steps=5,
        max_steps=40,
        minutes=None,
        precision="float32",
    )


@pytest.fixture(scope="session")
def policy_folder(
    windows: MemoryWindows,
    contract: Contract,
    tiny_config: DiffusionConfig,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Folder of a briefly trained policy."""
    folder = tmp_path_factory.mktemp("diffusion")
    train(windows, tiny_config, contract, folder)
    return folder


@pytest.fixture
def policy(policy_folder: Path) -> DiffusionPolicy:
    return DiffusionPolicy.load(policy_folder)


@pytest.fixture(scope="session")
def make_policy(contract: Contract, tiny_config: DiffusionConfig) -> Callable[..., DiffusionPolicy]:
    """Build an untrained policy in evaluation mode, with some fields of the configuration changed."""

    def make(**changes: object) -> DiffusionPolicy:
        torch.manual_seed(0)
        return DiffusionPolicy(dataclasses.replace(tiny_config, **changes), contract).eval()  # type: ignore[arg-type]

    return make
