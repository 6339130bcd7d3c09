"""A tracking policy's ONNX file alone in the simulator, beside the training's own world."""

import dataclasses
import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from beyondmimic_data.config import SynthConfig, get_preset
from beyondmimic_data.deploy import tracking_player
from beyondmimic_data.deploy.player import BundleError
from beyondmimic_data.deploy.tracking_player import TrackingPlayer
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


def standing() -> dict[str, np.ndarray]:
    return {
        "anchor_pos_w": np.array([0.0, 0.0, 0.8]),
        "anchor_quat_w": np.array([1.0, 0.0, 0.0, 0.0]),
        "base_lin_vel": np.zeros(3),
        "base_ang_vel": np.zeros(3),
        "joint_pos": np.zeros(29),
        "joint_vel": np.zeros(29),
    }


FIELDS = tuple(standing())


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "policy.onnx"
    clip = synthesise("stand", SynthConfig(seconds=2.0), 50.0)
    export_onnx(TrackingPolicy.load(FOLDER / FOUNDATION), clip, get_preset("quick"), path)
    return path


@pytest.fixture
def player(exported: Path) -> TrackingPlayer:
    return TrackingPlayer(exported)


def test_the_use_in_the_players_own_text_runs_as_it_stands(exported, monkeypatch):
    monkeypatch.chdir(exported.parent)
    text = inspect.getdoc(tracking_player) or ""
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    assert lines[0] == 'player = TrackingPlayer("policy.onnx")'
    names = {"TrackingPlayer": TrackingPlayer, "state": standing()}
    exec("\n".join(lines), names)
    assert names["targets"].shape == (29,)
    assert np.isfinite(names["targets"]).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("field", FIELDS)
def test_a_number_that_is_not_finite_is_refused(player, field, bad):
    state = standing()
    state[field][-1] = bad
    with pytest.raises(ValueError, match=f"^{field}: found 1 numbers that are not finite, expected none$"):
        player.target(0, state)


@pytest.mark.parametrize("field", FIELDS)
def test_another_width_is_refused(player, field):
    state = standing()
    state[field] = state[field][:-1]
    with pytest.raises(ValueError, match=rf"^{field}: found shape \(\d+,\), expected \(\d+,\)$"):
        player.target(0, state)


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_that_is_missing_is_named(player, field):
    state = standing()
    del state[field]
    with pytest.raises(ValueError, match=f"^{field}: found nothing of that name"):
        player.target(0, state)


@pytest.mark.parametrize("norm", [0.0, 0.5, 1.02])
def test_a_quaternion_that_is_no_rotation_is_refused(player, norm):
    state = standing()
    state["anchor_quat_w"] *= norm
    with pytest.raises(ValueError, match=r"^anchor_quat_w: found a quaternion of norm"):
        player.target(0, state)


@pytest.mark.parametrize("frame", [-1, 0.5, np.nan, None, "0"])
def test_a_frame_that_is_none_is_refused(player, frame):
    with pytest.raises(ValueError, match=r"^frame: found .*, expected a whole number of at least 0$"):
        player.target(frame, standing())


def test_a_refused_state_leaves_the_player_as_it_was(player, exported):
    first = player.target(0, standing())
    with pytest.raises(ValueError, match="joint_pos"):
        player.target(1, {**standing(), "joint_pos": np.full(29, np.nan)})
    other = TrackingPlayer(exported)
    assert np.array_equal(other.target(0, standing()), first)
    assert np.array_equal(other.target(1, standing()), player.target(1, standing()))


def test_what_is_not_finite_has_fallen_and_other_bodies_are_refused(player):
    reference = player.reference(0)
    pos, quat = reference["body_pos_w"], reference["body_quat_w"]
    assert not player.fell(0, pos, quat)
    for broken in ((pos * np.nan, quat), (pos, quat * np.nan)):
        assert player.fell(0, *broken)
    with pytest.raises(ValueError, match=r"^body_pos_w: found shape \(13, 3\), expected \(14, 3\)"):
        player.fell(0, pos[1:], quat)
    with pytest.raises(ValueError, match=r"^body_quat_w: found a quaternion of norm 0"):
        player.fell(0, pos, 0 * quat)


def with_metadata(path: Path, out: Path, **changes: str | None) -> Path:
    model = onnx.load(str(path))
    entries = {entry.key: entry.value for entry in model.metadata_props} | changes
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {k: v for k, v in entries.items() if v is not None})
    onnx.save(model, str(out))
    return out


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("joint_names", None),
        ("joint_names", "one,two"),
        ("control_hz", "fast"),
        ("control_hz", "nan"),
        ("action_scale", "1,2,3"),
        ("action_scale", ",".join(["nan"] * 29)),
        ("anchor_body_name", "tail"),
        ("observation_names", "command,joint_pos"),
        ("observation_names", "command,smell"),
    ],
)
def test_a_file_with_another_contract_is_one_clear_error(exported, tmp_path, field, value):
    path = with_metadata(exported, tmp_path / "other.onnx", **{field: value})
    with pytest.raises(BundleError, match=r"other\.onnx: found no contract of a tracking policy"):
        TrackingPlayer(path)


@pytest.mark.parametrize("data", [None, b"", b"no network", "cut"])
def test_a_missing_or_damaged_file_is_one_clear_error(exported, tmp_path, data):
    path = tmp_path / "other.onnx"
    if data is not None:
        path.write_bytes(exported.read_bytes()[:1000] if data == "cut" else data)
    with pytest.raises(BundleError, match=r"other\.onnx: .*; copy it again$") as refused:
        TrackingPlayer(path)
    assert "\n" not in str(refused.value)
