"""Changes to presets as plain values."""

import dataclasses
import json

import pytest

from beyondmimic_data.config import get_preset
from beyondmimic_data.errors import ConfigError
from beyondmimic_data.overrides import differences, with_overrides


def test_a_change_survives_json_and_comes_back_equal():
    base = get_preset("quick")
    changed = dataclasses.replace(
        base,
        training=dataclasses.replace(base.training, minutes=None, num_envs=7),
        rollouts=dataclasses.replace(
            base.rollouts, noise_shares=(1.0, 0.0, 0.0), noise_std=(1.0, 2.0, 3.0, 4.0)
        ),
        ppo=dataclasses.replace(base.ppo, hidden_dims=(8, 4)),
    )
    found = differences(base, changed)
    assert set(found) == {
        "training.minutes",
        "training.num_envs",
        "rollouts.noise_shares",
        "rollouts.noise_std",
        "ppo.hidden_dims",
    }
    assert with_overrides(base, json.loads(json.dumps(found))) == changed


def test_equal_presets_differ_in_nothing_and_names_do_not_count():
    base = get_preset("test")
    assert differences(base, dataclasses.replace(base, name="other")) == {}


def test_whole_numbers_stand_for_floats():
    preset = with_overrides(get_preset("quick"), {"training.minutes": 20})
    assert preset.training.minutes == 20.0
    assert isinstance(preset.training.minutes, float)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("training.minuets", 3.0),
        ("trainign", 3.0),
        ("training", 3.0),
        ("name", "other"),
        ("training.minutes.more", 3.0),
        ("training.num_envs", "many"),
        ("training.num_envs", 1.5),
        ("training.num_envs", True),
        ("diffusion.mirror", 1),
        ("diffusion.action_label", "action_pink"),
        ("rollouts.noise_std", [1.0, 2.0]),
        ("randomisation.friction", 1.0),
        ("ppo.hidden_dims", ["wide"]),
    ],
)
def test_a_wrong_field_or_value_is_named(field, value):
    with pytest.raises(ConfigError) as caught:
        with_overrides(get_preset("quick"), {field: value})
    assert field in str(caught.value)
