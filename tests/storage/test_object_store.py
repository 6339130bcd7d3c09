"""Dataset versions on object stores: a local S3 server, a folder, and memory behave alike."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from fsspec.registry import known_implementations
from stored_datasets import build_dataset
from stored_rollouts import tree_bytes, write_rollouts

from beyondmimic_data.errors import MissingToolError, StoreError
from beyondmimic_data.files import write_bytes
from storage import object_store
from storage.artifacts import Artifact, ArtifactStore, describe
from storage.dataset_reader import DatasetReader
from storage.integrity import verify
from storage.manifests import seal
from storage.object_store import ObjectStore
from storage.trajectory_reader import TrajectoryReader
from storage.transfer import pull_dataset, push_dataset

PROJECT = Path(object_store.__file__).parents[1]
M1, P1, W1, D1, D2 = (digit * 16 for digit in "12345")
"""Recipes of a motion, a policy, rollouts and two datasets."""
FOLDERS = [
    f"motions/walk/{M1}",
    f"policies/walk/{P1}",
    f"rollouts/walk/{W1}",
    f"motions/hop/{M1}",
    f"policies/hop/{P1}",
    f"rollouts/hop/{W1}",
    f"datasets/all/{D1}",
]
"""What the dataset of these tests is made from, in the order of a push."""
STRANGE = ("units/00009.json", "episodes.parquet")
"""Files of rollouts that an interrupted collection may leave, and that are not those of a pull."""
CHUNK = f"rollouts/walk/{W1}/steps.zarr/steps/c/1/0"


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    """Serve S3 on 127.0.0.1; yields the address."""
    pytest.importorskip("s3fs", reason="s3fs is not installed: extra dev-s3")
    reason = "the S3 server is not installed: extra dev-s3"
    server = pytest.importorskip("moto.server", reason=reason).ThreadedMotoServer(
        "127.0.0.1", 0, verbose=False
    )
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URL of an empty bucket, which the standard variables lead to."""
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for variable in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):  # none of whoever runs the tests
        monkeypatch.setenv(variable, str(tmp_path / "none"))
    s3fs.S3FileSystem.clear_instance_cache()
    name = re.sub("[^a-z0-9]+", "-", f"b-{tmp_path.name}".lower()).strip("-")
    s3fs.S3FileSystem().mkdir(name)
    return f"s3://{name}"


@pytest.fixture(params=["file", "memory", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        return f"{request.getfixturevalue('bucket')}/some/prefix"
    return f"file://{tmp_path}/remote" if request.param == "file" else f"memory:/{tmp_path}"


def build_skill(store: ArtifactStore, skill: str) -> Artifact:
    """Build a motion, a policy with a checkpoint in scratch, and rollouts."""
    with store.build("motions", skill, M1) as build:
        write_bytes(build.path / "clips" / "a.npz", b"clip of " + skill.encode())
        build.meta["parents"] = []
    motion = found(store, "motions", skill, M1)
    with store.build("policies", skill, P1) as build:
        write_bytes(build.path / "policy.onnx", b"policy of " + skill.encode())
        write_bytes(build.path / "scratch" / "checkpoint.pt", b"large")
        build.meta["parents"] = [describe(motion)]
    policy = found(store, "policies", skill, P1)
    with store.build("rollouts", skill, W1) as build:
        build.digests.update(write_rollouts(build.path, skill=skill))
        build.meta["parents"] = [describe(motion), describe(policy)]
    return found(store, "rollouts", skill, W1)


def found(store: ArtifactStore, *line: str) -> Artifact:
    artifact = store.find(*line)
    assert artifact is not None
    return artifact


@pytest.fixture
def here(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "here")


@pytest.fixture
def there(tmp_path: Path) -> ArtifactStore:
    """An empty store, of another machine."""
    return ArtifactStore(tmp_path / "there")


@pytest.fixture
def dataset(here: ArtifactStore) -> Artifact:
    return build_dataset(here, D1, build_skill(here, "walk"), build_skill(here, "hop"))


def push(dataset: Artifact, url: str, *skills: str) -> dict[str, Any]:
    return push_dataset(dataset, url, skills=skills, progress=lambda line: None)


def pull(store: ArtifactStore, url: str, *skills: str, name: str = "latest") -> dict[str, Any]:
    return pull_dataset(store, url, "all", name, skills=skills, progress=lambda line: None)


def content(store: ArtifactStore) -> dict[str, bytes]:
    """Return the files of a store but those in scratch."""
    return {name: data for name, data in tree_bytes(store.root).items() if "/scratch/" not in name}


def remote_files(url: str) -> dict[str, int]:
    """Return the size of each file below a URL."""
    fs, root = fsspec.url_to_fs(url)
    fs.invalidate_cache()
    return {name.removeprefix(f"{root}/"): info["size"] for name, info in fs.find(root, detail=True).items()}


def write_remote(url: str, data: bytes) -> None:
    fs, path = fsspec.url_to_fs(url)
    if not url.startswith("s3:"):
        fs.makedirs(path.rpartition("/")[0], exist_ok=True)
    fs.pipe_file(path, data)


def read_remote(url: str) -> bytes:
    fs, path = fsspec.url_to_fs(url)
    return fs.cat_file(path)


def flip_a_byte(url: str) -> None:
    data = bytearray(read_remote(url))
    data[len(data) // 2] ^= 1
    write_remote(url, bytes(data))


def remove_remote(url: str) -> None:
    fs, path = fsspec.url_to_fs(url)
    fs.rm(path, recursive=True)


class BreakingFileSystem:
    """A filesystem with one method that fails after some calls."""

    def __init__(self, whole: Any, method: str, calls: int) -> None:
        self._whole, self._method, self._left = whole, method, calls

    def __getattr__(self, name: str) -> Any:
        if name == self._method:
            self._left -= 1
            if self._left < 0:
                raise ConnectionResetError("the line is cut")
        return getattr(self._whole, name)


def break_after(monkeypatch: pytest.MonkeyPatch, method: str, calls: int) -> None:
    """Have a filesystem's method fail after some calls, one at a time."""
    url_to_fs = fsspec.url_to_fs

    def breaking(url: str, **options: Any) -> tuple[Any, str]:
        fs, root = url_to_fs(url, **options)
        return BreakingFileSystem(fs, method, calls), root

    monkeypatch.setattr(object_store, "STREAMS", 1)
    monkeypatch.setattr(fsspec, "url_to_fs", breaking)


def test_a_dataset_comes_back_with_all_that_it_was_made_from(
    here: ArtifactStore, there: ArtifactStore, dataset: Artifact, url: str
) -> None:
    sent = push(dataset, url)
    assert ["/".join((a["kind"], a["key"], a["recipe"])) for a in sent["artifacts"]] == FOLDERS
    assert (sent["copied"], sent["skipped"], sent["absent"]) == (7, 0, [])
    assert sent["dataset"]["version"] == dataset.version
    expected = content(here)
    assert {name: len(data) for name, data in expected.items()} == remote_files(url)
    pulled = pull(there, url)
    assert pulled["bytes"] == sent["bytes"] == sum(a["bytes"] for a in sent["artifacts"]) > 0
    assert content(there) == expected
    assert all(verify(there.root / folder) == [] for folder in FOLDERS)
    copy = found(there, "datasets", "all", D1)
    assert (copy.version, copy.meta, copy.created) == (dataset.version, dataset.meta, dataset.created)
    mine, theirs = DatasetReader(dataset), DatasetReader(copy)
    assert theirs.mapped
    np.testing.assert_array_equal(theirs.rows, mine.rows)


def test_what_is_complete_is_not_moved_again(
    here: ArtifactStore, there: ArtifactStore, dataset: Artifact, url: str
) -> None:
    push(dataset, url)
    again = push(dataset, f"{url}/")
    assert (again["copied"], again["skipped"], again["bytes"]) == (0, 7, 0)
    pull(there, url)
    again = pull(there, url)
    assert (again["copied"], again["skipped"], again["bytes"]) == (0, 7, 0)
    second = build_dataset(here, D2, found(here, "rollouts", "walk", W1))
    assert push(second, url)["copied"] == 1
    assert pull(there, url)["dataset"]["recipe"] == D2
    assert pull(there, url, name="previous")["dataset"]["recipe"] == D1
    with pytest.raises(StoreError, match=rf"datasets 'x': no such recipe or version; .* {D1}, {D2}"):
        pull(there, url, name="x")


def test_an_interrupted_push_is_invisible_and_goes_on(
    there: ArtifactStore, dataset: Artifact, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(dataset, url, "hop")
    remove_remote(f"{url}/datasets")
    with monkeypatch.context() as broken:
        break_after(broken, "put_file", 6)
        with pytest.raises(StoreError, match="ConnectionResetError: the line is cut; check the address"):
            push(dataset, url)
    left = remote_files(url)
    assert {name for name in left if name.endswith("manifest.json")} == {
        f"{folder}/manifest.json"
        for folder in FOLDERS
        if folder not in (f"rollouts/walk/{W1}", f"datasets/all/{D1}")
    }
    remote = ObjectStore(url)
    assert remote.find("rollouts", "walk", W1) is None
    assert remote.list("datasets", "all") == []
    half = [n for n in left if n.startswith(f"rollouts/walk/{W1}/") and "manifest" not in n]
    assert len(half) == 4
    again = push(dataset, url)
    assert again["copied"] == 2
    whole = {a["recipe"]: a["bytes"] for a in again["artifacts"] if a["copied"]}
    assert again["bytes"] == sum(whole.values()) - sum(left[name] for name in half)
    pull(there, url)
    assert verify(there.folder("rollouts", "walk", W1)) == []


def test_a_killed_push_goes_on(dataset: Artifact, there: ArtifactStore, tmp_path: Path) -> None:
    """Sending is slowed down, so that SIGKILL comes when some of the files are there."""
    url = f"file://{tmp_path}/remote"
    code = (
        "import sys, time\n"
        "from fsspec.implementations.local import LocalFileSystem\n"
        "from storage import object_store\n"
        "from storage.artifacts import ArtifactStore\n"
        "from storage.transfer import push_dataset\n"
        "put = LocalFileSystem.put_file\n"
        "def slow(*words):\n"
        "    time.sleep(0.2)\n"
        "    return put(*words)\n"
        "LocalFileSystem.put_file = slow\n"
        "object_store.STREAMS = 1\n"
        "dataset = ArtifactStore(sys.argv[1]).latest('datasets', 'all')\n"
        "push_dataset(dataset, sys.argv[2], progress=print)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(dataset.root), url], cwd=PROJECT)
    try:
        deadline = time.monotonic() + 60
        while not list((tmp_path / "remote").glob(f"rollouts/walk/{W1}/units/*")):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
    finally:
        process.kill()
    assert not list((tmp_path / "remote").glob("rollouts/*/*/manifest.json"))
    again = push(dataset, url)
    assert 0 < again["bytes"] < sum(a["bytes"] for a in again["artifacts"] if a["copied"])
    pull(there, url)
    assert all(verify(there.root / folder) == [] for folder in FOLDERS)


def test_what_another_version_left_half_sent_is_not_taken_for_this_one(
    here: ArtifactStore, there: ArtifactStore, dataset: Artifact, url: str
) -> None:
    folder = here.root / f"rollouts/walk/{W1}"
    other = json.loads((folder / "manifest.json").read_text()) | {"version": "another"}
    marker = "units/00000.json"
    left = {"manifest.json.partial": json.dumps(other).encode(), "stray.bin": b"stray"}
    left[marker] = b"x" * (folder / marker).stat().st_size
    for name, data in left.items():
        write_remote(f"{url}/rollouts/walk/{W1}/{name}", data)
    push(dataset, url)
    assert f"rollouts/walk/{W1}/stray.bin" not in remote_files(url)
    pull(there, url)
    assert content(there) == content(here)


def test_a_flipped_byte_is_refused_with_the_files_name(
    here: ArtifactStore, there: ArtifactStore, dataset: Artifact, url: str
) -> None:
    push(dataset, url)
    flip_a_byte(f"{url}/{CHUNK}")
    with pytest.raises(StoreError) as refused:
        pull(there, url)
    message = str(refused.value)
    assert message.startswith(f"{url}/{CHUNK}: its bytes are not those in the manifest: SHA-256 ")
    assert message.endswith(f"; remove {url}/rollouts/walk/{W1} and push it again")
    assert there.find("rollouts", "walk", W1) is None
    assert there.latest("datasets", "all") is None
    assert not (there.partial("rollouts", "walk", W1) / "steps.zarr/steps/c/1/0").exists()
    remove_remote(f"{url}/rollouts/walk/{W1}")
    assert push(dataset, url)["copied"] == 1
    assert pull(there, url)["copied"] == 5
    assert content(there) == content(here)


def test_an_interrupted_pull_goes_on(
    here: ArtifactStore, there: ArtifactStore, dataset: Artifact, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    total = push(dataset, url)["bytes"]
    with monkeypatch.context() as broken:
        break_after(broken, "open", 13)
        with pytest.raises(StoreError, match="the line is cut"):
            pull(there, url)
    assert there.find("policies", "walk", P1) is not None
    assert there.find("rollouts", "walk", W1) is None
    partial = there.partial("rollouts", "walk", W1)
    assert len(tree_bytes(partial)) == 4
    for name in STRANGE:
        write_bytes(partial / name, b"of an interrupted collection")
    assert pull(there, url)["bytes"] < total
    aside = f"set_aside/rollouts/walk/{W1}.partial.1"
    strange = {f"{aside}/{name}": b"of an interrupted collection" for name in STRANGE}
    assert content(there) == content(here) | strange


def test_a_file_that_is_gone_is_named(there: ArtifactStore, dataset: Artifact, url: str) -> None:
    push(dataset, url)
    remove_remote(f"{url}/{CHUNK}")
    with pytest.raises(
        StoreError, match=rf"{CHUNK}: missing; remove \S+/rollouts/walk/{W1} and push it again"
    ):
        pull(there, url)


def test_a_local_file_that_is_damaged_is_not_sent(dataset: Artifact, url: str) -> None:
    chunk = dataset.root / CHUNK
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"x")
    with pytest.raises(StoreError, match=rf"{CHUNK}: missing, or its bytes are not .*data verify --heal"):
        push(dataset, url)
    assert ObjectStore(url).find("rollouts", "walk", W1) is None


def test_nothing_is_overwritten(here: ArtifactStore, dataset: Artifact, url: str, tmp_path: Path) -> None:
    push(dataset, url)
    other = ArtifactStore(tmp_path / "other")
    with other.build("motions", "walk", M1) as build:
        write_bytes(build.path / "clips" / "a.npz", b"another clip")
        build.meta["parents"] = []
    before = content(other)
    expected = f"motions/walk/{M1}: version: found {found(other, 'motions', 'walk', M1).version}, expected "
    with pytest.raises(StoreError, match=expected):
        pull(other, url)
    assert content(other) == before
    shutil.copytree(here.root, other.root, dirs_exist_ok=True)
    elsewhere = f"{url}/elsewhere"
    push(dataset, elsewhere)
    remove_remote(f"{elsewhere}/motions/walk/{M1}")
    for name, data in before.items():
        write_remote(f"{elsewhere}/{name}", data)
    with pytest.raises(StoreError, match=expected):
        push(dataset, elsewhere)


def test_some_skills_only(there: ArtifactStore, dataset: Artifact, url: str) -> None:
    sent = push(dataset, url, "hop")
    assert ["/".join((a["kind"], a["key"], a["recipe"])) for a in sent["artifacts"]] == FOLDERS[3:]
    with pytest.raises(StoreError, match=rf"rollouts/walk/{W1}: missing, .*--skills"):
        pull(there, url)
    with pytest.raises(StoreError, match="skill: found 'fly', expected one of walk, hop"):
        pull(there, url, "fly")
    with pytest.raises(StoreError, match="skill: found 'fly', expected one of walk, hop"):
        push(dataset, url, "fly")
    assert pull(there, url, "hop")["copied"] == 4
    assert there.find("datasets", "all", D1) is not None


def test_an_ancestor_that_was_removed_is_reported(
    here: ArtifactStore, there: ArtifactStore, dataset: Artifact, url: str
) -> None:
    shutil.rmtree(here.root / "motions" / "hop")
    sent = push(dataset, url)
    assert [(line["kind"], line["key"]) for line in sent["absent"]] == [("motions", "hop")]
    assert pull(there, url)["absent"] == sent["absent"]
    shutil.rmtree(here.root / "rollouts" / "hop")
    with pytest.raises(StoreError, match=rf"rollouts/hop/{W1}: missing"):
        push(dataset, url)


def test_a_manifest_that_names_files_outside_is_refused(
    there: ArtifactStore, dataset: Artifact, url: str
) -> None:
    push(dataset, url)
    place = f"{url}/policies/walk/{P1}/manifest.json"
    manifest = json.loads(read_remote(place))
    manifest["files"]["../../escaped"] = manifest["files"].pop("policy.onnx")
    write_remote(place, json.dumps(seal(manifest)).encode())
    with pytest.raises(
        StoreError, match=rf"policies/walk/{P1} is damaged: '../../escaped' is no file below it"
    ):
        pull(there, url)
    assert not list(there.root.rglob("escaped"))


def test_progress_says_how_far_it_is(dataset: Artifact, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.transfer.PROGRESS_SECONDS", 0.0)
    lines: list[str] = []
    push_dataset(dataset, url, progress=lines.append)
    assert len(lines) == len([n for n in remote_files(url) if not n.endswith("manifest.json")])
    total = re.escape(lines[-1].split(" of ")[0])
    assert re.fullmatch(rf"{total} of {total} MB, \d+\.\d MB/s, 0 s left", lines[-1])


def test_the_documented_way_reads_rows_in_place(here: ArtifactStore, dataset: Artifact, url: str) -> None:
    push(dataset, url)
    document = (PROJECT / "docs" / "store.md").read_text()
    [code] = re.findall(r"### Looking at it in place\n.*?```python\n(.*?)```", document, re.DOTALL)
    placeholder = "s3://bucket/prefix/rollouts/synth__stand/<recipe>"
    assert placeholder in code
    names: dict[str, Any] = {}
    exec(code.replace(placeholder, f"{url}/rollouts/walk/{W1}"), names)
    reader = TrajectoryReader(here.folder("rollouts", "walk", W1))
    first = reader.episodes.slice(0, 1).to_pylist()[0]
    assert names["episodes"] == reader.episodes.to_pylist()
    assert names["steps"].shape == (first["length"], 8)
    start = first["start_row"]
    np.testing.assert_array_equal(names["steps"], reader.rows[start : start + first["length"]])


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("s4://bucket", r"s4://bucket: Protocol not known: s4; expected such as s3://bucket/prefix"),
        ("file:///", "file:///: names no place; expected such as s3://bucket/prefix"),
    ],
)
def test_a_wrong_address_is_one_line(url: str, expected: str, there: ArtifactStore) -> None:
    with pytest.raises(StoreError, match=expected):
        pull(there, url)


def test_an_empty_place_is_one_line(there: ArtifactStore, url: str) -> None:
    with pytest.raises(StoreError, match=rf"{url}/datasets/all: holds nothing; push a dataset there first"):
        pull(there, url)


def test_a_missing_package_is_one_line(there: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"class": "no_such_package.FileSystem", "err": "Install no-such-package"}
    monkeypatch.setitem(known_implementations, "nobody", entry)
    with pytest.raises(MissingToolError, match=r"nobody://x/y: Install no-such-package; .* extra 's3'"):
        pull(there, "nobody://x/y")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "EndpointConnectionError: Could not connect"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "NoCredentialsError: "),
    ],
)
def test_a_store_that_does_not_answer_is_one_line(
    change: dict[str, str],
    expected: str,
    bucket: str,
    dataset: Artifact,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import s3fs

    for name, value in {**change, "AWS_EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(
        StoreError, match=f"{bucket}: {expected}.*; check the address.*AWS_ENDPOINT_URL"
    ) as told:
        push(dataset, bucket)
    assert "\n" not in str(told.value)


def test_a_bucket_that_does_not_exist_is_one_line(bucket: str, dataset: Artifact) -> None:
    with pytest.raises(
        StoreError, match=r"s3://no-such-bucket/x: FileNotFoundError: .*bucket does not exist"
    ):
        push(dataset, "s3://no-such-bucket/x")
