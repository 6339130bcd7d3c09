import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from stored_rollouts import CHUNK_STEPS, SCHEMA, UNITS, build_rollouts, reseal, rows_of, unit_of

from beyondmimic_data.errors import GateError, StoreError
from storage import layout
from storage.artifacts import Artifact, ArtifactStore, describe
from storage.dataset_reader import DatasetReader
from storage.datasets import read_dataset, split_episodes, write_dataset
from storage.episode_index import read_episodes, write_episodes
from storage.schema import StepSchema

WINDOW = 21
RUN_UNITS = ((100, 28), (90,))


def build_dataset(store: ArtifactStore, recipe: str, *rollouts: Artifact, **left_out: str) -> Artifact:
    with store.build("datasets", "all", recipe) as build:
        pairs = [(artifact.key, artifact) for artifact in rollouts]
        write_dataset(build.path, pairs, left_out, validation_fraction=0.3, split_seed=42)
        build.meta["parents"] = [describe(artifact) for artifact in rollouts]
    dataset = store.find("datasets", "all", recipe)
    assert dataset is not None
    return dataset


@pytest.fixture
def walk(store: ArtifactStore) -> Artifact:
    return build_rollouts(store, "walk", "w1")


@pytest.fixture
def run(store: ArtifactStore) -> Artifact:
    return build_rollouts(store, "run", "r1", units=RUN_UNITS)


def kept_rows(units: tuple[tuple[int, ...], ...]) -> np.ndarray:
    return np.concatenate([unit_of(u, lengths, CHUNK_STEPS)[0] for u, lengths in enumerate(units)])


def test_a_dataset_says_what_it_is_made_of(store: ArtifactStore, walk: Artifact, run: Artifact) -> None:
    value = read_dataset(build_dataset(store, "d1", walk, run, hop="gate: 12 % of starts completed").path)
    assert [skill["skill"] for skill in value["skills"]] == ["run", "walk"]
    assert value["skills"][1]["rollouts"] == describe(walk)
    assert value["left_out"] == {"hop": "gate: 12 % of starts completed"}
    walked, ran = kept_rows(UNITS), kept_rows(RUN_UNITS)
    assert value["skills"][1]["steps"] == len(walked)
    statistics = value["statistics"]
    assert statistics["steps"] == len(walked) + len(ran)
    assert statistics["hours"] == pytest.approx((len(walked) + len(ran)) / 50 / 3600)
    assert statistics["episodes_by_skill"] == {"run": 3, "walk": 7}
    assert statistics["terminations"] == {"clip_end": 3, "fall:torso_height": 7}
    both = np.concatenate([ran, walked]).astype(float)
    assert list(statistics["columns"]) == ["episode", "step", "joint_pos"]
    np.testing.assert_allclose(statistics["columns"]["joint_pos"]["mean"], both[:, 2:].mean(0))
    np.testing.assert_allclose(statistics["columns"]["joint_pos"]["std"], both[:, 2:].std(0))
    assert statistics["columns"]["step"]["min"] == [0.0]
    assert statistics["columns"]["step"]["max"] == [127.0]


def test_versions_share_the_skills_that_did_not_change(
    store: ArtifactStore, walk: Artifact, run: Artifact
) -> None:
    first = build_dataset(store, "d1", walk, run)
    before = {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in walk.path.rglob("*")}
    changed = build_rollouts(store, "run", "r2", units=((50,), (40,)))
    second = build_dataset(store, "d2", walk, changed)
    assert {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in walk.path.rglob("*")} == before
    old, new = (
        {skill["skill"]: skill["rollouts"]["version"] for skill in read_dataset(dataset.path)["skills"]}
        for dataset in (first, second)
    )
    assert old["walk"] == new["walk"]
    assert old["run"] != new["run"]
    assert first.version != second.version
    sizes = [sum(p.stat().st_size for p in d.path.rglob("*") if p.is_file()) for d in (first, second)]
    assert max(sizes) < 50_000  # no steps in it


def test_a_version_reads_no_step(store: ArtifactStore, walk: Artifact) -> None:
    for unit in range(len(UNITS)):
        chunk = layout.chunk_path(walk.path, unit)
        status = chunk.stat()
        chunk.write_bytes(bytes(status.st_size))
        os.utime(chunk, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert build_dataset(store, "d1", walk).version


def test_equal_inputs_give_equal_versions(store: ArtifactStore, walk: Artifact, run: Artifact) -> None:
    assert build_dataset(store, "d1", walk, run).version == build_dataset(store, "d2", run, walk).version


def test_nothing_to_include_is_one_clear_error(store: ArtifactStore, tmp_path: Path) -> None:
    empty = build_rollouts(store, "hop", "h1", units=((), ()))
    with pytest.raises(
        GateError, match="the dataset would be empty: hop: its rollouts kept no episode; walk: gate failed"
    ):
        build_dataset(store, "d1", empty, walk="gate failed")
    assert store.find("datasets", "all", "d1") is None


def test_a_skill_without_episodes_is_left_out(store: ArtifactStore, walk: Artifact) -> None:
    empty = build_rollouts(store, "hop", "h1", units=((),))
    value = read_dataset(build_dataset(store, "d1", walk, empty).path)
    assert [skill["skill"] for skill in value["skills"]] == ["walk"]
    assert value["left_out"] == {"hop": "its rollouts kept no episode"}


def test_rollouts_that_do_not_fit_together_are_refused(store: ArtifactStore, walk: Artifact) -> None:
    other = StepSchema(SCHEMA.columns, control_hz=25.0, joint_names=SCHEMA.joint_names)
    slow = build_rollouts(store, "run", "r1", schema=other)
    half = build_rollouts(store, "run", "r2", dtype="float16", chunk_steps=256, units=((60,),))
    for artifact in (slow, half):
        with pytest.raises(StoreError, match="collect them with one configuration"):
            build_dataset(store, "d1", walk, artifact)
    with pytest.raises(StoreError, match=r"skill: found \['walk'\] in the episode index, expected 'hop'"):
        build_dataset(store, "d1", dataclasses.replace(walk, key="hop"))


def test_the_split_is_by_episode_seeded_and_unmoved_by_other_skills() -> None:
    ids = [f"walk-{n}" for n in range(20_000)]
    split = split_episodes(ids, 0.05, 42)
    assert split.count("validation") == pytest.approx(1000, abs=150)
    assert split[500:600] == split_episodes(ids, 0.05, 42)[500:600]
    assert split[:5000] == split_episodes(ids[:5000], 0.05, 42)
    assert split != split_episodes(ids, 0.05, 43)


def test_a_small_skill_has_both_sides() -> None:
    for count in range(2, 12):
        ids = [f"e{count}-{n}" for n in range(count)]
        assert split_episodes(ids, 1e-6, 1).count("validation") == 1
        assert split_episodes(ids, 1 - 1e-6, 1).count("train") == 1
    assert split_episodes(["alone"], 1e-6, 1) == ["train"]
    assert split_episodes(["a", "b"], 0.0, 1) == ["train", "train"]


def shown(reader: DatasetReader, starts: np.ndarray) -> list[tuple[str, int, int]]:
    """Return skill, episode and step as the rows of windows themselves name them; all rows are checked."""
    windows = reader.gather(starts, WINDOW).numpy()
    for window in windows:
        episode, step = int(window[0, 0]), int(window[0, 1])
        np.testing.assert_array_equal(window, rows_of(episode, step + WINDOW)[step:])
    skills = [reader.skills[i] for i in reader.skill_index(starts)]
    return [(skill, int(w[0, 0]), int(w[0, 1])) for skill, w in zip(skills, windows, strict=True)]


def test_windows_of_all_skills(store: ArtifactStore, walk: Artifact, run: Artifact) -> None:
    reader = DatasetReader(build_dataset(store, "d1", walk, run))
    assert reader.mapped
    assert reader.skills == ("run", "walk")
    expected = [
        (skill, 10 * unit + number, step)
        for skill, units in (("run", RUN_UNITS), ("walk", UNITS))
        for unit, lengths in enumerate(units)
        for number, length in enumerate(lengths)
        for step in range(length - WINDOW + 1)
    ]
    assert len(expected) > 300
    assert shown(reader, reader.window_starts(WINDOW)) == expected
    only_run = reader.window_starts(WINDOW, skills=["run"])
    assert shown(reader, only_run) == [line for line in expected if line[0] == "run"]


def test_training_and_validation_windows_come_from_different_episodes(
    store: ArtifactStore, walk: Artifact, run: Artifact
) -> None:
    reader = DatasetReader(build_dataset(store, "d1", walk, run))
    sides = {}
    for side in ("train", "validation"):
        windows = shown(reader, reader.window_starts(WINDOW, side))
        sides[side] = {(skill, episode) for skill, episode, _ in windows}
        assert sides[side]
    assert not sides["train"] & sides["validation"]
    both = reader.window_starts(WINDOW, "train").size + reader.window_starts(WINDOW, "validation").size
    assert both == reader.window_starts(WINDOW).size
    with pytest.raises(StoreError, match="split: found"):
        reader.window_starts(WINDOW, "test")
    with pytest.raises(StoreError, match="skill: found"):
        reader.window_starts(WINDOW, skills=["hop"])


def test_episodes_are_joined_by_id_whatever_their_order(
    store: ArtifactStore, walk: Artifact, run: Artifact
) -> None:
    dataset = build_dataset(store, "d1", walk, run)
    index = dataset.path / layout.EPISODES
    table = read_episodes(index)
    order = np.random.default_rng(0).permutation(table.num_rows)[: table.num_rows - 2]
    # Two episodes fewer, shuffled, and with positions that are plainly wrong.
    table = table.take(pa.array(order))
    wrong = pa.array(np.full(table.num_rows, 3))
    table = table.set_column(table.column_names.index("start_row"), "start_row", wrong)
    write_episodes(index, table)
    reader = DatasetReader(reseal(dataset))
    identities = {
        f"{skill}-{episode:04d}" for skill, episode, _ in shown(reader, reader.window_starts(WINDOW))
    }
    assert identities <= set(table["episode_id"].to_pylist())
    starts = reader.episodes["first_row"].to_numpy()
    names = [
        f"{s}-{int(reader.rows[row, 0]):04d}" for s, row in zip(reader.episodes["skill"].to_pylist(), starts)
    ]
    assert names == reader.episodes["episode_id"].to_pylist()


def test_rollouts_that_are_gone_or_others_are_named(
    store: ArtifactStore, walk: Artifact, run: Artifact
) -> None:
    dataset = build_dataset(store, "d1", walk, run)
    shutil.rmtree(run.path)
    other = build_rollouts(store, "run", "r1", units=((50,),))
    with pytest.raises(
        StoreError, match=f"rollouts/run/r1: version: found {other.version}, expected {run.version}"
    ):
        DatasetReader(dataset)
    shutil.rmtree(run.path)
    with pytest.raises(StoreError, match="rollouts/run/r1: missing; collect it again"):
        DatasetReader(dataset)


def test_an_episode_that_the_rollouts_do_not_have_is_named(store: ArtifactStore, walk: Artifact) -> None:
    dataset = build_dataset(store, "d1", walk)
    index = dataset.path / layout.EPISODES
    table = read_episodes(index)
    ids = ["stranger", *table["episode_id"].to_pylist()[1:]]
    write_episodes(
        index, table.set_column(table.column_names.index("episode_id"), "episode_id", pa.array(ids))
    )
    with pytest.raises(StoreError, match="1 episodes, such as 'stranger', are not in"):
        DatasetReader(reseal(dataset))
