"""Settings of a workspace and who wins."""

import pytest

from assets.workspace import open_workspace, remember
from beyondmimic_data.config import get_preset
from beyondmimic_data.errors import ConfigError


def test_settings_are_remembered_with_their_changes(tmp_path):
    first = open_workspace(root=tmp_path, preset="test", overrides={"training.minutes": 7})
    remember(first)
    assert open_workspace(root=tmp_path).preset == first.preset
    assert open_workspace(root=tmp_path, overrides={"ppo.gamma": 0.5}).preset.training.minutes == 7.0


def test_a_preset_that_is_named_starts_from_its_own_numbers(tmp_path):
    remember(open_workspace(root=tmp_path, preset="test", overrides={"training.minutes": 7}))
    assert open_workspace(root=tmp_path, preset="quick").preset == get_preset("quick")


def test_without_settings_the_preset_is_quick(tmp_path):
    assert open_workspace(root=tmp_path).preset.name == "quick"


@pytest.mark.parametrize("text", ["{", "[]", '{"preset": "fast"}', '{"overrides": {"no.such": 1}}'])
def test_settings_that_cannot_be_used_are_named(tmp_path, text):
    (tmp_path / "workspace.json").write_text(text)
    with pytest.raises(ConfigError):
        open_workspace(root=tmp_path)
