"""What the UI shows of an asset."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assets.presentation import MAX_PICTURE_BYTES, materialised, picture, table
from storage.artifacts import Artifact, ArtifactStore


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    store = ArtifactStore(tmp_path)
    with store.build("policies", "walk", "recipe") as build:
        (build.path / "file").write_text("content")
        build.meta |= {"parents": []}
    found = store.find("policies", "walk", "recipe")
    assert found is not None
    return found


def test_figures_are_shown_to_four_digits(artifact: Artifact) -> None:
    shown = materialised(artifact, {"error_m": 0.050382917068491226, "steps": 1234567, "gate": "passed"})
    assert shown.metadata["error_m"] == 0.05038
    assert shown.metadata["steps"] == 1234567
    assert shown.metadata["gate"] == "passed"
    assert table([{"error_m": 0.050382917, "clip": "a|b"}]).value.endswith("| 0.05038 | a\\|b |")


def test_large_pictures_are_shrunk(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (600, 900, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    text = picture(tmp_path / "noise.png").value
    assert text.startswith("![noise](data:image/jpeg;base64,")
    assert len(text) < 1.4 * MAX_PICTURE_BYTES
