"""A tracking policy's ONNX file alone in the simulator, beside the training's own world."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from beyondmimic_data.config import get_preset
from beyondmimic_data.motions.synth import synthesise
from beyondmimic_data.sim import randomisation as rand
from beyondmimic_data.sim.mujoco_backend import MujocoBackend
from beyondmimic_data.tracking.export import export_onnx
from beyondmimic_data.tracking.policy import TrackingPolicy
from beyondmimic_data.tracking.shipped import FOLDER, FOUNDATION
from beyondmimic_data.tracking.world import TrackingWorld

STEPS = 150
HEIGHT_LIMIT = 0.25

ALONE = """
import sys
sys.modules["torch"] = None  # importing it fails from here on
import numpy as np
from beyondmimic_data.deploy.tracking_player import TrackingPlayer, play
from beyondmimic_data.robots import g1

onnx, starts, out = sys.argv[1:]
model = g1.build_spec().compile()
player = TrackingPlayer(onnx)
with np.load(starts) as s:
    heights = [play(player, model, p, v, 0, int(s["steps"])) for p, v in zip(s["qpos"], s["qvel"])]
np.save(out, heights)
"""


def test_the_file_alone_completes_what_the_policy_completes(tmp_path: Path) -> None:
    preset = get_preset("quick")
    preset = dataclasses.replace(preset, task=preset.task.without_noise())
    clip = synthesise("stand", dataclasses.replace(preset.synth, seconds=4.0), 50.0)
    policy = TrackingPolicy.load(FOLDER / FOUNDATION)
    export_onnx(policy, clip, preset, tmp_path / "policy.onnx")

    # Shoved starts, from a nudge to what no step saves.
    speeds = np.array([0.0, 0.5, -0.8, 4.0, -5.0])
    n = len(speeds)
    backend = MujocoBackend(n, preset.control, num_threads=1)
    ranges = dataclasses.replace(preset.randomisation, push=False)
    world = TrackingWorld(backend, [clip], preset.control, preset.task, ranges, seed=0)
    world.randomise(np.arange(n), rand.nominal(n))
    world.reset(np.arange(n), np.zeros(n, np.int64))
    backend.push(np.arange(n), np.stack([speeds, 0 * speeds, 0 * speeds], -1), np.zeros((n, 3)))
    np.savez(tmp_path / "starts.npz", qpos=backend._qpos, qvel=backend._qvel, steps=STEPS)
    # A state is read, so that the push shows in the first observation.
    backend.batch.forward()
    world.refresh()
    heights = np.zeros((n, STEPS))
    with torch.inference_mode():
        for t in range(STEPS):
            world.advance(policy.act(world.observe_actor()))
            anchor = world.bodies.anchor
            heights[:, t] = (
                world.tracked.pos[:, anchor, 2] - world.reference.body_pos_w[:, anchor, 2]
            ).numpy()
            world.advance_reference()

    run = [
        sys.executable,
        "-c",
        ALONE,
        tmp_path / "policy.onnx",
        tmp_path / "starts.npz",
        tmp_path / "out.npy",
    ]
    result = subprocess.run(run, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    alone = np.load(tmp_path / "out.npy")
    complete = (np.abs(heights) < HEIGHT_LIMIT).all(1)
    assert 0 < complete.sum() < n, "the starts have to tell policies that stand from others"
    np.testing.assert_array_equal((np.abs(alone) < HEIGHT_LIMIT).all(1), complete)
    assert alone[complete] == pytest.approx(heights[complete], abs=0.01)
