"""The diffusion policy that ships: complete, small, described, and only for its own architecture."""

import dataclasses

import numpy as np
import pytest
import torch

from beyondmimic_data.config import PlanningConfig, get_preset
from beyondmimic_data.diffusion import shipped
from beyondmimic_data.diffusion.frames import frames_from_rows
from beyondmimic_data.diffusion.plan_first import PlanFirstSampler
from beyondmimic_data.diffusion.policy import DiffusionPolicy
from beyondmimic_data.diffusion.sampler import FullSampler
from beyondmimic_data.diffusion.windows import RecordedWindows
from beyondmimic_data.errors import StoreError
from beyondmimic_data.files import read_json
from beyondmimic_data.hashing import hash_file
from beyondmimic_data.shipping import CARD

CARD_FIELDS = {"command", "seed", "versions", "dataset", "warm_start"}


def test_the_demos_start_is_whole():
    config = get_preset("quick").diffusion
    found = shipped.shipped_diffusion(config)
    assert found is not None
    assert set(read_json(found.path / CARD)) >= CARD_FIELDS
    assert hash_file(found.path / shipped.FILES[0]) == found.version
    assert sum(path.stat().st_size for path in found.path.iterdir()) < 10e6
    assert DiffusionPolicy.load(found.path).config.embedding == config.embedding
    figures = read_json(found.path / "training.json")
    assert figures["curve"][0]["loss"] > figures["curve"][-1]["loss"]


def test_another_architecture_does_not_start_from_it(policy_folder, tmp_path):
    config = DiffusionPolicy.load(policy_folder).config
    shipped.ship(policy_folder, {"command": "x"}, {"joystick": {"n": 3}}, tmp_path / "shipped")
    found = shipped.shipped_diffusion(config, tmp_path / "shipped")
    assert found is not None
    assert found.version == hash_file(policy_folder / "model.safetensors")
    assert read_json(found.path / shipped.EVALUATION) == {"joystick": {"n": 3}}
    wider = dataclasses.replace(config, embedding=2 * config.embedding)
    assert shipped.shipped_diffusion(wider, tmp_path / "shipped") is None
    assert shipped.shipped_diffusion(config, tmp_path / "nothing") is None


def test_a_damaged_card_is_one_clear_error(policy_folder, tmp_path):
    shipped.ship(policy_folder, {}, {}, tmp_path)
    (tmp_path / CARD).write_text("{")
    with pytest.raises(StoreError, match="no complete shipped policy"):
        shipped.shipped_diffusion(DiffusionPolicy.load(policy_folder).config, tmp_path)


def planned(policy: DiffusionPolicy, kind: str) -> list[float]:
    """Plan twice from the first recorded start: actions of every sixth joint, last velocity of the root."""
    recorded, rng = RecordedWindows.load(shipped.FOLDER), np.random.default_rng(0)
    history = frames_from_rows(recorded.rows[:1, : policy.current + 1], recorded.columns)

    def noise(shape: tuple[int, ...]) -> torch.Tensor:
        return torch.from_numpy(rng.standard_normal(shape).astype(np.float32))

    full = kind == "full"
    sampler = FullSampler(policy, noise) if full else PlanFirstSampler(policy, noise, PlanningConfig())
    first, second = sampler.plan(history), sampler.plan(history)
    numbers = [first.actions[0, policy.current, ::6], second.actions[0, policy.current, ::6]]
    return torch.cat([*numbers, first.features[0, -1, -6:-3]]).tolist()


PLANNED = {
    "full": [
        0.11382,
        0.00499,
        -0.01572,
        -0.29807,
        -0.42121,
        0.06448,
        0.12551,
        -0.01327,
        -0.26014,
        -0.43142,
        0.0494,
        0.04845,
        0.02572,
    ],
    "plan_first": [
        0.02636,
        0.15259,
        0.0129,
        -0.31389,
        -0.4299,
        0.08084,
        0.1546,
        0.01768,
        -0.33118,
        -0.43697,
        -0.1422,
        0.01783,
        -0.01151,
    ],
}
"""What ``planned`` gave when the policy shipped."""


@pytest.mark.parametrize("kind", PLANNED)
def test_the_shipped_policy_plans_what_it_planned_when_it_shipped(kind):
    policy = DiffusionPolicy.load(shipped.FOLDER)
    np.testing.assert_allclose(planned(policy, kind), PLANNED[kind], atol=1e-4, rtol=0)
    with torch.no_grad():
        policy.denoiser.action_head[1].weight[0, 0] += 0.1
    changed = np.abs(np.subtract(planned(policy, kind), PLANNED[kind])).max()
    assert changed > 1e-4, "these numbers have to tell one weight from another"
