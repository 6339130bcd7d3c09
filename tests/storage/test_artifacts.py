import contextlib
import json
import shutil
import time
from pathlib import Path

import pytest

from beyondmimic_data.errors import StoreError
from beyondmimic_data.files import write_bytes
from storage import artifacts
from storage.artifacts import (
    Artifact,
    ArtifactStore,
    describe,
    require_free_space,
)
from storage.manifests import parent_lines, read_manifest


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "data")


def make(store: ArtifactStore, recipe: str, content: bytes = b"a", **meta: object) -> Artifact:
    with store.build("policies", "walk", recipe) as build:
        (build.path / "sub").mkdir(exist_ok=True)
        (build.path / "sub" / "policy.bin").write_bytes(content)
        build.meta.update(meta)
    artifact = store.find("policies", "walk", recipe)
    assert artifact is not None
    return artifact


def test_a_built_artifact_is_found_with_what_was_recorded(store: ArtifactStore) -> None:
    assert store.find("policies", "walk", "r1") is None
    artifact = make(store, "r1", parents=[{"kind": "motions", "key": "walk", "recipe": "m1"}])
    assert artifact.path == store.root / "policies" / "walk" / "r1"
    assert artifact.root == store.root
    assert artifact.meta["parents"][0]["recipe"] == "m1"
    assert describe(artifact) == {
        "kind": "policies",
        "key": "walk",
        "recipe": "r1",
        "version": artifact.version,
    }
    assert (store.kinds(), store.keys("policies"), store.keys("motions")) == (["policies"], ["walk"], [])
    assert sorted(p.name for p in artifact.path.parent.iterdir()) == ["r1"]


def test_the_version_is_that_of_the_bytes(store: ArtifactStore) -> None:
    first, same, other = make(store, "r1"), make(store, "r2", figure=3), make(store, "r3", b"b")
    assert first.version == same.version != other.version


def test_scratch_is_kept_but_not_versioned(store: ArtifactStore) -> None:
    plain = make(store, "r1")
    with store.build("policies", "walk", "r2") as build:
        write_bytes(build.path / "sub" / "policy.bin", b"a")
        write_bytes(build.path / "scratch" / "log.txt", b"took 3 s")
    with store.build("policies", "walk", "r3") as build:
        write_bytes(build.path / "sub" / "policy.bin", b"a")
        write_bytes(build.path / "scratchpad.txt", b"a result")
    scratch, pad = (store.find("policies", "walk", recipe) for recipe in ("r2", "r3"))
    assert scratch is not None
    assert pad is not None
    assert (scratch.path / "scratch" / "log.txt").exists()
    assert scratch.version == plain.version != pad.version


def test_what_killed_writers_left_enters_neither_version_nor_folder(store: ArtifactStore) -> None:
    plain = make(store, "r1")
    with store.build("policies", "walk", "r2") as build:
        write_bytes(build.path / "sub" / "policy.bin", b"a")
        (build.path / "sub" / ".policy.bin.x1.tmp.bin").write_bytes(b"half")
        (build.path / "0.17.partial").write_bytes(b"half")
    swept = store.find("policies", "walk", "r2")
    assert swept is not None
    assert swept.version == plain.version
    assert sorted(p.name for p in swept.path.rglob("*")) == ["manifest.json", "policy.bin", "sub"]


def test_a_digest_that_is_known_is_not_computed_again(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = []
    hash_file = artifacts.hash_file
    monkeypatch.setattr(artifacts, "hash_file", lambda path: hashed.append(path.name) or hash_file(path))
    with store.build("policies", "walk", "r1") as build:
        write_bytes(build.path / "big.bin", b"x")
        write_bytes(build.path / "small.bin", b"y")
        build.digests["big.bin"] = hash_file(build.path / "big.bin")
    assert hashed == ["small.bin"]
    files = json.loads((store.folder("policies", "walk", "r1") / "manifest.json").read_text())["files"]
    assert files["big.bin"] == {
        "bytes": 1,
        "sha256": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
    }


def test_a_failed_build_stays_invisible_and_is_gone_on_with(store: ArtifactStore) -> None:
    with contextlib.suppress(RuntimeError), store.build("policies", "walk", "r1") as build:
        write_bytes(build.path / "done.bin", b"1")
        raise RuntimeError
    assert store.find("policies", "walk", "r1") is None
    assert store.list("policies", "walk") == []
    with store.build("policies", "walk", "r1") as build:
        assert (build.path / "done.bin").read_bytes() == b"1"
    assert store.find("policies", "walk", "r1") is not None


def test_a_complete_artifact_is_not_built_again(store: ArtifactStore) -> None:
    make(store, "r1")
    with pytest.raises(StoreError, match="complete already"):
        make(store, "r1")
    assert make(store, "r2").recipe == "r2"


def test_one_builder_at_a_time(store: ArtifactStore) -> None:
    with store.build("policies", "walk", "r1"):
        with pytest.raises(StoreError, match=r"policies/walk/r1 is being built by another process"):
            make(store, "r1")
        make(store, "r2")
    assert [a.recipe for a in store.list("policies", "walk")] == ["r2", "r1"]


def test_a_clock_that_steps_back_changes_no_order(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make(store, "z")
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    second, third = make(store, "b"), make(store, "a")
    assert first.created < second.created < third.created
    assert [a.recipe for a in store.list("policies", "walk")] == ["z", "b", "a"]
    assert store.latest("policies", "walk") == third


def test_a_removal_that_was_cut_short_is_built_over(store: ArtifactStore) -> None:
    whole = make(store, "r1")
    (whole.path / "manifest.json").unlink()
    assert store.find("policies", "walk", "r1") is None
    (whole.path / "sub" / "left.bin").write_bytes(b"left")
    again = make(store, "r1")
    assert again.version == whole.version
    assert not (again.path / "sub" / "left.bin").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not valid JSON"),
        ("[]", "schema_version: found 'list', expected 2"),
        ('{"schema_version": 9}', "schema_version: found 9, expected 2"),
        (
            '{"schema_version": 2, "recipe": "r1"}',
            "created, files, key, kind, manifest_sha256, meta, version missing",
        ),
    ],
)
def test_a_manifest_that_cannot_be_used_is_named(store: ArtifactStore, text: str, message: str) -> None:
    (make(store, "r1").path / "manifest.json").write_text(text)
    with pytest.raises(StoreError, match=rf"r1/manifest\.json.*{message}.*remove that folder"):
        store.find("policies", "walk", "r1")


def test_room_on_the_disk_is_asked_for_first(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    require_free_space(tmp_path / "not" / "there", 1)
    with pytest.raises(StoreError, match=r"GB are needed and .* GB are free"):
        require_free_space(tmp_path / "not" / "there", 10 * free)
    assert not (tmp_path / "not").exists()


def test_an_adopted_artifact_keeps_its_manifest_and_nothing_else(
    store: ArtifactStore, tmp_path: Path
) -> None:
    origin = make(store, "r1", figure=3)
    manifest = read_manifest(origin.path)
    other = ArtifactStore(tmp_path / "other")
    newer = make(other, "r2", b"b")
    write_bytes(other.partial("policies", "walk", "r1") / "left.bin", b"of an interrupted build")
    with other.adopt(manifest) as folder:
        write_bytes(folder / "sub" / "policy.bin", b"a")
        assert other.find("policies", "walk", "r1") is None
        with pytest.raises(StoreError, match="being built by another process"):
            make(other, "r1")
    adopted = other.find("policies", "walk", "r1")
    assert adopted is not None
    assert (adopted.version, adopted.meta, adopted.created) == (origin.version, {"figure": 3}, origin.created)
    assert read_manifest(adopted.path) == manifest
    assert [p.name for p in adopted.path.rglob("*") if p.is_file()] == ["manifest.json", "policy.bin"]
    assert other.latest("policies", "walk") == newer
    with pytest.raises(StoreError, match="complete already"), other.adopt(manifest):
        pass


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"version": "another"}, "its version is not that of its files"),
        ({"files": {"../x": {"bytes": 1, "sha256": "0"}}}, r"'\.\./x' is no file below it"),
        ({"files": {"/x": {"bytes": 1, "sha256": "0"}}}, "'/x' is no file below it"),
        ({"files": {"manifest.json": {"bytes": 1, "sha256": "0"}}}, "is no file below it"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_not_adopted(
    change: dict, expected: str, store: ArtifactStore, tmp_path: Path
) -> None:
    manifest = read_manifest(make(store, "r1").path) | change
    other = ArtifactStore(tmp_path / "other")
    with pytest.raises(StoreError, match=f"policies/walk/r1 is damaged: .*{expected}"), other.adopt(manifest):
        pass
    assert not other.root.exists()


@pytest.mark.parametrize("recipe", ["..", "", "a/b"])
def test_parents_are_names_of_the_store(recipe: str) -> None:
    parents = [{"kind": "motions", "key": "walk", "recipe": "m1"}]
    assert parent_lines({"parents": parents}, "x") == parents
    with pytest.raises(StoreError, match=r"x: meta\.parents: found .* expected a list"):
        parent_lines({"parents": [parents[0] | {"recipe": recipe}]}, "x")
