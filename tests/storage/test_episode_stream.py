import shutil

import numpy as np
import pytest
import zarr
from stored_datasets import build_dataset, identity
from stored_rollouts import CHUNK_STEPS, UNITS, build_rollouts, rows_of

from beyondmimic_data.errors import StoreError
from storage import episode_stream, layout
from storage.artifacts import Artifact, ArtifactStore
from storage.episode_stream import EpisodeStream

RUN_UNITS = ((100, 28), (90,))


def dataset_of(store: ArtifactStore, **options: str) -> Artifact:
    walk = build_rollouts(store, "walk", "w1", **options)
    return build_dataset(store, "d1", walk, build_rollouts(store, "run", "r1", units=RUN_UNITS, **options))


def ignore(_: str) -> None:
    pass


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_every_episode_comes_once_with_its_own_rows(dtype: str, store: ArtifactStore) -> None:
    stream = EpisodeStream(dataset_of(store, dtype=dtype))
    found = []
    for episode in stream.read(ignore):
        number = identity(episode.entry)
        assert episode.rows.dtype == np.float32
        stored = rows_of(number, episode.entry["length"]).astype(dtype)
        np.testing.assert_array_equal(episode.rows, stored)
        found.append((episode.entry["skill"], number))
    expected = [
        (skill, 10 * unit + number)
        for skill, units in (("run", RUN_UNITS), ("walk", UNITS))
        for unit, lengths in enumerate(units)
        for number in range(len(lengths))
    ]
    assert sorted(found) == expected
    assert len(stream) == len(expected)
    assert stream.num_steps == sum(map(sum, (*RUN_UNITS, *UNITS)))


def test_training_comes_before_validation(store: ArtifactStore) -> None:
    stream = EpisodeStream(dataset_of(store))
    split = [episode.entry["split"] for episode in stream.read(ignore)]
    assert 0 < stream.num_train < len(split)
    assert split == ["train"] * stream.num_train + ["validation"] * (len(split) - stream.num_train)


def test_only_the_skills_asked_for_are_needed(store: ArtifactStore) -> None:
    dataset = dataset_of(store)
    shutil.rmtree(store.root / "rollouts" / "run")
    stream = EpisodeStream(dataset, ["walk"])
    assert {episode.entry["skill"] for episode in stream.read(ignore)} == {"walk"}
    with pytest.raises(StoreError, match="rollouts/run/r1: missing"):
        EpisodeStream(dataset)
    with pytest.raises(StoreError, match="skill: found 'hop', expected one of run, walk"):
        EpisodeStream(dataset, ["walk", "hop"])


def test_a_store_that_is_cut_and_compressed_otherwise_is_read_too(store: ArtifactStore) -> None:
    dataset = dataset_of(store)
    folder = store.root / "rollouts" / "walk" / "w1"
    rows = zarr.open_array(str(layout.array_path(folder)), mode="r")[:]
    group = zarr.open_group(str(layout.group_path(folder)), mode="a")
    group.create_array(layout.ARRAY, data=rows, chunks=(50, rows.shape[1]), overwrite=True)
    stream = EpisodeStream(dataset, ["walk"])
    lengths = []
    for episode in stream.read(ignore):
        np.testing.assert_array_equal(episode.rows, rows_of(identity(episode.entry), len(episode.rows)))
        lengths.append(len(episode.rows))
    assert sorted(lengths) == sorted(length for unit in UNITS for length in unit)


@pytest.mark.parametrize(("kept", "message"), [(None, "missing"), (100, "cut short at row 0"), (0, "cut")])
def test_a_damaged_chunk_is_named(kept: int | None, message: str, store: ArtifactStore) -> None:
    dataset = dataset_of(store)
    chunk = layout.chunk_path(store.root / "rollouts" / "walk" / "w1", 1)
    if kept is None:
        chunk.unlink()
    else:
        chunk.write_bytes(chunk.read_bytes()[:kept])
    with pytest.raises(StoreError, match=f"c/1/0: {message}"):
        list(EpisodeStream(dataset).read(ignore))


def test_rows_that_no_episode_owns_are_no_steps(store: ArtifactStore) -> None:
    dataset = dataset_of(store)
    chunk = layout.chunk_path(store.root / "rollouts" / "walk" / "w1", 1)
    rows = np.frombuffer(chunk.read_bytes(), "<f4").reshape(CHUNK_STEPS, -1).copy()
    rows[5] = np.nan
    chunk.write_bytes(rows.tobytes())
    with pytest.raises(StoreError, match="not all are steps"):
        list(EpisodeStream(dataset).read(ignore))


def test_progress_says_how_far_it_is(store: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(episode_stream, "PROGRESS_SECONDS", 0.0)
    lines: list[str] = []
    stream = EpisodeStream(dataset_of(store))
    for _ in stream.read(lines.append):
        pass
    assert len(lines) == len(stream)
    assert lines[-1].startswith(f"{len(stream)} of {len(stream)} episodes, ")
    assert lines[-1].endswith(" steps/s, 0 s left")
