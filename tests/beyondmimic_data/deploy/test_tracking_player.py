"""A tracking policy's ONNX file alone in the simulator, beside the training's own world."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from beyondmimic_data.config import SynthConfig, get_preset
from beyondmimic_data.motions.synth import synthesise
from beyondmimic_data.sim import randomisation as rand
from beyondmimic_data.sim.mujoco_backend import MujocoBackend
from beyondmimic_data.tracking.export import export_onnx
from beyondmimic_data.tracking.policy import TrackingPolicy
from beyondmimic_data.tracking.shipped import FOLDER, FOUNDATION
from beyondmimic_data.tracking.world import TrackingWorld

STARTS, STEPS = 40, 200

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
    frames, steps = s["frames"], int(s["steps"])
    runs = [play(player, model, *start, steps) for start in zip(s["qpos"], s["qvel"], frames)]
paths = np.full((len(runs), steps, 3), np.nan)
for run, path in zip(runs, paths):
    path[: run.steps] = run.path
np.savez(out, fell=[run.fell for run in runs], steps=[run.steps for run in runs], paths=paths)
"""


def test_the_file_alone_completes_what_the_policy_completes(tmp_path: Path) -> None:
    preset = get_preset("quick")
    preset = dataclasses.replace(preset, task=preset.task.without_noise())
    clip = synthesise("walk", SynthConfig(walk_seconds=20.0), 50.0)
    policy = TrackingPolicy.load(FOLDER / FOUNDATION)
    export_onnx(policy, clip, preset, tmp_path / "policy.onnx")

    # All over the walk, with METHOD's noise; some are shoved as well, up to what no step saves.
    everyone, rng = np.arange(STARTS), np.random.default_rng(1)
    frames = rng.integers(0, clip.num_frames - STEPS - 1, STARTS)
    shoves = np.where(everyone % 4 == 0, rng.uniform(1.0, 4.0, STARTS), 0.0)
    backend = MujocoBackend(STARTS, preset.control, num_threads=1)
    world = TrackingWorld(backend, [clip], preset.control, preset.task, preset.randomisation, seed=0)
    world.randomise(everyone, rand.nominal(STARTS))
    world.reset(everyone, frames)
    world._next_push[:] = np.inf  # the file's robots are not pushed on their way
    backend.push(everyone, np.stack([shoves, 0 * shoves, 0 * shoves], -1), np.zeros((STARTS, 3)))
    starts = {"qpos": backend._qpos, "qvel": backend._qvel, "frames": frames, "steps": STEPS}
    np.savez(tmp_path / "starts.npz", **starts)
    # A state is read, so that the push shows in the first observation.
    backend.batch.forward()
    world.refresh()
    fell, lasted = np.zeros(STARTS, bool), np.zeros(STARTS, int)
    paths = np.full((STARTS, STEPS, 3), np.nan)
    with torch.inference_mode():
        for t in range(STEPS):
            ends = world.advance(policy.act(world.observe_actor()), ids=np.flatnonzero(~fell))
            paths[~fell, t] = world.tracked.pos[~fell, world.bodies.anchor].numpy()
            lasted += ~fell
            fell |= ends.fell.numpy()
            world.advance_reference()

    files = [tmp_path / name for name in ("policy.onnx", "starts.npz", "out.npz")]
    result = subprocess.run(
        [sys.executable, "-c", ALONE, *files], capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
    with np.load(tmp_path / "out.npz") as alone:
        assert 0.6 * STARTS < (~fell).sum() < STARTS, "the starts have to tell policies that walk from others"
        np.testing.assert_array_equal(alone["fell"], fell)
        assert np.abs(alone["steps"] - lasted).max() <= 1
        np.testing.assert_allclose(alone["paths"][~fell], paths[~fell], atol=0.02)
