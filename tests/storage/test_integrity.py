from collections.abc import Callable
from pathlib import Path

import pytest
from mutants import cut, drop, flip_a_bit
from stored_rollouts import build_rollouts, tree_bytes, write_rollouts

from beyondmimic_data.errors import StoreError
from storage import layout
from storage.artifacts import Artifact, ArtifactStore
from storage.episode_index import read_episodes, write_episodes
from storage.integrity import Problem, heal, verify

CHUNK, MARKER = "steps.zarr/steps/c/3/0", "units/00003.json"
DAMAGES: list[tuple[Callable[[Path], None], str, int | None]] = [
    (flip_a_bit, CHUNK, 3),
    (cut, CHUNK, 3),
    (drop, CHUNK, 3),
    (flip_a_bit, MARKER, 3),
    (drop, MARKER, 3),
    (flip_a_bit, "episodes.parquet", None),
    (drop, "episodes.parquet", None),
    (drop, "statistics.json", None),
    (flip_a_bit, "steps.zarr/zarr.json", None),
    (drop, "steps.zarr/steps/zarr.json", None),
]


def test_what_is_whole_has_no_problem(rollouts: Artifact, tmp_path: Path) -> None:
    assert verify(rollouts.path) == []
    write_rollouts(tmp_path / "copied")
    assert verify(tmp_path / "copied") == []


@pytest.mark.parametrize(
    ("damage", "name", "unit"), DAMAGES, ids=[f"{d.__name__}-{n}" for d, n, _ in DAMAGES]
)
def test_damage_is_found_and_healed_by_building_again(
    store: ArtifactStore, rollouts: Artifact, damage: Callable[[Path], None], name: str, unit: int | None
) -> None:
    whole = tree_bytes(rollouts.path)
    untouched = {u: layout.chunk_path(rollouts.path, u).stat().st_mtime_ns for u in (0, 1, 2)}
    damage(rollouts.path / name)
    problems = verify(rollouts.path)
    found = next(problem for problem in problems if problem.file == name)
    assert (found.unit, found.stray) == (unit, False)
    assert found.remedy == ("collect unit 3 again" if unit == 3 else "write it again")
    assert {p.unit for p in problems} <= {unit, None}
    heal(store, rollouts.path, problems)
    assert store.find("rollouts", "walk", "r1") is None
    healed = build_rollouts(store, "walk", "r1")
    assert healed.version == rollouts.version
    assert {n: d for n, d in tree_bytes(healed.path).items() if n != "manifest.json"} == {
        n: d for n, d in whole.items() if n != "manifest.json"
    }
    assert {u: layout.chunk_path(healed.path, u).stat().st_mtime_ns for u in (0, 1, 2)} == untouched
    assert verify(healed.path) == []


def test_stray_files_are_found_and_removed_without_building(store: ArtifactStore, rollouts: Artifact) -> None:
    strays = ["steps.zarr/steps/c/9/0", "units/00009.json", "units/notes.txt", "readme.txt"]
    for name in strays:
        (rollouts.path / name).parent.mkdir(exist_ok=True)
        (rollouts.path / name).write_text("stray")
    problems = verify(rollouts.path)
    assert sorted(p.file for p in problems) == sorted(strays)
    assert all(p.stray for p in problems)
    heal(store, rollouts.path, problems)
    assert store.find("rollouts", "walk", "r1") == rollouts
    assert verify(rollouts.path) == []


def test_a_store_without_a_manifest_is_checked_against_its_markers(tmp_path: Path) -> None:
    write_rollouts(tmp_path)
    flip_a_bit(tmp_path / CHUNK)
    (tmp_path / "units" / "00001.json").unlink()
    (tmp_path / "units" / "00007.json").write_text("{}")
    found = {problem.file: (problem.unit, problem.stray) for problem in verify(tmp_path)}
    assert found == {CHUNK: (3, False), "units/00001.json": (1, False), "units/00007.json": (None, True)}
    message = str(verify(tmp_path)[0])
    assert message == f"{CHUNK}: its bytes are not those that its marker names; to heal: collect unit 3 again"


def test_an_index_that_says_other_than_the_markers_is_found(tmp_path: Path) -> None:
    write_rollouts(tmp_path)
    table = read_episodes(tmp_path / layout.EPISODES)
    write_episodes(tmp_path / layout.EPISODES, table.slice(1))
    assert verify(tmp_path) == [Problem(layout.EPISODES, "its rows are not those of the units' markers")]


def test_other_artifacts_are_checked_against_their_manifest(store: ArtifactStore) -> None:
    with store.build("policies", "walk", "p1") as build:
        (build.path / "policy.bin").write_bytes(b"weights")
        (build.path / "scratch").mkdir()
        (build.path / "scratch" / "log.txt").write_bytes(b"log")
    policy = store.find("policies", "walk", "p1")
    assert policy is not None
    (policy.path / "scratch" / "log.txt").write_bytes(b"other")
    assert verify(policy.path) == []
    flip_a_bit(policy.path / "policy.bin")
    assert [p.file for p in verify(policy.path)] == ["policy.bin"]


def test_a_folder_that_is_nothing_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="neither a complete artifact nor rollouts"):
        verify(tmp_path)
