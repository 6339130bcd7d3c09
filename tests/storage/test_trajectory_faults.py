import errno
import io
import json
import logging
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from stored_rollouts import (
    CHUNK_STEPS,
    SCHEMA,
    UNITS,
    build_rollouts,
    tree_bytes,
    unit_of,
    write_rollouts,
    write_unit,
)

from beyondmimic_data.errors import StoreError
from storage import layout
from storage.artifacts import Artifact, ArtifactStore
from storage.trajectory_reader import TrajectoryReader
from storage.trajectory_writer import TrajectoryWriter

REPOSITORY = Path(__file__).parents[2]

# Where a builder dies: in the middle of a file's bytes, or just before something takes its name.
DEATHS = [
    ("rename", "steps.zarr/steps/zarr.json"),
    ("rename", "steps.zarr/zarr.json"),
    ("open", "steps.zarr/steps/c/1/.0.*.tmp"),
    ("replace", "steps.zarr/steps/c/1/0"),
    ("write_bytes", "units/.00001.json.*.tmp.json"),
    ("replace", "units/00001.json"),
    ("replace", "units/00003.json"),
    ("replace", "episodes.parquet"),
    ("replace", "statistics.json"),
    ("replace", "manifest.json"),
    ("rename", "rollouts/walk/r1"),
]

# One process imports everything and forks a builder for each death.
KILLED_BUILDERS = """
import fnmatch, io, json, os, signal, sys
from pathlib import Path
import zarr
sys.path.insert(0, sys.argv[3])
from storage.artifacts import Artifact, ArtifactStore
from stored_rollouts import build_rollouts

class Dies(io.FileIO):
    def write(self, data):
        data = bytes(data)
        super().write(data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

def build_and_die(root, method, where):
    original = getattr(Path, method)

    def dies(self, *arguments, **keywords):
        target = arguments[0] if method in ("rename", "replace") else self
        made_by_zarr = "/.steps.zarr." in str(target)
        if fnmatch.fnmatch(str(target), "*/" + where) and not made_by_zarr:
            if method == "open":
                return Dies(self, arguments[0])
            if method == "write_bytes":
                Dies(self, "wb").write(arguments[0])
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, *arguments, **keywords)

    setattr(Path, method, dies)
    build_rollouts(ArtifactStore(root), "walk", "r1")

statuses = []
for number, death in enumerate(json.loads(sys.argv[2])):
    child = os.fork()
    if child == 0:
        try:
            build_and_die(Path(sys.argv[1]) / str(number), *death)
        finally:
            os._exit(1)
    statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(json.dumps(statuses))
"""


@pytest.fixture(scope="module")
def killed_builds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the store of each death below it."""
    root = tmp_path_factory.mktemp("killed")
    command = [
        sys.executable,
        "-c",
        KILLED_BUILDERS,
        str(root),
        json.dumps(DEATHS),
        str(Path(__file__).parent),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert json.loads(done.stdout) == [-signal.SIGKILL] * len(DEATHS), done.stderr
    return root


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return build_rollouts(ArtifactStore(tmp_path_factory.mktemp("undisturbed")), "walk", "r1")


@pytest.mark.parametrize("number", range(len(DEATHS)), ids=[f"{how}-{what}" for how, what in DEATHS])
def test_a_killed_builder_leaves_nothing_visible_and_its_rerun_the_same_bytes(
    killed_builds: Path, undisturbed: Artifact, number: int
) -> None:
    store = ArtifactStore(killed_builds / str(number))
    assert store.find("rollouts", "walk", "r1") is None
    assert store.keys("rollouts") == []
    assert store.partial("rollouts", "walk", "r1").exists()
    finished = build_rollouts(store, "walk", "r1")
    assert finished.version == undisturbed.version
    found, expected = tree_bytes(finished.path), tree_bytes(undisturbed.path)
    del found["manifest.json"], expected["manifest.json"]  # it holds a time
    assert found == expected
    assert not [p for p in store.root.rglob("*") if p.name.endswith((".partial", ".lock", ".tmp"))]


def test_a_unit_that_cannot_be_written_stays_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = TrajectoryWriter.create(tmp_path, SCHEMA, units=4, chunk_steps=CHUNK_STEPS)
    write_unit(writer, 0, UNITS[0])
    before = tree_bytes(tmp_path)

    class Full(io.FileIO):
        def write(self, data: memoryview) -> int:
            super().write(bytes(data)[:100])
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda self, mode="r": Full(self, mode))
        with pytest.raises(StoreError, match=r"unit 1 cannot be written \(No space left on device\)"):
            write_unit(writer, 1, UNITS[1])
    assert tree_bytes(tmp_path) == before
    assert writer.missing_units() == [1, 2, 3]
    with pytest.raises(StoreError, match=r"3 of 4 units are missing: \[1, 2, 3\]"):
        writer.finish()
    write_rollouts(tmp_path)
    write_rollouts(tmp_path / "undisturbed")
    expected = tree_bytes(tmp_path / "undisturbed")
    assert {name: data for name, data in tree_bytes(tmp_path).items() if name in expected} == expected


def test_a_unit_written_twice_is_written_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    writer = TrajectoryWriter.create(tmp_path, SCHEMA, units=1, chunk_steps=CHUNK_STEPS)
    rows, episodes = unit_of(0, (40,), CHUNK_STEPS)
    first = writer.write_unit(0, [rows], episodes)
    before = layout.chunk_path(tmp_path, 0).stat()
    again = TrajectoryWriter.open(tmp_path).write_unit(0, [rows], episodes)
    assert again.sha256 == first.sha256
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        kept = writer.write_unit(0, [rows + 1], episodes)
    assert kept.sha256 == first.sha256
    assert "unit 0 came out different a second time" in caplog.text
    after = layout.chunk_path(tmp_path, 0).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def spoil_chunk(folder: Path) -> None:
    layout.chunk_path(folder, 1).unlink()


def cut_chunk(folder: Path) -> None:
    path = layout.chunk_path(folder, 1)
    path.write_bytes(path.read_bytes()[:-1])


def spoil_marker(folder: Path) -> None:
    layout.marker_path(folder, 1).write_text('{"unit": 1')


def drop_marker(folder: Path) -> None:
    layout.marker_path(folder, 1).unlink()


@pytest.mark.parametrize("damage", [spoil_chunk, cut_chunk, spoil_marker, drop_marker])
def test_a_damaged_unit_is_collected_again(tmp_path: Path, damage) -> None:
    write_rollouts(tmp_path)
    whole = tree_bytes(tmp_path)
    damage(tmp_path)
    assert TrajectoryWriter.open(tmp_path).missing_units() == [1]
    write_rollouts(tmp_path)
    assert tree_bytes(tmp_path) == whole


@pytest.mark.parametrize("damage", [spoil_chunk, cut_chunk])
def test_a_reader_refuses_a_store_that_lost_bytes(tmp_path: Path, damage) -> None:
    for chunk_steps in (CHUNK_STEPS, CHUNK_STEPS + 1):  # mapped, and read into memory
        folder = tmp_path / str(chunk_steps)
        write_rollouts(folder, chunk_steps=chunk_steps)
        damage(folder)
        with pytest.raises(StoreError, match=r"c/1/0: (missing|found)"):
            TrajectoryReader(folder)


def test_leftovers_of_killed_writers_are_swept(tmp_path: Path) -> None:
    write_rollouts(tmp_path)
    whole = tree_bytes(tmp_path)
    for name in (
        "steps.zarr/steps/c/1/.0.abc.tmp",
        "steps.zarr/steps/c/1/0.0f.partial",
        "units/.00001.json.x.tmp.json",
    ):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / ".steps.zarr.abc.tmp" / "steps").mkdir(parents=True)
    write_rollouts(tmp_path)
    assert tree_bytes(tmp_path) == whole
    assert not (tmp_path / ".steps.zarr.abc.tmp").exists()


def test_an_unfinished_store_cannot_be_read(tmp_path: Path) -> None:
    writer = TrajectoryWriter.create(tmp_path, SCHEMA, units=1, chunk_steps=CHUNK_STEPS)
    write_unit(writer, 0, (40,))
    with pytest.raises(StoreError, match=r"episodes.parquet: missing; the collection .* is not finished"):
        TrajectoryReader(tmp_path)
    with pytest.raises(StoreError, match="holds no rollouts"):
        TrajectoryWriter.open(tmp_path / "nowhere")
    with pytest.raises(StoreError, match="found 1, expected 0 to 0"):
        writer.write_unit(1, [np.zeros((0, 8))], [])


def test_many_processes_write_one_store(tmp_path: Path) -> None:
    """Two processes take every unit, in opposite order, so each is written by one and met by the other."""
    TrajectoryWriter.create(tmp_path / "a", SCHEMA, units=4, chunk_steps=CHUNK_STEPS)
    script = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from stored_rollouts import UNITS, write_unit
from storage.trajectory_writer import TrajectoryWriter
writer = TrajectoryWriter.open(Path(sys.argv[1]))
for unit in eval(sys.argv[3]):
    write_unit(writer, unit, UNITS[unit])
"""
    command = [sys.executable, "-c", script, str(tmp_path / "a"), str(Path(__file__).parent)]
    workers = [
        subprocess.Popen([*command, order], cwd=REPOSITORY) for order in ("[0, 1, 2, 3]", "[3, 2, 1, 0]")
    ]
    assert [worker.wait(60) for worker in workers] == [0, 0]
    write_rollouts(tmp_path / "a")
    write_rollouts(tmp_path / "b")
    assert tree_bytes(tmp_path / "a") == tree_bytes(tmp_path / "b")


def test_two_builders_at_once(tmp_path: Path) -> None:
    script = """
import sys
from storage.artifacts import Artifact, ArtifactStore
with ArtifactStore(sys.argv[1]).build("rollouts", "walk", "r1"):
    print("building", flush=True)
    sys.stdin.readline()
"""
    other = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY,
    )  # fmt: skip
    assert other.stdout is not None
    assert other.stdout.readline() == "building\n"
    store = ArtifactStore(tmp_path)
    with pytest.raises(StoreError, match="rollouts/walk/r1 is being built by another process"):
        build_rollouts(store, "walk", "r1")
    build_rollouts(store, "walk", "r2")
    other.kill()
    other.wait()
    other.stdin.close()  # type: ignore[union-attr]
    other.stdout.close()
    assert TrajectoryReader(build_rollouts(store, "walk", "r1").path).episodes.num_rows == 7
