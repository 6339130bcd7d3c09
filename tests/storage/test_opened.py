"""What is opened of the store is what was recorded."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from beyondmimic_data.errors import StoreError
from beyondmimic_data.hashing import hash_file
from storage.artifacts import Artifact, ArtifactStore
from storage.integrity import check_opened, opened
from storage.manifests import MANIFEST, seal


@pytest.fixture
def policy(tmp_path: Path) -> Artifact:
    store = ArtifactStore(tmp_path)
    with store.build("policies", "walk", "r1") as build:
        (build.path / "policy.safetensors").write_bytes(b"weights")
        (build.path / "more").mkdir()
        (build.path / "more" / "training.json").write_text("{}")
        (build.path / "scratch").mkdir()
        (build.path / "scratch" / "checkpoint.pt").write_bytes(b"half way")
    found = store.find("policies", "walk", "r1")
    assert found is not None
    return found


def test_an_intact_artifact_is_opened(policy):
    assert opened(policy) == policy.path


def test_scratch_may_differ_or_be_gone(policy):
    (policy.path / "scratch" / "checkpoint.pt").write_bytes(b"further")
    assert opened(policy) == policy.path
    shutil.rmtree(policy.path / "scratch")
    assert opened(policy) == policy.path


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "zeros of equal length": (
        lambda p: (p / "policy.safetensors").write_bytes(bytes(7)),
        r"policy\.safetensors: its bytes are not those",
    ),
    "cut": (
        lambda p: (p / "policy.safetensors").write_bytes(b"weigh"),
        r"policy\.safetensors: found 5 bytes, expected 7",
    ),
    "missing": (lambda p: (p / "policy.safetensors").unlink(), r"policy\.safetensors: No such file"),
    "deeper": (lambda p: (p / "more" / "training.json").write_text("[]"), r"more/training\.json: its bytes"),
    "no manifest": (lambda p: (p / MANIFEST).unlink(), r"manifest\.json: missing"),
    "broken manifest": (lambda p: (p / MANIFEST).write_text("{"), "not valid JSON"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_not_as_it_was_recorded_is_refused_by_name(policy, damage):
    harm, said = DAMAGE[damage]
    harm(policy.path)
    with pytest.raises(StoreError, match=said) as refused:
        opened(policy)
    assert "data verify --heal" in str(refused.value)


def test_a_manifest_that_was_made_to_fit_other_bytes_is_refused(policy):
    other = policy.path / "policy.safetensors"
    other.write_bytes(bytes(7))
    manifest = json.loads((policy.path / MANIFEST).read_text())
    manifest["files"]["policy.safetensors"]["sha256"] = hash_file(other)
    (policy.path / MANIFEST).write_text(json.dumps(seal(manifest)))
    with pytest.raises(StoreError, match="its version is not that of its files"):
        opened(policy)


def test_another_artifact_in_its_place_is_refused(policy, tmp_path):
    shutil.rmtree(policy.path)
    with ArtifactStore(tmp_path).build("policies", "walk", "r1") as build:
        (build.path / "policy.safetensors").write_bytes(b"others")
    with pytest.raises(StoreError, match="was replaced"):
        opened(policy)


def test_a_folder_that_is_no_artifact_has_nothing_to_compare_with(policy, tmp_path):
    (tmp_path / "mine").mkdir()
    check_opened(tmp_path / "mine", again=True)
    check_opened(policy.path, again=True)
    (policy.path / "policy.safetensors").write_bytes(bytes(7))
    with pytest.raises(StoreError, match="its bytes are not those"):
        check_opened(policy.path, again=True)
