"""Where the diffusion policy's training starts: the last one, else the one that ships."""

import dataclasses
from pathlib import Path

from assets.building import ALL
from assets.diffusion_policy import KIND, find_start
from assets.workspace import Workspace
from beyondmimic_data.config import get_preset
from beyondmimic_data.diffusion.shipped import ShippedDiffusion


def test_the_last_policy_comes_before_the_shipped_one(tmp_path, monkeypatch):
    preset = get_preset("test")
    ships = dataclasses.replace(preset, diffusion=dataclasses.replace(preset.diffusion, shipped_start=True))
    monkeypatch.setattr(
        "assets.diffusion_policy.shipped_diffusion", lambda _: ShippedDiffusion(Path("shipped"), "v")
    )
    alone, workspace = (Workspace(tmp_path / "data", tmp_path / "motions", p) for p in (preset, ships))
    assert find_start(alone) is None
    start = find_start(workspace)
    assert start is not None
    assert (start.path, start.version, start.lineage["kind"]) == (Path("shipped"), "v", "shipped")
    with workspace.store.build(KIND, ALL, "recipe") as build:
        (build.path / "model.safetensors").write_text("x")
        build.meta["parents"] = []
    start = find_start(workspace)
    assert start is not None
    assert start.lineage["recipe"] == "recipe"
