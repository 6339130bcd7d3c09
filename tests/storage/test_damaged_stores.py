"""Damage of every kind: found by whoever opens it, named in one line, and nothing is lost by healing."""

import functools
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from mutants import BAD_NAMES, cut, drop, error_of, flip_a_bit, mutants
from stored_datasets import build_dataset
from stored_rollouts import build_rollouts, reseal, tree_bytes, write_rollouts

from assets.building import reuse_or_build
from beyondmimic_data.errors import StoreError
from storage import integrity, layout
from storage.artifacts import Artifact, ArtifactStore
from storage.dataset_diff import diff_datasets
from storage.dataset_reader import DatasetReader
from storage.datasets import read_dataset
from storage.episode_index import check_places, read_episodes, write_episodes
from storage.episode_stream import EpisodeStream
from storage.garbage import find_garbage, newest
from storage.integrity import check_opened, heal, verify
from storage.manifests import MANIFEST, make_manifest, seal
from storage.step_array import read_array_info
from storage.trajectory_reader import TrajectoryReader, read_moments
from storage.units import UnitMarker


def later(path: Path) -> None:
    """Have a file be written after the manifest: in a test both are written within one tick of the clock."""
    seconds = time.time() + 60
    os.utime(path, (seconds, seconds))


DAMAGES: list[tuple[Callable[[Path], None], str]] = [
    (damage, name)
    for damage in (flip_a_bit, cut, drop)
    for name in (
        "steps.zarr/steps/c/3/0",
        "units/00003.json",
        "episodes.parquet",
        "statistics.json",
        "steps.zarr/zarr.json",
        "steps.zarr/steps/zarr.json",
    )
]


@pytest.mark.parametrize(("damage", "name"), DAMAGES, ids=[f"{d.__name__}-{n}" for d, n in DAMAGES])
def test_damage_is_found_by_every_reader_and_by_the_next_run(
    store: ArtifactStore, rollouts: Artifact, damage: Callable[[Path], None], name: str
) -> None:
    dataset = build_dataset(store, "d1", rollouts)
    integrity._check_once.cache_clear()  # as in the process of the next run
    damage(rollouts.path / name)
    if damage is flip_a_bit:
        later(rollouts.path / name)
    uses: list[Callable[[], object]] = [
        lambda: TrajectoryReader(rollouts.path),
        lambda: DatasetReader(dataset),
        lambda: EpisodeStream(dataset),
        lambda: build_dataset(store, "d2", rollouts),
        lambda: reuse_or_build(store, "rollouts", "walk", "r1", lambda build: None),
    ]
    for use in uses:
        with pytest.raises(StoreError, match=name.replace(".", r"\.")):
            use()


@pytest.mark.parametrize("name", ["dataset.json", "episodes.parquet"])
@pytest.mark.parametrize("damage", [flip_a_bit, cut, drop])
def test_a_damaged_dataset_is_found_by_its_readers(
    store: ArtifactStore, rollouts: Artifact, damage: Callable[[Path], None], name: str
) -> None:
    dataset, other = build_dataset(store, "d1", rollouts), build_dataset(store, "d2", rollouts)
    damage(dataset.path / name)
    uses: list[Callable[[], object]] = [
        lambda: DatasetReader(dataset),
        lambda: EpisodeStream(dataset),
        lambda: diff_datasets(other, dataset),
    ]
    for use in uses:
        assert name in (error_of(use) or "")


def test_opening_reads_small_files_and_changed_chunks_only(
    rollouts: Artifact, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A chunk of a hundred hours is one of 18 000: all are looked up, none is read."""
    read: list[str] = []
    hash_file = integrity.hash_file
    monkeypatch.setattr(integrity, "hash_file", lambda path: read.append(path.name) or hash_file(path))
    check_opened(rollouts.path)
    assert sorted(read) == ["00000.json", "00001.json", "00002.json", "00003.json", "episodes.parquet",
                            "statistics.json", "zarr.json", "zarr.json"]  # fmt: skip
    check_opened(rollouts.path)
    assert len(read) == 8, "once a process"
    integrity._check_once.cache_clear()
    for unit in (1, 2):
        later(layout.chunk_path(rollouts.path, unit))
    check_opened(rollouts.path)
    assert read[8:].count("0") == 2
    integrity._check_once.cache_clear()
    monkeypatch.setattr(integrity, "CHANGED_BYTES", 5000)
    check_opened(rollouts.path)
    assert read[18:].count("0") == 1
    assert "1 chunks are newer than the manifest and were not compared" in caplog.text


def test_what_has_no_manifest_is_not_compared(tmp_path: Path) -> None:
    write_rollouts(tmp_path)
    check_opened(tmp_path)
    with pytest.raises(FileNotFoundError):
        (tmp_path / MANIFEST).stat()


def all_verbs(store: ArtifactStore, artifact: Artifact) -> list[Callable[[], object]]:
    """Return what reads manifests: looking up, surveying, and looking for garbage."""
    return [
        lambda: store.find(artifact.kind, artifact.key, artifact.recipe),
        lambda: store.list(artifact.kind, artifact.key),
        lambda: store.latest(artifact.kind, artifact.key),
        lambda: find_garbage(store, newest(store)),
        lambda: check_opened(artifact.path),
    ]


def test_every_changed_manifest_is_named_by_everyone(store: ArtifactStore, rollouts: Artifact) -> None:
    """Each field with each wrong value: every use ends with one line, and none is believed."""
    path = rollouts.path / MANIFEST
    text = path.read_bytes()
    tried = 0
    for place, mutant in mutants(json.loads(text)):
        tried += 1
        path.write_text(json.dumps(mutant))
        [problem] = verify(rollouts.path)
        assert (problem.file, problem.foreign, problem.stray) == (MANIFEST, False, False), place
        for use in all_verbs(store, rollouts):
            assert "manifest.json: " in (error_of(use) or ""), place
    assert tried > 150
    path.write_bytes(text)
    assert verify(rollouts.path) == []


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"null", b'"x"', b"1e999"])
def test_what_is_no_manifest_is_one_line(store: ArtifactStore, rollouts: Artifact, data: bytes) -> None:
    (rollouts.path / MANIFEST).write_bytes(data)
    assert [problem.file for problem in verify(rollouts.path)] == [MANIFEST]
    for use in all_verbs(store, rollouts):
        assert "manifest.json: " in (error_of(use) or "")


def test_a_manifest_that_is_too_large_is_not_read(
    store: ArtifactStore, rollouts: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.manifests.MAX_BYTES", 100)
    for use in all_verbs(store, rollouts):
        assert "expected at most 100; it is no manifest" in (error_of(use) or "")
    assert "expected at most 100" in verify(rollouts.path)[0].what


def test_healing_a_manifest_that_lost_a_line_loses_no_file(store: ArtifactStore, rollouts: Artifact) -> None:
    """The file that the line was of is whole; it was taken for one that belongs to nothing, and removed."""
    whole = tree_bytes(rollouts.path)
    for forged in (False, True):
        manifest = json.loads(whole[MANIFEST])
        del manifest["files"]["statistics.json"]
        text = json.dumps(seal(manifest) if forged else manifest)
        (rollouts.path / MANIFEST).write_text(text)
        problems = verify(rollouts.path)
        assert [problem.file for problem in problems] == [MANIFEST]
        assert problems[0].remedy == "write it again"
        aside = heal(store, rollouts.path, problems)
        assert aside is not None
        assert (aside / MANIFEST).read_text() == text
        partial = tree_bytes(store.partial("rollouts", "walk", "r1"))
        assert partial == {name: data for name, data in whole.items() if name != MANIFEST}
        healed = build_rollouts(store, "walk", "r1")
        assert healed.version == rollouts.version
        assert verify(healed.path) == []


def test_healing_removes_no_byte(store: ArtifactStore, rollouts: Artifact) -> None:
    """Whatever is damaged or strange is somewhere in the store afterwards."""
    (rollouts.path / "units" / "notes.txt").write_text("mine")
    (rollouts.path / "readme.txt").write_text("mine too")
    partial = store.partial("rollouts", "walk", "r1")
    partial.mkdir()
    (partial / "half.bin").write_text("of another build")
    for name in ("steps.zarr/steps/c/3/0", "units/00001.json", "episodes.parquet"):
        flip_a_bit(rollouts.path / name)
    before = sorted(tree_bytes(store.root).values())
    heal(store, rollouts.path, verify(rollouts.path))
    assert sorted(tree_bytes(store.root).values()) == before
    assert store.kinds() == ["rollouts"]
    assert build_rollouts(store, "walk", "r1").version == rollouts.version


@pytest.mark.parametrize("recipe", ["r2", "r1 (copy)"])
def test_a_folder_of_another_artifact_is_set_aside_whole(
    store: ArtifactStore, rollouts: Artifact, recipe: str
) -> None:
    """A copy under another name would be gone on with as if it had been made so."""
    copy = rollouts.path.with_name(recipe)
    shutil.copytree(rollouts.path, copy)
    whole = tree_bytes(copy)
    [problem] = verify(copy)
    assert f"recipe: found 'r1', expected that of its place, '{recipe}'" in problem.what
    assert problem.remedy == "set the whole folder aside"
    assert error_of(lambda: store.find("rollouts", "walk", recipe))
    aside = heal(store, copy, [problem])
    assert aside == store.root / "set_aside" / "rollouts" / "walk" / f"{recipe}.1"
    assert tree_bytes(aside) == whole
    assert not copy.exists()
    assert not store.partial("rollouts", "walk", recipe).exists()
    assert store.list("rollouts", "walk") == [rollouts]


def test_what_stands_in_an_artifacts_place_is_not_removed_by_building_it(store: ArtifactStore) -> None:
    place = store.folder("policies", "walk", "p1")
    place.mkdir(parents=True)
    (place / "mine.bin").write_text("mine")
    with store.build("policies", "walk", "p1") as build:
        (build.path / "policy.bin").write_text("policy")
    assert (store.root / "set_aside" / "policies" / "walk" / "p1.1" / "mine.bin").read_text() == "mine"


def test_the_users_folders_are_no_kinds(store: ArtifactStore, rollouts: Artifact) -> None:
    """A file of the name in the motion folder is the user's, and neither read nor garbage."""
    mine = store.root / "motion_folder" / "a" / "b.partial"
    mine.mkdir(parents=True)
    (mine.parent / MANIFEST).write_text("mine")
    (mine / MANIFEST).write_text("mine")
    assert store.kinds() == ["rollouts"]
    garbage = find_garbage(store, newest(store), partials=True)
    assert (garbage.artifacts, garbage.partials) == ((), ())


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("field", [0, 1, 2])
def test_no_name_leads_out_of_the_store(store: ArtifactStore, field: int, name: object) -> None:
    line: list = ["policies", "walk", "p1"]
    line[field] = name
    uses: list[Callable[[], object]] = [
        lambda: store.folder(*line),
        lambda: store.partial(*line),
        lambda: store.note(*line),
        lambda: store.find(*line),
        lambda: store.build(*line).__enter__(),
        lambda: store.lock(*line).__enter__(),
        lambda: store.adopt(make_manifest((line[0], line[1], line[2]), 1.0, {}, {})).__enter__(),
    ]
    if field < 2:
        uses += [lambda: store.list(line[0], line[1]), lambda: store.latest(line[0], line[1])]
    for use in uses:
        assert error_of(use)
    assert list(store.root.iterdir()) == []


# The index of episodes


def shifted(table: pa.Table, column: str, row: int, by: int) -> pa.Table:
    values = table[column].to_numpy().copy()
    values[row] += by
    return table.set_column(table.column_names.index(column), column, pa.array(values))


@pytest.mark.parametrize(
    ("column", "row", "by"),
    [
        ("start_row", 0, -1),
        ("start_row", 0, 1),
        ("start_row", 1, 1),
        ("start_row", 2, 1),
        ("start_row", 3, -1),
        ("start_row", 6, 1),
        ("start_row", 6, 10**6),
        ("start_row", 6, 2**62),
        ("start_row", 6, -(2**62)),
        ("length", 0, 1),
        ("length", 0, -1),
        ("length", 6, 1000),
        ("length", 6, -50),
        ("length", 6, 2**62),
        ("unit", 0, 1),
    ],
)
def test_an_index_that_places_an_episode_elsewhere_is_refused(
    store: ArtifactStore, rollouts: Artifact, column: str, row: int, by: int
) -> None:
    """With the manifest made right again, or without one, the rows themselves do not fit."""
    index = rollouts.path / layout.EPISODES
    write_episodes(index, shifted(read_episodes(index), column, row, by))
    sealed = reseal(rollouts)
    for use in (lambda: TrajectoryReader(sealed.path), lambda: build_dataset(store, "d1", sealed)):
        assert "rows of its own" in (error_of(use) or "")
    (sealed.path / MANIFEST).unlink()
    assert "rows of its own" in (error_of(lambda: TrajectoryReader(sealed.path)) or "")


def test_an_id_that_comes_twice_is_refused(rollouts: Artifact) -> None:
    table = read_episodes(rollouts.path / layout.EPISODES)
    ids = pa.array(["same"] * table.num_rows)
    table = table.set_column(table.column_names.index("episode_id"), "episode_id", ids)
    with pytest.raises(StoreError, match="'same' comes more than once"):
        check_places(Path("index"), table, 512)


def test_an_index_of_other_types_is_refused(tmp_path: Path, rollouts: Artifact) -> None:
    table = read_episodes(rollouts.path / layout.EPISODES)
    for name in ("start_row", "length", "unit", "episode_id", "latency_ms"):
        place = table.column_names.index(name)
        texts = pa.array([[str(value)] for value in table[name].to_pylist()])
        write_episodes(tmp_path / "i", table.set_column(place, name, texts))
        assert f"column {name}: found list" in (error_of(lambda: read_episodes(tmp_path / "i")) or "")
    holes = table.set_column(0, "episode_id", pa.array([None] * table.num_rows, pa.string()))
    write_episodes(tmp_path / "i", holes)
    assert "column episode_id: 7 values are missing" in (
        error_of(lambda: read_episodes(tmp_path / "i")) or ""
    )
    write_episodes(tmp_path / "i", table.drop_columns(["length"]))
    assert "no column length" in (error_of(lambda: read_episodes(tmp_path / "i")) or "")


def test_no_damaged_parquet_ends_otherwise_than_in_one_line(tmp_path: Path, rollouts: Artifact) -> None:
    data = (rollouts.path / layout.EPISODES).read_bytes()
    random = np.random.default_rng(0)
    path = tmp_path / "i.parquet"
    refused = 0
    for length in (0, 1, 4, 8, *random.integers(len(data), size=20)):
        path.write_bytes(data[:length])
        assert str(path) in (error_of(lambda: read_episodes(path)) or "")
    for position in random.integers(len(data), size=200):
        damaged = bytearray(data)
        damaged[position] ^= int(random.integers(1, 256))
        path.write_bytes(damaged)
        refused += error_of(lambda: check_places(path, read_episodes(path), 512)) is not None
    assert refused > 20


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("steps.zarr/zarr.json", read_array_info),
        ("steps.zarr/steps/zarr.json", read_array_info),
        ("statistics.json", read_moments),
        ("units/00003.json", lambda folder: UnitMarker.read(folder / "units" / "00003.json")),
        ("units/00003.json", verify),
        ("steps.zarr/zarr.json", verify),
        ("steps.zarr/steps/zarr.json", verify),
    ],
)
def test_no_json_of_wrong_types_ends_otherwise_than_in_one_line(
    tmp_path: Path, name: str, read: Callable[[Path], object]
) -> None:
    write_rollouts(tmp_path)
    path = tmp_path / name
    tried = refused = 0
    for _, mutant in mutants(json.loads(path.read_bytes())):
        path.write_text(json.dumps(mutant))
        tried += 1
        refused += error_of(lambda: read(tmp_path)) is not None
    assert tried > 40
    assert refused or read is verify
    for data in (b"", b"{", b"\xff", b"[" * 100_000):
        path.write_bytes(data)
        assert error_of(lambda: read(tmp_path)) or read(tmp_path)


def test_an_array_of_more_chunks_than_any_store_has_is_refused_at_once(tmp_path: Path) -> None:
    write_rollouts(tmp_path)
    path = tmp_path / "steps.zarr/steps/zarr.json"
    document = json.loads(path.read_bytes())
    document["shape"][0] = 10**30
    path.write_text(json.dumps(document))
    assert "more than 1048576 chunks" in (error_of(lambda: read_array_info(tmp_path)) or "")
    assert "more than 1048576 chunks" in str(verify(tmp_path)[0])


def test_no_dataset_of_wrong_types_ends_otherwise_than_in_one_line(
    store: ArtifactStore, rollouts: Artifact
) -> None:
    dataset, other = build_dataset(store, "d1", rollouts), build_dataset(store, "d2", rollouts)
    path = dataset.path / "dataset.json"
    refused = 0
    whole = json.loads(path.read_bytes())
    whole["statistics"]["columns"] = {}  # for people, and many
    for _, mutant in mutants(whole):
        path.write_text(json.dumps(mutant))
        if error_of(lambda: read_dataset(dataset.path)):
            refused += 1
            continue
        sealed = reseal(dataset)
        for use in (DatasetReader, EpisodeStream, lambda new: diff_datasets(other, new)):
            error_of(functools.partial(use, sealed))
    assert refused > 100
