"""Weights are refused where they are not finite or not those that their card names."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from beyondmimic_data.diffusion import shipped as shipped_diffusion
from beyondmimic_data.diffusion.policy import DiffusionPolicy
from beyondmimic_data.diffusion.windows import RecordedWindows
from beyondmimic_data.errors import StoreError
from beyondmimic_data.shipping import CARD
from beyondmimic_data.tracking import shipped
from beyondmimic_data.tracking.policy import TrackingPolicy, load_weights

FOUNDATION = shipped.FOLDER / shipped.FOUNDATION
LOADERS = {
    "policy.safetensors": (FOUNDATION, TrackingPolicy.load),
    "model.safetensors": (shipped_diffusion.FOLDER, DiffusionPolicy.load),
}


@pytest.fixture(params=LOADERS)
def copied(request, tmp_path):
    """Folder of a copy of a shipped policy, the name of its weights and what loads it."""
    name, (source, load) = request.param, LOADERS[request.param]
    shutil.copytree(source, tmp_path / "policy")
    return tmp_path / "policy", name, load


def change(path: Path, make) -> None:
    save_file({name: make(values) for name, values in load_file(path).items()}, path)


def test_a_copy_loads_with_its_card_and_without(copied):
    folder, _, load = copied
    load(folder)
    (folder / CARD).unlink()
    load(folder)


def test_weights_under_the_card_of_others_are_refused(copied):
    folder, name, load = copied
    change(folder / name, torch.zeros_like)
    with pytest.raises(StoreError, match=rf"{name}: its bytes are not those that ship: .*restore both"):
        load(folder)


@pytest.mark.parametrize("card", ["{", "[]", "{}", '{"version": 3}', '{"version": null}'])
def test_a_card_that_names_no_such_weights_is_refused(copied, card):
    folder, _, load = copied
    (folder / CARD).write_text(card)
    with pytest.raises(StoreError, match=r"cannot be compared|its bytes are not those that ship"):
        load(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(copied, value):
    folder, name, load = copied
    (folder / CARD).unlink()

    def spoil(values: torch.Tensor) -> torch.Tensor:
        if values.is_floating_point() and values.numel() > 1:
            values = values.clone()
            values.view(-1)[-1] = value
        return values

    change(folder / name, spoil)
    with pytest.raises(StoreError, match=rf"{name}: .*: 1 of \d+ numbers are not finite"):
        load(folder)


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.999])
def test_a_cut_file_is_one_clear_error(copied, kept):
    folder, name, load = copied
    (folder / CARD).unlink()
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: int(kept * len(data))])
    with pytest.raises(StoreError, match=r"damaged|no readable policy"):
        load(folder)


def test_a_file_without_an_actor_is_one_clear_error(tmp_path):
    weights = load_weights(FOUNDATION)
    critic = {name: values for name, values in weights.items() if name.startswith("critic.")}
    save_file(critic, tmp_path / "policy.safetensors")
    with pytest.raises(StoreError, match=r"policy\.safetensors: no actor of a tracking policy"):
        TrackingPolicy.load(tmp_path)


@pytest.mark.parametrize("text", [b"\xff\xfe\x00", b"[]", b'{"schema_version": 1, "diffusion": 3}', b""])
def test_a_damaged_configuration_is_one_clear_error(tmp_path, text):
    shutil.copytree(shipped_diffusion.FOLDER, tmp_path / "policy")
    (tmp_path / "policy" / "config.json").write_bytes(text)
    with pytest.raises(StoreError, match="damaged diffusion policy"):
        DiffusionPolicy.load(tmp_path / "policy")


@pytest.mark.parametrize("what", ["not finite", "flat", "empty", "odd columns", "cut"])
def test_damaged_recorded_windows_are_one_clear_error(tmp_path, what):
    rows, columns = torch.zeros(2, 21, 342), {"root_pos_w": [0, 3]}
    if what == "not finite":
        rows[1, 3, 5] = torch.nan
    rows = {"flat": rows[0], "empty": rows[:0]}.get(what, rows)
    found = {"root_pos_w": [0, 3, 1, 4]} if what == "odd columns" else columns
    path = tmp_path / "windows.safetensors"
    save_file({"rows": rows.clone()}, path, {"columns": json.dumps(found)})
    if what == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(StoreError, match=r"windows\.safetensors"):
        RecordedWindows.load(tmp_path)
