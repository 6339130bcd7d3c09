"""Clips that a motions.toml makes, as artifacts: what a changed table rebuilds."""

import dataclasses
from pathlib import Path

import numpy as np

from assets.motion import build_motion, find_motion, verdicts
from assets.workspace import open_workspace
from beyondmimic_data.motions.clip import Clip, clip_from_qpos
from beyondmimic_data.robots import g1

TABLES = """
[[clips]]
name = "early"
from = "still.npz"
end = 0.8

[[clips]]
name = "late"
from = "still.npz"
start = 0.5
mirror = true
"""


def test_a_changed_table_rebuilds_its_skill_and_no_other(tmp_path: Path) -> None:
    workspace = open_workspace(root=tmp_path / "data", preset="test")
    qpos = np.tile(g1.default_qpos(), (61, 1))
    rate = workspace.preset.control.control_hz
    clip_from_qpos("still", qpos, rate, rate, {"repairs": ""}).save(workspace.motion_folder / "still.npz")
    tables = workspace.motion_folder / "motions.toml"
    tables.write_text(TABLES)
    assert list(workspace.motions.skills) == ["early", "late", "still"]
    built = build_motion(workspace, "early", lambda _: None)
    assert Clip.load(built.path / "clips" / "early.npz").num_frames == 41
    assert verdicts(built)[0]["edits"] == ["still.npz: 0.00 to 0.80 s"]
    build_motion(workspace, "late", lambda _: None)

    tables.write_text(TABLES.replace("0.8", "0.6"))
    later = dataclasses.replace(workspace)
    assert find_motion(later, "early") is None
    assert find_motion(later, "late") == find_motion(workspace, "late") is not None
    rebuilt = build_motion(later, "early", lambda _: None)
    assert Clip.load(rebuilt.path / "clips" / "early.npz").num_frames == 31
