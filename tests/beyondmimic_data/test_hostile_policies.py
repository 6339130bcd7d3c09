"""Policy folders that are damaged or made to fill memory: refused in one line, before a network is made."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from beyondmimic_data.config import quick
from beyondmimic_data.diffusion import emphasis, shipped
from beyondmimic_data.diffusion.policy import DiffusionPolicy
from beyondmimic_data.diffusion.policy_files import CONFIG, RECORDED, WEIGHTS
from beyondmimic_data.diffusion.windows import RecordedWindows
from beyondmimic_data.errors import StoreError
from beyondmimic_data.shipping import CARD
from beyondmimic_data.tracking import policy as tracking
from beyondmimic_data.tracking import shipped as shipped_tracking
from beyondmimic_data.tracking.policy import TrackingPolicy, load_optimizer
from beyondmimic_data.tracking.policy_files import EVALUATION, OPTIMIZER
from beyondmimic_data.tracking.policy_files import WEIGHTS as ACTOR


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(shipped.FOLDER, tmp_path / "policy")
    return tmp_path / "policy"


@pytest.fixture
def actor_folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(shipped_tracking.FOLDER / shipped_tracking.FOUNDATION, tmp_path / "actor"))


def one_line(call: Callable[[], object]) -> str:
    with pytest.raises(StoreError) as caught:
        call()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000
    return str(caught.value)


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("diffusion", "layers", 10**9),
        ("diffusion", "layers", -1),
        ("diffusion", "layers", "four"),
        ("diffusion", "layers", 4.0),
        ("diffusion", "layers", True),
        ("diffusion", "layers", 5),
        ("diffusion", "embedding", 2**40),
        ("diffusion", "embedding", 168),
        ("diffusion", "past", 100),
        ("diffusion", "past", -3),
        ("diffusion", "heads", 3),
        ("diffusion", "denoise_steps", 10**9),
        ("diffusion", "emphasis", float("nan")),
        ("diffusion", "emphasis", 10**400),
        ("diffusion", "dropout", 1.5),
        ("diffusion", "attention", "none"),
        ("diffusion", "attention", ["full"]),
        ("diffusion", "representation", "joint_rot"),
        ("diffusion", "no_such", 1),
        ("diffusion", "skill_weights", [1]),
        ("contract", "joint_names", [f"joint_{i}" for i in range(10**5)]),
        ("contract", "joint_names", "left_hip_pitch_joint"),
        ("contract", "body_names", [f"body_{i}" for i in range(500)]),
        ("contract", "body_names", []),
        ("contract", "action_scale", [1.0]),
        ("contract", "default_joint_pos", ["0"] * 29),
        ("contract", "default_joint_pos", [float("nan")] * 29),
        ("contract", "control_hz", 0),
        ("contract", "control_hz", 1e12),
        ("contract", "control_hz", None),
        ("contract", "extra", 1),
    ],
)
def test_a_field_of_another_size_or_type_is_named(
    part: str, field: str, value: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = json.loads((folder / CONFIG).read_text())
    document[part][field] = value
    (folder / CONFIG).write_text(json.dumps(document))
    monkeypatch.setattr(emphasis.torch, "randn", lambda *_, **__: pytest.fail("made a network"))
    assert str(folder) in one_line(lambda: DiffusionPolicy.load(folder))


@pytest.mark.parametrize(
    "text", ["", "[", "[]", "3", "null", "{}", "[" * 10**5, '{"schema_version": 1}', "\ud800", '{"a": NaN}']
)
def test_a_configuration_that_is_none_is_refused(text: str, folder: Path) -> None:
    (folder / CONFIG).write_bytes(text.encode(errors="surrogatepass"))
    one_line(lambda: DiffusionPolicy.load(folder))
    one_line(lambda: shipped.shipped_diffusion(quick().diffusion, folder))


@pytest.mark.parametrize("field", ["schema_version", "diffusion", "contract"])
@pytest.mark.parametrize("value", [None, [], {}, "x" * 10**5, -1, {"a": {}}])
def test_a_part_of_another_type_is_refused(field: str, value: Any, folder: Path) -> None:
    document = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(document | {field: value}))
    one_line(lambda: DiffusionPolicy.load(folder))
    del document[field]
    (folder / CONFIG).write_text(json.dumps(document))
    one_line(lambda: DiffusionPolicy.load(folder))


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
def test_a_folder_in_a_file_s_place_is_refused(name: str, folder: Path) -> None:
    (folder / name).unlink()
    (folder / name).mkdir()
    one_line(lambda: DiffusionPolicy.load(folder))


def test_weights_that_are_damaged_or_not_finite_are_refused(folder: Path) -> None:
    (folder / CARD).unlink()  # which would refuse them before they are read
    path = folder / WEIGHTS
    whole, tensors = path.read_bytes(), load_file(path)
    for data in (b"", whole[:1000], b"\xff" * 100, whole[:8] + b"\x00" * 100 + whole[108:]):
        path.write_bytes(data)
        one_line(lambda: DiffusionPolicy.load(folder))
    position = tensors["denoiser.position"].clone()
    position[0, 0] = float("inf")
    save_file({**tensors, "denoiser.position": position}, path)
    assert "denoiser.position" in one_line(lambda: DiffusionPolicy.load(folder))
    del tensors["denoiser.position"]
    save_file(tensors, path)
    one_line(lambda: DiffusionPolicy.load(folder))


@pytest.mark.parametrize("columns", ["[]", "{}", '{"a": 3}', '{"a": [0, "x"]}', '{"a": [0, 9999]}', "["])
def test_recorded_windows_of_other_columns_are_refused(columns: str, folder: Path) -> None:
    path = folder / RECORDED
    save_file({"rows": load_file(path)["rows"]}, path, {"columns": columns})
    one_line(lambda: RecordedWindows.load(folder))


def test_an_actor_whose_layers_do_not_fit_is_refused_before_it_is_made(
    actor_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = actor_folder / ACTOR
    tensors = load_file(path)
    monkeypatch.setattr(tracking.nn, "Linear", lambda *_: pytest.fail("made a layer"))
    hostile: list[dict[str, torch.Tensor]] = [
        {"actor.mlp.0.weight": torch.zeros(100_000, 1), "actor.mlp.2.weight": torch.zeros(100_000, 1)},
        {"actor.mlp.0.weight": torch.zeros(10**6, 0)},
        {"actor.mlp.0.weight": torch.zeros(4)},
        {"actor.mlp.x.weight": torch.zeros(4, 4)},
        {"actor.mlp.0.weight": torch.full((256, 160), float("nan"))},
    ]
    for changes in hostile:
        save_file({**tensors, **changes}, path)
        one_line(lambda: TrackingPolicy.load(actor_folder))
    save_file({k: v for k, v in tensors.items() if k.startswith("critic.")}, path)
    one_line(lambda: TrackingPolicy.load(actor_folder))


@pytest.mark.parametrize("missing", ["actor.mlp.0.bias", "actor.obs_normalizer._mean"])
def test_an_actor_without_a_part_is_refused(missing: str, actor_folder: Path) -> None:
    tensors = load_file(actor_folder / ACTOR)
    del tensors[missing]
    save_file(tensors, actor_folder / ACTOR)
    one_line(lambda: TrackingPolicy.load(actor_folder))


@pytest.mark.parametrize("name", ["exp_avg", "x.exp_avg", "-1.exp_avg", "1.", "9" * 5000 + ".step", "²."])
def test_moments_of_no_parameter_are_refused(name: str, actor_folder: Path) -> None:
    save_file({name: torch.zeros(1)}, actor_folder / OPTIMIZER)
    one_line(lambda: load_optimizer(actor_folder))


@pytest.mark.parametrize("name", [CARD, EVALUATION])
@pytest.mark.parametrize("text", ["", "[]", "3", "{}", '{"version": 1, "network": 3, "completion": []}'])
def test_a_card_of_another_shape_is_refused(name: str, text: str, actor_folder: Path) -> None:
    (actor_folder / name).write_text(text)
    one_line(lambda: shipped_tracking.shipped_policies(actor_folder.parent))
