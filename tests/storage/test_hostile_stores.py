"""What a store that anyone may write to can say, and what a pull makes of it: nothing outside is touched."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from mutants import BAD_NAMES, error_of, mutants
from stored_datasets import build_dataset
from stored_rollouts import build_rollouts, tree_bytes

from beyondmimic_data.errors import StoreError
from beyondmimic_data.files import write_bytes
from storage import object_store, transfer
from storage.artifacts import Artifact, ArtifactStore, describe
from storage.manifests import make_manifest, seal
from storage.object_store import ObjectStore, refuse_credentials
from storage.transfer import pull_dataset, push_dataset

MOTION, POLICY, ROLLOUTS, DATASET, MINE = (digit * 16 for digit in "12345")


@pytest.fixture
def there(tmp_path: Path) -> ArtifactStore:
    """Return a store with a dataset of its own, and with the motions that its user put there."""
    store = ArtifactStore(tmp_path / "there")
    build_dataset(store, MINE, build_rollouts(store, "run", MINE))
    write_bytes(store.root / "motion_folder" / "walk" / MOTION / "mine.bvh", b"the user's own")
    return store


@pytest.fixture
def dataset(tmp_path: Path) -> Artifact:
    """Return a dataset of a motion, a policy and rollouts, in another store."""
    store = ArtifactStore(tmp_path / "here")
    parents: list[dict[str, str]] = []
    for kind, recipe in (("motions", MOTION), ("policies", POLICY)):
        with store.build(kind, "walk", recipe) as build:
            write_bytes(build.path / "content.bin", kind.encode())
            build.meta["parents"] = list(parents)
        made = store.find(kind, "walk", recipe)
        assert made is not None
        parents.append(describe(made))
    return build_dataset(store, DATASET, build_rollouts(store, "walk", ROLLOUTS))


@pytest.fixture
def url(tmp_path: Path, dataset: Artifact) -> Iterator[str]:
    """Return the URL that the dataset was pushed to."""
    url = f"memory:/{tmp_path}"
    push_dataset(dataset, url, progress=lambda line: None)
    yield url
    fsspec.url_to_fs(url)[0].store.clear()


def pull(store: ArtifactStore, url: str, name: str = "latest") -> dict[str, Any]:
    return pull_dataset(store, url, "all", name, progress=lambda line: None)


def write_remote(url: str, place: str, data: bytes) -> None:
    fs, root = fsspec.url_to_fs(url)
    fs.store.pop(f"{root}/{place}", None)
    fs.pipe_file(f"{root}/{place}", data)


def read_manifest(url: str, place: str) -> dict[str, Any]:
    fs, root = fsspec.url_to_fs(url)
    return json.loads(fs.cat_file(f"{root}/{place}/manifest.json"))


def write_manifest(url: str, place: str, manifest: dict[str, Any]) -> None:
    write_remote(url, f"{place}/manifest.json", json.dumps(seal(manifest)).encode())


def assert_refused(there: ArtifactStore, url: str, match: str = ".") -> None:
    """Pull, and have it refused in one line with everything that was there before as it was."""
    before = tree_bytes(there.root.parent)
    with pytest.raises(StoreError, match=match) as refused:
        pull(there, url)
    assert "\n" not in str(refused.value)
    assert tree_bytes(there.root.parent) == before


def test_an_honest_store_is_pulled(there: ArtifactStore, url: str) -> None:
    assert pull(there, url)["copied"] == 2


@pytest.mark.parametrize("recipe", ["..", ".", ".hidden", "d1", "4" * 15, "4" * 17, "G" * 16, "x" * 300])
def test_a_folder_that_is_no_recipe_is_no_dataset(there: ArtifactStore, url: str, recipe: str) -> None:
    """With recipe ``..`` the folder of all local datasets was taken for what a crash left, and removed."""
    manifest = read_manifest(url, f"datasets/all/{DATASET}")
    fs, root = fsspec.url_to_fs(url)
    fs.rm(f"{root}/datasets", recursive=True)
    fs.store[f"{root}/datasets/all/{recipe}/manifest.json"] = fs.store.pop(f"{root}/x", None) or _file(
        fs, f"{root}/datasets/all/{recipe}/manifest.json", seal(manifest | {"recipe": recipe})
    )
    assert_refused(there, url, "datasets/all: holds nothing")


def _file(fs: Any, path: str, value: dict[str, Any]) -> Any:
    """Return an object of the memory store, whose own functions would resolve the path."""
    from fsspec.implementations.memory import MemoryFile

    return MemoryFile(fs, path, json.dumps(value).encode())


PARENT_CHANGES: list[tuple[str, Any]] = [
    *[("kind", name) for name in BAD_NAMES],
    *[("key", name) for name in BAD_NAMES],
    *[("recipe", name) for name in BAD_NAMES],
    *[("version", name) for name in BAD_NAMES],
    *[("kind", kind) for kind in ("motion_folder", "set_aside", "datasets", "motions", "bundles", "logs")],
    *[(name, value) for name in ("recipe", "version") for value in ("w1", "3" * 15, "A" * 16, "3" * 64)],
]


@pytest.mark.parametrize(("field", "value"), PARENT_CHANGES)
def test_a_parent_that_is_none_of_this_project_is_refused(
    there: ArtifactStore, url: str, field: str, value: Any
) -> None:
    """A parent of kind ``motion_folder`` replaced the user's motions."""
    manifest = read_manifest(url, f"datasets/all/{DATASET}")
    manifest["meta"]["parents"][0][field] = value
    write_manifest(url, f"datasets/all/{DATASET}", manifest)
    payload = make_manifest(("motion_folder", "walk", MOTION), 1.0, {"parents": []}, {})
    write_manifest(url, f"motion_folder/walk/{MOTION}", payload)
    assert_refused(there, url)


@pytest.mark.parametrize("field", ["kind", "key", "recipe"])
def test_a_manifest_of_another_place_is_refused(there: ArtifactStore, url: str, field: str) -> None:
    manifest = read_manifest(url, f"rollouts/walk/{ROLLOUTS}")
    write_manifest(url, f"rollouts/walk/{ROLLOUTS}", manifest | {field: MINE})
    assert_refused(there, url, f"{field}: found '{MINE}', expected that of its place")


@pytest.mark.parametrize(
    "line",
    [
        ("motion_folder", "walk", MOTION),
        ("diffusion", "all", MOTION),
        ("rollouts", "..", MOTION),
        ("rollouts", "walk", ".."),
        ("rollouts", "walk", "w1"),
    ],
)
def test_a_place_that_is_none_is_not_asked_for(url: str, line: tuple[str, str, str]) -> None:
    remote = ObjectStore(url)
    for ask in (remote.find, remote.place):
        with pytest.raises(StoreError):
            ask(*line)


@pytest.mark.parametrize("name", [*(n for n in BAD_NAMES if isinstance(n, str)), "a/../../x", "a//b", "a/"])
def test_a_file_that_would_lie_outside_is_refused(there: ArtifactStore, url: str, name: str) -> None:
    place = f"rollouts/walk/{ROLLOUTS}"
    manifest = read_manifest(url, place)
    files = manifest["files"] | {name: {"bytes": 4, "sha256": "0" * 64}}
    write_manifest(url, place, make_manifest(("rollouts", "walk", ROLLOUTS), 1.0, manifest["meta"], files))
    assert_refused(there, url)


def test_a_file_that_is_a_folder_too_is_refused(there: ArtifactStore, url: str) -> None:
    place = f"datasets/all/{DATASET}"
    manifest = read_manifest(url, place)
    files = manifest["files"] | {"dataset.json/x": {"bytes": 4, "sha256": "0" * 64}}
    write_manifest(url, place, make_manifest(("datasets", "all", DATASET), 1.0, manifest["meta"], files))
    assert_refused(there, url, "'dataset.json' is no file below it")


class Endless(io.RawIOBase):
    """A file that ends nowhere."""

    given = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        assert size >= 0, "all of it was asked for"
        Endless.given += size
        assert Endless.given < 2**20, "more is read than the manifest says"
        return bytes(size)


def serve_endless(monkeypatch: pytest.MonkeyPatch, url: str, name: str) -> None:
    """Have one file of a store end nowhere."""
    fs, _ = fsspec.url_to_fs(url)
    opened = type(fs).open

    def opens(self: Any, path: str, *words: Any, **options: Any) -> Any:
        return Endless() if path.endswith(name) else opened(self, path, *words, **options)

    Endless.given = 0
    monkeypatch.setattr(type(fs), "open", opens)


def test_a_file_is_read_no_further_than_its_manifest_says(
    there: ArtifactStore, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_endless(monkeypatch, url, "steps.zarr/steps/c/1/0")
    size = read_manifest(url, f"rollouts/walk/{ROLLOUTS}")["files"]["steps.zarr/steps/c/1/0"]["bytes"]
    with pytest.raises(StoreError, match=f"steps/c/1/0: larger than the {size} bytes in the manifest"):
        pull(there, url)
    assert there.find("rollouts", "walk", ROLLOUTS) is None
    assert not list(there.root.rglob("*.tmp*"))


def test_a_manifest_is_read_no_further_than_manifests_are_long(
    there: ArtifactStore, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store, "MAX_BYTES", 2**16)
    serve_endless(monkeypatch, url, f"datasets/all/{DATASET}/manifest.json")
    assert_refused(there, url, f"datasets/all/{DATASET}/manifest.json: larger than 65536 bytes")


def test_a_file_that_is_longer_or_shorter_than_its_entry_is_refused(there: ArtifactStore, url: str) -> None:
    fs, root = fsspec.url_to_fs(url)
    place = f"rollouts/walk/{ROLLOUTS}/statistics.json"
    data = fs.cat_file(f"{root}/{place}")
    for wrong, why in (
        (data + b"x", "larger than"),
        (data[:-1], "its bytes are not those"),
        (b"", "its bytes"),
    ):
        write_remote(url, place, wrong)
        with pytest.raises(StoreError, match=rf"statistics\.json: {why}"):
            pull(there, url)
    write_remote(url, place, data)
    assert pull(there, url)["copied"] == 2


def test_a_disk_that_is_full_is_one_line(
    there: ArtifactStore, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    class Full(io.FileIO):
        def write(self, data: Any) -> int:
            raise OSError(28, "No space left on device")

    def opens(self: Path, mode: str = "r", *words: Any) -> Any:
        return Full(self, mode) if ".tmp" in self.name and mode == "wb" else opened(self, mode, *words)

    monkeypatch.setattr(Path, "open", opens)
    with pytest.raises(StoreError, match="No space left on device; mend that and run again"):
        pull(there, url)


def test_ancestors_that_name_each_other_end(there: ArtifactStore, tmp_path: Path) -> None:
    """Policies may start from policies; a manifest can name its own artifact as a parent."""
    url = f"memory:/{tmp_path}/cycle"
    files: dict[str, Any] = {}
    lines = [("policies", "walk", POLICY), ("policies", "walk", MINE)]
    version = make_manifest(lines[0], 1.0, {}, files)["version"]
    described = [dict(zip(("kind", "key", "recipe", "version"), (*line, version))) for line in lines]
    for line, parent in zip(lines, reversed(described)):
        write_manifest(url, "/".join(line), make_manifest(line, 1.0, {"parents": [parent]}, files))
    rollouts = make_manifest(("rollouts", "walk", ROLLOUTS), 1.0, {"parents": described}, files)
    write_manifest(url, f"rollouts/walk/{ROLLOUTS}", rollouts)
    parents = [{name: rollouts[name] for name in ("kind", "key", "recipe", "version")}]
    made = make_manifest(("datasets", "all", DATASET), 1.0, {"parents": parents}, files)
    write_manifest(url, f"datasets/all/{DATASET}", made)
    assert pull(there, url)["copied"] == 4


def test_a_lineage_without_end_is_refused(
    there: ArtifactStore, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "MAX_ANCESTORS", 5)
    version = make_manifest(("policies", "walk", POLICY), 1.0, {}, {})["version"]

    def endless(self: ObjectStore, kind: str, key: str, recipe: str) -> dict[str, Any]:
        following = f"{int(recipe, 16) + 1:016x}"
        parent = {"kind": "policies", "key": key, "recipe": following, "version": version}
        return make_manifest((kind, key, recipe), 1.0, {"parents": [parent]}, {})

    manifest = read_manifest(url, f"datasets/all/{DATASET}")
    manifest["meta"]["parents"][0]["version"] = version
    monkeypatch.setattr(ObjectStore, "list", lambda *words: [manifest])
    monkeypatch.setattr(ObjectStore, "find", endless)
    assert_refused(there, url, "a dataset of more than 5 artifacts")


def test_no_manifest_of_wrong_types_brings_more_than_one_line(there: ArtifactStore, url: str) -> None:
    """Each field of both manifests with each wrong value, the manifest's own hash made right again."""
    outside = tree_bytes(there.root.parent / "here")
    mine = tree_bytes(there.root)
    tried = refused = 0
    for place in (f"datasets/all/{DATASET}", f"rollouts/walk/{ROLLOUTS}"):
        whole = read_manifest(url, place)
        for path, mutant in mutants(whole):
            tried += 1
            sealed = seal(mutant) if isinstance(mutant, dict) and path[:1] != ("manifest_sha256",) else mutant
            write_remote(url, f"{place}/manifest.json", json.dumps(sealed).encode())
            error = error_of(lambda: pull(there, url))
            refused += error is not None
            left = tree_bytes(there.root)
            assert {name: left.get(name) for name in mine} == mine, (place, path)
        write_manifest(url, place, whole)
    assert tried > 200
    assert refused > 0.7 * tried
    assert tree_bytes(there.root.parent / "here") == outside
    assert {path.name for path in there.root.parent.iterdir()} == {"here", "there"}


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"null", b'"x"', b"1e999"])
def test_what_is_no_manifest_is_one_line(there: ArtifactStore, url: str, data: bytes) -> None:
    write_remote(url, f"rollouts/walk/{ROLLOUTS}/manifest.json", data)
    assert_refused(there, url, rf"rollouts/walk/{ROLLOUTS}/manifest\.json: ")


SECRET = "wJalrXUt/nFEMI"


@pytest.mark.parametrize(
    "url",
    [
        f"s3://AKIAKEY:{SECRET}@bucket/prefix",
        "s3://AKIAKEY:wJalrXUt@bucket",
        "s3://wJalrXUt@bucket",
        "https://user:wJalrXUt@host/path",
        "https://wJalrXUt@host/path",
        "https://host/path?token=wJalrXUt",
        "HTTPS://user:wJalrXUt@host/path",
        "sftp://user:wJalrXUt@host/path",
        "file://user:wJalrXUt@host/path",
        "nobody://user:wJalrXUt@host/path",
        "simplecache::s3://AKIAKEY:wJalrXUt@bucket/prefix",
        "zip://x::https://user:wJalrXUt@host/a.zip",
        "AKIAKEY:wJalrXUt@bucket/prefix",
    ],
)
def test_an_address_with_credentials_is_refused_and_not_repeated(
    url: str, there: ArtifactStore, dataset: Artifact, caplog: pytest.LogCaptureFixture
) -> None:
    for use in (lambda: pull(there, url), lambda: push_dataset(dataset, url, progress=lambda line: None)):
        with pytest.raises(StoreError, match="it holds credentials, and is not repeated here") as refused:
            use()
        for text in (str(refused.value), repr(refused.value), caplog.text):
            assert "wJalrXUt" not in text
            assert "AKIAKEY" not in text
        assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/me@home/prefix",
        "s3://bucket",
        "s3://arn:aws:s3:us-west-2:123456789012:accesspoint/name/prefix",
        "http://127.0.0.1:9000/a@b",
        "sftp://user@host/path",
        "abfs://container@account.dfs.core.windows.net/path",
        "file:///mnt/a@b/c",
        "/mnt/a:b@c",
        "memory://x",
    ],
)
def test_an_address_without_credentials_is_not_refused(url: str) -> None:
    refuse_credentials(url)
