import dataclasses
import hashlib
import importlib.util
import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch

from beyondmimic_data.config import DeployConfig
from beyondmimic_data.deploy import bundle as bundle_module
from beyondmimic_data.deploy import tensorrt
from beyondmimic_data.deploy.bundle import ClosedLoopVerdict, build_bundle
from beyondmimic_data.deploy.onnx_export import export_denoiser
from beyondmimic_data.deploy.parity import OnnxDenoiser, check_parity, require_parity
from beyondmimic_data.deploy.player import Player
from beyondmimic_data.diffusion.frames import Frames, frames_from_rows
from beyondmimic_data.diffusion.policy import DiffusionPolicy
from beyondmimic_data.diffusion.sampler import FullSampler, Guidance
from beyondmimic_data.diffusion.train import train
from beyondmimic_data.diffusion.windows import RecordedWindows
from beyondmimic_data.errors import BeyondMimicError
from beyondmimic_data.guidance.costs import Joystick
from beyondmimic_data.robots import g1

PASSED = ClosedLoopVerdict(True, None, {"joystick": 0.9})
HAS_TENSORRT = any(importlib.util.find_spec(name) for name in tensorrt.MODULES)


@pytest.fixture(scope="module")
def bundle(policy_folder, tmp_path_factory):
    """Folder of a bundle without engines, and what building it returned."""
    out = tmp_path_factory.mktemp("bundle")
    config = DeployConfig(parity_windows=4, tensorrt_targets=())
    return out, build_bundle(policy_folder, out, config, [{"kind": "datasets", "version": "abc"}], PASSED)


@pytest.fixture
def history(policy_folder) -> Frames:
    recorded = RecordedWindows.load(policy_folder)
    return frames_from_rows(recorded.rows[:1, :5], recorded.columns)


def as_arrays(history: Frames) -> dict[str, np.ndarray]:
    return {f.name: getattr(history, f.name)[0].double().numpy() for f in dataclasses.fields(history)}


def draws(seed: int):
    """The same noise for torch and for NumPy."""
    rng = np.random.default_rng(seed)

    def noise(shape: tuple[int, ...]) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    return noise


def test_the_onnx_file_carries_its_contract(bundle) -> None:
    out, _ = bundle
    model = onnx.load(str(out / "denoiser.onnx"))
    assert not list(out.glob("*.data"))
    properties = {p.key: p.value for p in model.metadata_props}
    table = g1.joint_table()
    assert properties["joint_names"].split(",") == list(g1.JOINT_NAMES)
    assert properties["body_names"].split(",") == list(g1.BODY_NAMES)
    np.testing.assert_allclose([float(x) for x in properties["action_scale"].split(",")], table.action_scale)
    np.testing.assert_allclose([float(x) for x in properties["joint_damping"].split(",")], table.damping)
    contract = json.loads(properties["contract"])
    assert contract["current"] == 4
    assert contract["quaternion_order"] == "wxyz"
    stored = json.loads((out / "contract.json").read_text())
    assert contract.items() <= stored.items()


def test_a_bundle_names_its_checkpoint_and_its_descent(bundle, policy_folder) -> None:
    out, result = bundle
    checkpoint = hashlib.sha256((policy_folder / "model.safetensors").read_bytes()).hexdigest()
    assert json.loads((out / "contract.json").read_text())["checkpoint_sha256"] == checkpoint
    lineage = json.loads((out / "lineage.json").read_text())
    assert lineage == {"checkpoint_sha256": checkpoint, "made_of": [{"kind": "datasets", "version": "abc"}]}
    assert result["onnx_sha256"] == hashlib.sha256((out / "denoiser.onnx").read_bytes()).hexdigest()
    assert set(result["files"]) >= {
        "denoiser.onnx",
        "contract.json",
        "normaliser.json",
        "emphasis.npz",
        "parity.json",
        "lineage.json",
        "player.py",
        "README.md",
        "engines/engines.json",
    }


def test_onnx_equals_torch_in_calls_and_in_whole_loops(bundle) -> None:
    out, result = bundle
    parity = json.loads((out / "parity.json").read_text())
    assert parity == result["parity"]
    assert parity["passed"]
    assert parity["max_abs_err"] <= 1e-5
    assert list(parity["calls"]) == ["level_4", "level_8", "level_12", "level_16", "level_20"]
    assert set(parity["loops"]) == {"plan_first", "full", "rolling"}
    assert parity["windows"] == 4


def test_the_file_takes_any_batch_and_any_number_of_actions(bundle, policy) -> None:
    out, _ = bundle
    exported = OnnxDenoiser(out / "denoiser.onnx", policy.denoiser.position)
    for batch, n in ((1, 1), (3, 5), (2, 21)):
        inputs = (
            torch.randn(batch, 21, 384),
            torch.randn(batch, n, 29),
            torch.randint(0, 21, (batch, 21)),
            torch.randint(0, 21, (batch, n)),
        )
        with torch.no_grad():
            expected = policy.denoiser(*inputs)
        for a, b in zip(exported(*inputs), expected):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def test_a_different_model_is_not_deployed(bundle, policy, policy_folder, tmp_path, monkeypatch) -> None:
    out, _ = bundle
    with torch.no_grad():
        policy.denoiser.action_head[1].bias += 1e-3
    recorded = RecordedWindows.load(policy_folder)
    result = check_parity(policy, out / "denoiser.onnx", recorded, windows=2, tolerance=1e-5)
    assert not result["passed"]
    assert result["max_abs_err"] > 5e-4
    with pytest.raises(BeyondMimicError, match="nothing is deployed"):
        require_parity(result)

    def export_another(_: DiffusionPolicy, path, opset: int) -> None:
        export_denoiser(policy, path, opset)

    monkeypatch.setattr(bundle_module, "export_denoiser", export_another)
    with pytest.raises(BeyondMimicError, match="differs from torch"):
        build_bundle(policy_folder, tmp_path, DeployConfig(parity_windows=2, tensorrt_targets=()), [], PASSED)
    assert not (tmp_path / "contract.json").exists()


def test_a_bundle_of_a_policy_that_failed_says_so_where_a_deployer_reads(policy_folder, tmp_path) -> None:
    failed = ClosedLoopVerdict(False, "joystick: 10% of 10 succeed, 90% required", {"joystick": 0.1})
    build_bundle(policy_folder, tmp_path, DeployConfig(parity_windows=2, tensorrt_targets=()), [], failed)
    contract = json.loads((tmp_path / "contract.json").read_text())
    assert contract["closed_loop"] == {"passed": False, "why": failed.why, "success": {"joystick": 0.1}}
    readme = (tmp_path / "README.md").read_text()
    assert "Not fit for a robot" in readme
    assert "90% required" in readme


def test_a_bundle_of_a_policy_that_passed_says_that(bundle) -> None:
    out, _ = bundle
    assert json.loads((out / "contract.json").read_text())["closed_loop"]["passed"]
    assert "passed its closed-loop gate" in (out / "README.md").read_text()


@pytest.mark.parametrize("guided", [False, True])
def test_the_player_does_what_torch_does(bundle, policy, history, guided) -> None:
    out, _ = bundle
    player = Player(out)
    torch_noise, numpy_noise = draws(5), draws(5)
    guidance, gradient = None, None
    if guided:
        guidance = Guidance(Joystick(torch.tensor([0.8, 0.1])), scale=2.0)

        def gradient(features: np.ndarray) -> np.ndarray:
            found = np.zeros_like(features)
            found[:, 186:188] = features[:, 186:188] - [0.8, 0.1]
            return found

    plan = FullSampler(policy, lambda shape: torch.from_numpy(torch_noise(shape))).plan(history, guidance)
    action, features = player.plan(as_arrays(history), numpy_noise, gradient, scale=2.0)
    half = policy.action_normaliser.half_range.numpy()
    np.testing.assert_allclose(action / half, plan.actions[0, 4].numpy() / half, atol=1e-5)
    state_half = policy.state_normaliser.half_range.numpy()
    np.testing.assert_allclose(
        features[5:] / state_half, plan.features[0, 5:].numpy() / state_half, atol=2e-5
    )
    targets = player.act(as_arrays(history), draws(5), gradient, scale=2.0)
    expected = policy.joint_targets(plan.actions[0, 4]).numpy()
    np.testing.assert_allclose(targets, expected, atol=2e-5)


def test_the_player_knows_both_representations(windows, contract, tiny_config, tmp_path) -> None:
    config = dataclasses.replace(tiny_config, representation="joint_rot", max_steps=3)
    train(windows, config, contract, tmp_path / "policy")
    build_bundle(
        tmp_path / "policy",
        tmp_path / "bundle",
        DeployConfig(parity_windows=2, tensorrt_targets=()),
        [],
        PASSED,
    )
    policy = DiffusionPolicy.load(tmp_path / "policy")
    recorded = RecordedWindows.load(tmp_path / "policy")
    history = frames_from_rows(recorded.rows[:1, :5], recorded.columns)
    features = Player(tmp_path / "bundle").features(as_arrays(history))
    np.testing.assert_allclose(features, policy.representation.encode(history, 4)[0].numpy(), atol=1e-5)


def test_the_player_in_the_bundle_needs_numpy_and_onnxruntime_only(bundle, policy, history, tmp_path) -> None:
    """Plays in a process in which torch and this project cannot be imported."""
    out, _ = bundle
    np.savez(tmp_path / "history.npz", **as_arrays(history))
    script = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "beyondmimic_data", "onnx", "safetensors", "mujoco"}:
            raise ImportError(name)
sys.meta_path.insert(0, Absent())
sys.path.insert(0, sys.argv[1])
import numpy, player
rng = numpy.random.default_rng(5)
noise = lambda shape: rng.standard_normal(shape).astype(numpy.float32)
history = dict(numpy.load(sys.argv[2]))
numpy.save(sys.argv[3], player.Player(sys.argv[1]).act(history, noise))
"""
    command = [sys.executable, "-c", script, str(out), str(tmp_path / "history.npz"), str(tmp_path / "t.npy")]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True, text=True)
    torch_noise = draws(5)
    plan = FullSampler(policy, lambda shape: torch.from_numpy(torch_noise(shape))).plan(history)
    expected = policy.joint_targets(plan.actions[0, 4]).numpy()
    np.testing.assert_allclose(np.load(tmp_path / "t.npy"), expected, atol=2e-5)


def test_without_tensorrt_every_target_says_why(bundle, tmp_path, monkeypatch) -> None:
    out, _ = bundle
    monkeypatch.setattr(tensorrt, "MODULES", ("tensorrt_that_is_not_there",))
    engines = tensorrt.build_engines(out / "denoiser.onnx", ("8.9", "12.0"), tmp_path)
    assert [e["target"] for e in engines] == ["8.9", "12.0"]
    assert all("not installed" in e["skipped"] for e in engines)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not HAS_TENSORRT, reason="TensorRT for RTX is not installed")
def test_an_engine_is_built_without_a_gpu_and_keyed_by_what_it_fits(bundle, tmp_path) -> None:
    out, _ = bundle
    engines = tensorrt.build_engines(out / "denoiser.onnx", ("8.9", "9.0"), tmp_path)
    built, refused = engines
    assert built["bytes"] == (tmp_path / built["file"]).stat().st_size > 10_000
    assert built["onnx_sha256"][:12] in built["file"]
    assert "sm89" in built["file"]
    assert "not for 9.0" in refused["skipped"]
    again = tensorrt.build_engines(out / "denoiser.onnx", ("8.9",), tmp_path)
    assert again == [built]
