"""The reference player refuses what cannot be a robot's state or its own bundle, and its usage text runs."""

import hashlib
import inspect
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from beyondmimic_data.config import DeployConfig
from beyondmimic_data.deploy import player as player_module
from beyondmimic_data.deploy.bundle import ClosedLoopVerdict, build_bundle
from beyondmimic_data.deploy.player import BundleError, Player

NOISE = np.random.default_rng(0).standard_normal
BARE = """
import runpy, sys
allowed = sys.stdlib_module_names | {"numpy", "onnxruntime", "player", "__mp_main__"}
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in allowed:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
sys.path.insert(0, sys.argv[2])
runpy.run_path(sys.argv[1])
"""
"""Runs a script where nothing but NumPy, onnxruntime and the standard library can be imported."""


@pytest.fixture(scope="module")
def bundle(policy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundle")
    config = DeployConfig(parity_windows=4, tensorrt_targets=())
    build_bundle(policy_folder, out, config, [], ClosedLoopVerdict(True, None, {}))
    return out


@pytest.fixture(scope="module")
def player(bundle: Path) -> Player:
    return Player(bundle)


@pytest.fixture
def copied(bundle: Path, tmp_path: Path) -> Path:
    shutil.copytree(bundle, tmp_path / "bundle")
    return tmp_path / "bundle"


def standing() -> dict[str, np.ndarray]:
    return {
        "root_pos_w": np.tile([0.0, 0.0, 0.76], (5, 1)),
        "root_quat_w": np.tile([1.0, 0.0, 0.0, 0.0], (5, 1)),
        "root_lin_vel_w": np.zeros((5, 3)),
        "root_ang_vel_w": np.zeros((5, 3)),
        "body_pos_w": np.tile([0.0, 0.0, 0.76], (5, 30, 1)),
        "body_lin_vel_w": np.zeros((5, 30, 3)),
        "joint_pos": np.zeros((5, 29)),
        "joint_vel": np.zeros((5, 29)),
    }


FIELDS = tuple(standing())


def test_a_state_that_can_be_a_robots_is_played(player):
    targets = player.act(standing(), NOISE)
    assert targets.shape == (29,)
    assert np.isfinite(targets).all()
    as_lists = {name: values.tolist() for name, values in standing().items()}
    assert player.act(as_lists, NOISE).shape == (29,)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("field", FIELDS)
def test_a_number_that_is_not_finite_is_refused(player, field, bad):
    history = standing()
    history[field].flat[-1] = bad
    with pytest.raises(ValueError, match=f"^{field}: found 1 numbers that are not finite, expected none$"):
        player.act(history, NOISE)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("rows", [0, 1, 4, 6])
def test_another_number_of_steps_is_refused(player, field, rows):
    history = standing()
    values = history[field]
    history[field] = np.concatenate([values, values])[:rows]
    expected = re.escape(f"{field}: found shape {(rows, *values.shape[1:])}, expected {values.shape}")
    with pytest.raises(ValueError, match=f"^{expected}$"):
        player.act(history, NOISE)


def test_a_history_of_one_row_is_refused(player):
    with pytest.raises(ValueError, match=r"root_pos_w: found shape \(1, 3\), expected \(5, 3\)"):
        player.act({name: values[-1:] for name, values in standing().items()}, NOISE)


@pytest.mark.parametrize("field", FIELDS)
def test_another_width_is_refused(player, field):
    """28 joints, 29 bodies, quaternions of three numbers."""
    history = standing()
    history[field] = history[field][:, :-1]
    with pytest.raises(ValueError, match=rf"^{field}: found shape .*, expected \(5, "):
        player.act(history, NOISE)


@pytest.mark.parametrize("norm", [0.0, 0.5, 0.98, 1.02, 1e6])
@pytest.mark.parametrize("row", [0, 4])
def test_a_quaternion_that_is_no_rotation_is_refused(player, norm, row):
    history = standing()
    history["root_quat_w"][row] = [0.0, 0.0, norm, 0.0]
    with pytest.raises(ValueError, match=r"^root_quat_w: found a quaternion of norm .*, expected 1 within"):
        player.act(history, NOISE)


@pytest.mark.parametrize("field", [name for name in FIELDS if not name.startswith("joint")])
def test_a_field_that_is_needed_and_missing_is_named(player, field):
    history = standing()
    del history[field]
    with pytest.raises(ValueError, match=f"^{field}: found nothing of that name"):
        player.act(history, NOISE)


def test_a_field_that_is_not_needed_may_be_missing(player):
    history = {name: values for name, values in standing().items() if not name.startswith("joint")}
    assert np.array_equal(player.features(history), player.features(standing()))


@pytest.mark.parametrize("value", ["upright", None, {"x": 1}, [[1.0, 2.0], [3.0]]])
def test_what_is_no_array_of_numbers_is_refused(player, value):
    with pytest.raises(ValueError, match=r"^root_pos_w: found"):
        player.act({**standing(), "root_pos_w": value}, NOISE)


@pytest.mark.parametrize("history", [None, [1.0], 3])
def test_a_history_that_is_no_mapping_is_refused(player, history):
    with pytest.raises(ValueError, match=r"^history: found"):
        player.act(history, NOISE)


@pytest.mark.parametrize(
    ("noise", "said"),
    [
        (np.random.default_rng(0), r"noise: found Generator, expected a function of a shape"),
        (None, "noise: found NoneType"),
        (lambda shape: np.zeros(shape[1:]), r"noise: found shape \(21, \d+\), expected \(1, 21"),
        (lambda shape: np.full(shape, np.nan), "noise: found .* not finite"),
    ],
)
def test_noise_that_is_none_is_refused(player, noise, said):
    with pytest.raises(ValueError, match=said):
        player.act(standing(), noise)


@pytest.mark.parametrize(
    ("gradient", "scale", "said"),
    [
        (lambda ahead: np.full_like(ahead, np.nan), 1.0, "^gradient: found .* not finite"),
        (lambda ahead: ahead[:1], 1.0, r"^gradient: found shape \(1, \d+\), expected \(16, "),
        (lambda ahead: None, 1.0, "^gradient: found"),
        (np.zeros_like, np.nan, "^scale: found 1 numbers that are not finite"),
        (np.zeros_like, [1.0, 2.0], "^scale: found shape"),
    ],
)
def test_guidance_that_is_no_gradient_is_refused(player, gradient, scale, said):
    with pytest.raises(ValueError, match=said):
        player.act(standing(), NOISE, gradient, scale)


def test_an_action_that_is_not_finite_never_leaves(bundle, monkeypatch):
    player = Player(bundle)
    monkeypatch.setattr(player, "_denoise", lambda states, actions, level: (states, actions * np.nan))
    with pytest.raises(ValueError, match=r"^action: found 29 numbers that are not finite"):
        player.act(standing(), NOISE)


FILES = ("contract.json", "denoiser.onnx", "normaliser.json", "emphasis.npz")
HARM: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "other bytes": lambda data: bytes(len(data)),
    "text": lambda data: b"not what it was",
    "binary": lambda data: b"\xff\xfe" + data[2:],
}


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_one_clear_error(copied, name):
    (copied / name).unlink()
    with pytest.raises(BundleError, match=rf"{re.escape(name)}: No such file.*; copy it again$"):
        Player(copied)


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_one_clear_error(copied, name, harm):
    (copied / name).write_bytes(HARM[harm]((copied / name).read_bytes()))
    with pytest.raises(BundleError, match=re.escape(name)) as refused:
        Player(copied)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", FILES[1:])
def test_one_changed_bit_is_found(copied, name):
    data = bytearray((copied / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copied / name).write_bytes(bytes(data))
    with pytest.raises(BundleError, match=rf"{re.escape(name)}: found SHA-256 .* of contract\.json"):
        Player(copied)


def edit(folder: Path, change: Callable[[dict], object]) -> None:
    path = folder / "contract.json"
    contract = json.loads(path.read_text())
    change(contract)
    path.write_text(json.dumps(contract))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("action_scale", [0.0] * 29),
        ("default_joint_pos", [0.0] * 28),
        ("joint_names", []),
        ("current", 0),
        ("representation", "joint_rot"),
        ("alpha_bar", [1.0]),
        ("contract_version", 2),
    ],
)
def test_a_contract_that_is_not_the_networks_is_refused(copied, field, value):
    edit(copied, lambda contract: contract.update({field: value}))
    with pytest.raises(
        BundleError, match=rf"contract\.json: {field}: found .*, expected .* as in denoiser\.onnx"
    ):
        Player(copied)


@pytest.mark.parametrize("field", ["onnx_sha256", "normaliser_sha256", "emphasis_sha256", "window"])
def test_a_contract_that_lacks_a_field_is_refused(copied, field):
    edit(copied, lambda contract: contract.pop(field))
    with pytest.raises(BundleError, match=field):
        Player(copied)


def npz(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("denoiser.onnx", b"no network"),
        ("normaliser.json", b"[]"),
        ("normaliser.json", b"{}"),
        ("normaliser.json", b'{"states": 3, "actions": 4}'),
        ("normaliser.json", b'{"states": {"low": [1], "high": [2], "constant_below": 0}, "actions": {}}'),
        ("emphasis.npz", b""),
        ("emphasis.npz", b"PK no zip"),
        ("emphasis.npz", npz(project=np.zeros((2, 2)))),
        ("emphasis.npz", npz(project=np.array([{}], object), unproject=np.zeros(1))),
    ],
)
def test_a_file_that_is_named_by_its_hash_and_of_no_use_is_one_clear_error(copied, name, data):
    (copied / name).write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    edit(copied, lambda contract: contract.update({player_module.HASHES[name]: digest}))
    with pytest.raises(BundleError, match=re.escape(name)) as refused:
        Player(copied)
    assert "\n" not in str(refused.value)


def run_bare(script: str, folder: Path, tmp_path: Path) -> str:
    """Run a script in a folder, with the bundle's player, where torch and this project cannot be imported."""
    (tmp_path / "use.py").write_text(script)
    players = folder if (folder / "player.py").exists() else folder / "bundle"
    command = [sys.executable, "-c", BARE, str(tmp_path / "use.py"), str(players)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_use_in_the_readme_runs_as_it_stands(copied, tmp_path):
    [script] = re.findall(r"```python\n(.*?)```", (copied / "README.md").read_text(), re.DOTALL)
    printed = run_bare(script, copied, tmp_path)
    contract = json.loads((copied / "contract.json").read_text())
    assert all(f"'{name}': " in printed for name in contract["joint_names"])


def test_the_use_in_the_players_own_text_runs_as_it_stands(copied, tmp_path):
    text = inspect.getdoc(player_module) or ""
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    assert lines[0] == 'player = Player("bundle")'
    np.savez(tmp_path / "history.npz", **standing())
    before = ["import numpy", "from player import Player", 'history = dict(numpy.load("history.npz"))']
    printed = run_bare("\n".join([*before, *lines, "print(targets.shape)"]), tmp_path, tmp_path)
    assert printed.strip() == "(29,)"


def test_the_bundles_player_is_the_tested_one(bundle):
    assert (bundle / "player.py").read_bytes() == Path(player_module.__file__).read_bytes()
