"""Videos of a tracking policy beside its reference."""

import dataclasses

import numpy as np
import pytest

from beyondmimic_data.config import get_preset
from beyondmimic_data.errors import MissingToolError
from beyondmimic_data.motions.clip import clip_from_qpos
from beyondmimic_data.robots import g1
from beyondmimic_data.tracking.policy import TrackingPolicy
from beyondmimic_data.tracking.recording import record
from beyondmimic_data.tracking.shipped import FOLDER, FOUNDATION
from beyondmimic_data.video import render

SECONDS = 3.0


@pytest.fixture(scope="module")
def scene():
    qpos = np.tile(g1.default_qpos(), (round(50 * SECONDS) + 20, 1))
    qpos[:, 2] = 0.785
    clip = clip_from_qpos("stand", qpos, 50, 50, {"file": "made here"})
    preset = get_preset("quick")
    preset = dataclasses.replace(preset, gate=dataclasses.replace(preset.gate, push=True))
    return record(TrackingPolicy.load(FOLDER / FOUNDATION), clip, preset, SECONDS)


def test_the_robot_is_recorded_beside_its_reference_with_what_pushed_it(scene):
    assert scene.qpos.shape == scene.ghost.shape == (150, 36)
    assert np.abs(scene.qpos[:, 2] - scene.ghost[:, 2]).max() < 0.25
    assert 1 <= (np.linalg.norm(scene.pushes, axis=1) > 0).sum() <= 3
    assert np.linalg.norm(scene.pushes, axis=1).max() > 0.05


def test_the_reference_is_drawn_through(scene):
    shown = dataclasses.replace(scene, qpos=scene.qpos[:1], ghost=scene.ghost[:1] + np.eye(36)[1])
    try:
        (with_ghost,), (without,) = (
            list(render([s], width=160, height=120)) for s in (shown, dataclasses.replace(shown, ghost=None))
        )
    except MissingToolError as error:
        pytest.skip(str(error))
    bluer = (
        with_ghost[..., 2].astype(int) - with_ghost[..., 0]
        > without[..., 2].astype(int) - without[..., 0] + 40
    )
    assert bluer.sum() > 50
