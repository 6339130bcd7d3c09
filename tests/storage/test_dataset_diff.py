import shutil

import pyarrow as pa
import pytest
from stored_datasets import build_dataset
from stored_rollouts import build_rollouts, reseal

from beyondmimic_data.errors import StoreError
from storage import layout
from storage.artifacts import Artifact, ArtifactStore
from storage.dataset_diff import diff_datasets
from storage.datasets import split_episodes
from storage.episode_index import read_episodes, write_episodes


@pytest.fixture
def walk(store: ArtifactStore) -> Artifact:
    return build_rollouts(store, "walk", "w1")


def names(lines: list[dict]) -> list[str]:
    return [line["skill"] for line in lines]


def test_every_skill_is_added_removed_changed_or_unchanged(store: ArtifactStore, walk: Artifact) -> None:
    run, other = (
        build_rollouts(store, "run", recipe, units=units)
        for recipe, units in (("r1", ((100, 28), (90,))), ("r2", ((50, 25),)))
    )
    hop = build_rollouts(store, "hop", "h1", units=((36,),))
    jump = build_rollouts(store, "jump", "j1", units=((72, 18),))
    old = build_dataset(store, "d1", walk, run, hop, left_out={"jump": "gate failed"})
    new = build_dataset(store, "d2", walk, other, jump, left_out={"crawl": "not trained"})
    diff = diff_datasets(old, new)
    assert (diff["old"]["recipe"], diff["new"]["recipe"]) == ("d1", "d2")
    assert (diff["old"]["version"], diff["new"]["version"]) == (old.version, new.version)
    [added], [removed], [changed], [same] = (
        diff[kind] for kind in ("added", "removed", "changed", "unchanged")
    )
    assert (added["skill"], added["recipe"], added["episodes"], added["steps"]) == ("jump", "j1", 2, 90)
    assert (removed["skill"], removed["recipe"], removed["version"]) == ("hop", "h1", hop.version)
    assert removed["hours"] == pytest.approx(36 / 50 / 3600)
    assert changed["skill"] == "run"
    assert [changed[side]["recipe"] for side in ("old", "new")] == ["r1", "r2"]
    assert [changed[side]["episodes"] for side in ("old", "new")] == [3, 2]
    assert changed["new"]["hours"] == pytest.approx(75 / 50 / 3600)
    assert (same["skill"], same["recipe"], same["version"]) == ("walk", "w1", walk.version)
    size = sum(p.stat().st_size for p in walk.path.rglob("*") if p.is_file() and p.name != "manifest.json")
    assert diff["shared_bytes"] == same["bytes"] == size > 0
    steps = diff["totals"]["steps"]
    walked = 60 + 30 + 21 + 128 + 20 + 40 + 50
    assert steps == {"old": walked + 254, "new": walked + 165, "change": -89}
    assert diff["totals"]["episodes"]["change"] == 2 + 2 - 3 - 1
    assert diff["left_out"] == [
        {"skill": "crawl", "old": None, "new": "not trained"},
        {"skill": "jump", "old": "gate failed", "new": None},
    ]
    assert diff["validation"]["moved"] == []


def test_the_other_way_round_swaps_the_sides(store: ArtifactStore, walk: Artifact) -> None:
    hop = build_rollouts(store, "hop", "h1", units=((36,),))
    first, second = build_dataset(store, "d1", walk), build_dataset(store, "d2", walk, hop)
    there, back = diff_datasets(first, second), diff_datasets(second, first)
    assert names(there["added"]) == names(back["removed"]) == ["hop"]
    assert there["added"] == back["removed"]
    assert names(there["removed"]) == names(back["added"]) == []
    assert there["totals"]["hours"]["change"] == -back["totals"]["hours"]["change"] > 0


def test_a_version_does_not_differ_from_itself(store: ArtifactStore, walk: Artifact) -> None:
    dataset = build_dataset(store, "d1", walk, left_out={"hop": "no"})
    diff = diff_datasets(dataset, dataset)
    assert names(diff["unchanged"]) == ["walk"]
    assert not any(diff[kind] for kind in ("added", "removed", "changed", "left_out"))
    assert all(total["change"] == 0 for total in diff["totals"].values())


def test_episodes_that_change_sides_are_counted_by_skill(store: ArtifactStore, walk: Artifact) -> None:
    other = build_rollouts(store, "run", "r2", units=((50, 25), (30, 30)))
    run = build_rollouts(store, "run", "r1", units=((100, 28), (90,)))
    old = build_dataset(store, "d1", walk, run, fraction=0.3, seed=1)
    new = build_dataset(store, "d2", walk, other, fraction=0.6, seed=2)
    ids = read_episodes(walk.path / layout.EPISODES)["episode_id"].to_pylist()
    sides = list(zip(split_episodes(ids, 0.3, 1), split_episodes(ids, 0.6, 2)))
    expected = {
        "skill": "walk",
        "to_validation": sides.count(("train", "validation")),
        "to_train": sides.count(("validation", "train")),
    }
    assert expected["to_validation"] > 0
    validation = diff_datasets(old, new)["validation"]
    # The ids of `run` come again in its other rollouts, and stand for other episodes there.
    assert validation["moved"] == [expected]
    assert validation["fraction"] == {"old": 0.3, "new": 0.6}
    assert validation["seed"] == {"old": 1, "new": 2}


def test_rollouts_that_are_gone_do_not_stop_it(store: ArtifactStore, walk: Artifact) -> None:
    first, second = build_dataset(store, "d1", walk), build_dataset(store, "d2", walk, fraction=0.5)
    shutil.rmtree(walk.path)
    diff = diff_datasets(first, second)
    assert names(diff["unchanged"]) == ["walk"]
    assert diff["unchanged"][0]["bytes"] is None
    assert diff["shared_bytes"] == 0


def test_an_index_that_lost_an_episode_is_named(store: ArtifactStore, walk: Artifact) -> None:
    first, second = build_dataset(store, "d1", walk), build_dataset(store, "d2", walk, fraction=0.5)
    table = read_episodes(second.path / layout.EPISODES)
    write_episodes(second.path / layout.EPISODES, table.take(pa.array([0, 1, 2])))
    with pytest.raises(StoreError, match="d2: its index of 'walk' has other episodes"):
        diff_datasets(first, reseal(second))
