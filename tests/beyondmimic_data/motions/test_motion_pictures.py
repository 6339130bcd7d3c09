"""Pictures of clips: there, labelled enough to be small, and showing the robot."""

from pathlib import Path

import numpy as np
import pytest
from motion_samples import sway_qpos
from PIL import Image

from beyondmimic_data import rendering
from beyondmimic_data.config import QualityConfig
from beyondmimic_data.errors import MissingToolError
from beyondmimic_data.motions.clip import Clip, clip_from_qpos
from beyondmimic_data.motions.pictures import contact_sheet, plot_clip
from beyondmimic_data.motions.quality import check_clip


@pytest.fixture(scope="module")
def clip() -> Clip:
    return clip_from_qpos("sway", sway_qpos(), 50.0, 50.0)


def test_plot_is_a_small_png(clip: Clip, tmp_path: Path) -> None:
    path = tmp_path / "plots" / "sway.png"
    plot_clip(clip, check_clip(clip, QualityConfig()), path)
    picture = np.asarray(Image.open(path).convert("RGB"))
    assert path.stat().st_size <= 50_000
    assert picture.shape == (600, 900, 3)
    assert (picture < 128).any()
    assert [p.name for p in path.parent.iterdir()] == ["sway.png"]


def test_contact_sheet_shows_the_robot_in_every_frame(clip: Clip, tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    try:
        contact_sheet(clip, path, frames=4)
    except MissingToolError as error:
        pytest.skip(str(error))
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    height, width, _ = picture.shape
    for row in range(2):
        for column in range(2):
            middle = picture[
                height * row // 2 + height // 5 : height * (row + 1) // 2 - height // 8,
                width * column // 2 + width // 6 : width * (column + 1) // 2 - width // 6,
            ]
            bluish = (middle[..., 2] > middle[..., 0] + 15) & (middle.sum(-1) < 520)
            assert bluish.mean() > 0.02


def test_missing_off_screen_rendering_is_named(
    clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_context(width: int, height: int) -> None:
        raise MissingToolError("off-screen rendering needs EGL")

    monkeypatch.setattr(rendering, "_graphics_context", no_context)
    with pytest.raises(MissingToolError, match="EGL"):
        contact_sheet(clip, tmp_path / "sheet.png")
    assert list(tmp_path.iterdir()) == []
