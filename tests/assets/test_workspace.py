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


HOSTILE = [
    "",
    "null",
    "3",
    "[" * 10**5,
    "\udcff",
    '{"preset": null}',
    '{"preset": ["quick"]}',
    '{"preset": {}}',
    '{"overrides": null}',
    '{"overrides": [1]}',
    '{"overrides": "training.minutes"}',
    '{"overrides": {"": 1}}',
    '{"overrides": {"training": {}}}',
    '{"overrides": {"training.minutes": NaN}}',
    '{"overrides": {"training.minutes": 1e999}}',
    f'{{"overrides": {{"training.minutes": {10**400}}}}}',
    '{"overrides": {"training.minutes": {"a": 1}}}',
    '{"overrides": {"training.minutes.more": 1}}',
    '{"overrides": {"ppo.hidden_dims": 3}}',
    '{"overrides": {"ppo.hidden_dims": ["a"]}}',
    '{"overrides": {"ppo.schedule": ["fixed"]}}',
    '{"overrides": {"control.control_hz": 0}}',
    '{"overrides": {"control.control_hz": -50}}',
    '{"overrides": {"control.control_hz": 1e12}}',
    '{"overrides": {"sampling.first_frame_share": 7}}',
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_settings_are_one_line(tmp_path, text):
    (tmp_path / "workspace.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ConfigError) as caught:
        open_workspace(root=tmp_path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1500


def test_a_folder_in_the_settings_place_is_one_line(tmp_path):
    (tmp_path / "workspace.json").mkdir()
    with pytest.raises(ConfigError):
        open_workspace(root=tmp_path)


def test_settings_that_are_too_long_are_not_read(tmp_path):
    with (tmp_path / "workspace.json").open("wb") as stream:
        stream.truncate(2**34)  # sparse: takes no space
    with pytest.raises(ConfigError, match="64 MiB"):
        open_workspace(root=tmp_path)
