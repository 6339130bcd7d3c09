"""The LeRobot layout, v3.0: read with pyarrow alone, and with the library's own reader where it is."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stored_datasets import ACTING, SLOW, build_dataset, identity
from stored_rollouts import SCHEMA, UNITS, build_rollouts, rows_of

from beyondmimic_data.errors import StoreError
from storage.artifacts import Artifact, ArtifactStore, describe
from storage.episode_stream import EpisodeStream
from storage.lerobot_export import write_lerobot
from storage.lerobot_layout import element_names, features_of
from storage.schema import Column, StepSchema, trajectory_schema

RUN_UNITS = ((100, 28), (90,))
PROJECT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "data")


def dataset_of(store: ArtifactStore, schema: StepSchema = ACTING) -> Artifact:
    walk = build_rollouts(store, "walk", "w1", schema=schema)
    run = build_rollouts(store, "run", "r1", units=RUN_UNITS, schema=schema)
    return build_dataset(store, "d1", walk, run)


class Exported:
    """An export as another program would read it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.info = json.loads((folder / "meta/info.json").read_text())
        self.stats = json.loads((folder / "meta/stats.json").read_text())
        self.episodes = self._all("meta/episodes").to_pylist()
        self.steps = self._all("data")

    def _all(self, name: str) -> pa.Table:
        paths = sorted((self.folder / name).glob("chunk-*/file-*.parquet"))
        return pa.concat_tables([pq.read_table(path) for path in paths])

    def column(self, name: str) -> np.ndarray:
        """(N, size), or (N,) for one number."""
        return np.array(self.steps[name].to_pylist())


@pytest.fixture
def exported(store: ArtifactStore, tmp_path: Path) -> Exported:
    return export(dataset_of(store), tmp_path / "out")


def export(dataset: Artifact, folder: Path, **options: Any) -> Exported:
    folder.mkdir()
    stream = EpisodeStream(dataset)
    write_lerobot(folder, stream, robot_type="two_joints", progress=lambda _: None, **options)
    return Exported(folder)


def test_info_says_what_the_layout_requires(exported: Exported) -> None:
    info = exported.info
    steps = sum(map(sum, (*RUN_UNITS, *UNITS)))
    assert info["codebase_version"] == "v3.0"
    assert (info["robot_type"], info["fps"], info["video_path"]) == ("two_joints", 50, None)
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (10, steps, 2)
    assert (info["chunks_size"], info["data_files_size_in_mb"]) == (1000, 100)
    assert info["data_path"] == "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
    features = info["features"]
    assert features["observation.state"] == {
        "dtype": "float32",
        "shape": [2],
        "names": ["episode", "step"],
    }
    assert features["action"] == {"dtype": "float32", "shape": [2], "names": ["left", "right"]}
    assert features["action.executed"] == features["action"]
    for name in ("timestamp", "frame_index", "episode_index", "index", "task_index"):
        dtype = "float32" if name == "timestamp" else "int64"
        assert features[name] == {"dtype": dtype, "shape": [1], "names": None}
    types = {field.name: field.type for field in exported.steps.schema}
    assert types.keys() == features.keys()
    assert types["action"] == pa.list_(pa.float32(), 2)
    assert types["timestamp"] == pa.float32()
    assert types["index"] == pa.int64()


def test_steps_are_the_stores_and_counters_count(exported: Exported) -> None:
    np.testing.assert_array_equal(exported.column("index"), np.arange(exported.info["total_frames"]))
    state, frames = exported.column("observation.state"), exported.column("frame_index")
    for number, episode in enumerate(exported.episodes):
        span = slice(episode["dataset_from_index"], episode["dataset_to_index"])
        length = span.stop - span.start
        rows = rows_of(identity({"episode_id": episode["rollout/episode_id"]}), length)
        assert (episode["episode_index"], episode["length"]) == (number, length)
        np.testing.assert_array_equal(state[span], rows[:, :2])
        np.testing.assert_array_equal(exported.column("action")[span], rows[:, 2:4])
        np.testing.assert_array_equal(exported.column("action.executed")[span], rows[:, 4:6])
        np.testing.assert_array_equal(exported.column("phase")[span], rows[:, 6])
        np.testing.assert_array_equal(frames[span], np.arange(length))
        np.testing.assert_allclose(exported.column("timestamp")[span], np.arange(length) / 50, atol=1e-6)
        assert set(exported.column("episode_index")[span].tolist()) == {number}
    assert exported.episodes[-1]["dataset_to_index"] == len(exported.steps)


def test_an_episodes_task_is_its_skill(exported: Exported) -> None:
    table = pq.read_table(exported.folder / "meta/tasks.parquet")
    tasks = dict(zip(table["task"].to_pylist(), table["task_index"].to_pylist()))
    assert tasks == {"run": 0, "walk": 1}
    pandas = json.loads(table.schema.metadata[b"pandas"])
    assert pandas["index_columns"] == ["task"]
    index = exported.column("task_index")
    for episode in exported.episodes:
        assert episode["tasks"] == [episode["rollout/skill"]]
        span = slice(episode["dataset_from_index"], episode["dataset_to_index"])
        assert set(index[span].tolist()) == {tasks[episode["rollout/skill"]]}


def test_splits_are_ranges_of_episodes(exported: Exported) -> None:
    sides = [episode["rollout/split"] for episode in exported.episodes]
    ranges = {name: tuple(map(int, text.split(":"))) for name, text in exported.info["splits"].items()}
    assert ranges["train"][0] == 0
    assert ranges["train"][1] == ranges["validation"][0]
    assert ranges["validation"][1] == len(sides) == 10
    for name, (start, stop) in ranges.items():
        assert stop > start
        assert set(sides[start:stop]) == {name}


def test_statistics_are_those_of_the_steps(exported: Exported) -> None:
    assert exported.stats.keys() == exported.info["features"].keys()
    for name, stats in exported.stats.items():
        values = exported.column(name).reshape(len(exported.steps), -1).astype(float)
        assert stats["count"] == [len(values)]
        for figure in ("min", "max", "mean", "std"):
            np.testing.assert_allclose(stats[figure], getattr(values, figure)(0), rtol=1e-6, atol=1e-9)
        parts = []
        for episode in exported.episodes:
            part = values[episode["dataset_from_index"] : episode["dataset_to_index"]]
            assert episode[f"stats/{name}/count"] == [len(part)]
            np.testing.assert_allclose(episode[f"stats/{name}/mean"], part.mean(0), rtol=1e-6, atol=1e-9)
            np.testing.assert_allclose(episode[f"stats/{name}/q90"], np.quantile(part, 0.9, axis=0))
            parts.append((len(part), np.quantile(part, 0.1, axis=0)))
        weighted = sum(count * quantile for count, quantile in parts) / len(values)
        np.testing.assert_allclose(stats["q10"], weighted)


def test_what_was_drawn_for_an_episode_and_its_origin_stay_with_it(
    exported: Exported, store: ArtifactStore
) -> None:
    by_id = {episode["rollout/episode_id"]: episode for episode in exported.episodes}
    assert by_id["walk-0001"]["rollout/latency_ms"] == 5.0
    assert by_id["walk-0001"]["rollout/mass_scale"] == [1.5, 1.5, 1.5]
    assert by_id["walk-0001"]["rollout/termination"] == "clip_end"
    assert "rollout/start_row" not in by_id["walk-0001"]
    source = json.loads((exported.folder / "meta/source.json").read_text())
    dataset = store.find("datasets", "all", "d1")
    assert dataset is not None
    assert source["dataset"] == describe(dataset)
    assert [line["key"] for line in source["rollouts"]] == ["run", "walk"]
    assert [column["name"] for column in source["steps"]["columns"]][:2] == ["episode", "step"]


def test_files_are_split_by_size_and_episodes_say_where_they_are(
    store: ArtifactStore, tmp_path: Path
) -> None:
    small = export(dataset_of(store), tmp_path / "out", file_mb=0.02)
    paths = sorted((tmp_path / "out/data").rglob("*.parquet"))
    assert len(paths) > 2
    for episode in small.episodes:
        place = small.info["data_path"].format(
            chunk_index=episode["data/chunk_index"], file_index=episode["data/file_index"]
        )
        held = set(pq.read_table(tmp_path / "out" / place)["episode_index"].to_pylist())
        assert episode["episode_index"] in held
    whole = export(store_dataset(store), tmp_path / "whole")
    assert whole.steps.combine_chunks() == small.steps.combine_chunks()
    assert len(list((tmp_path / "whole/data").rglob("*.parquet"))) == 1


def store_dataset(store: ArtifactStore) -> Artifact:
    dataset = store.find("datasets", "all", "d1")
    assert dataset is not None
    return dataset


def test_what_the_layout_cannot_hold_is_refused(store: ArtifactStore, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"control_hz: found 12\.5, expected a whole number"):
        export(dataset_of(store, SLOW), tmp_path / "out")
    plain = ArtifactStore(tmp_path / "plain")
    with pytest.raises(StoreError, match="no column 'action_clean'"):
        export(dataset_of(plain, SCHEMA), tmp_path / "out2")


def test_elements_are_named_from_the_column_table() -> None:
    assert element_names(Column("phase")) == ("phase",)
    assert element_names(Column("root_pos_w", (3,))) == ("root_pos_w.x", "root_pos_w.y", "root_pos_w.z")
    assert element_names(Column("q", (4,), names=("w", "x", "y", "z"))) == ("q.w", "q.x", "q.y", "q.z")
    body = Column("body", (2, 3), names=("pelvis", "torso"))
    assert element_names(body)[:4] == ("body.pelvis.x", "body.pelvis.y", "body.pelvis.z", "body.torso.x")


def test_the_robots_state_leaves_out_actions_phase_and_clip() -> None:
    schema = trajectory_schema(
        joint_names=("a", "b"), body_names=("p", "q"), foot_names=("q",), clip_names=("c",), control_hz=50
    )
    state, action, executed, noise_free, phase, *rest = features_of(schema)
    assert state.names is not None
    assert state.size == schema.num_columns - 3 * 2 - 2
    assert state.names[-1] == "foot_contact.q"
    assert "joint_vel.b" in state.names
    places = dict(zip(state.names, state.source))
    assert places["joint_vel.b"] == schema.slice("joint_vel").start + 1
    assert places["body_lin_vel_w.q.y"] == schema.slice("body_lin_vel_w").start + 4
    assert (action.name, action.source) == ("action", tuple(range(*schema.slice("action_clean").indices(99))))
    assert (executed.name, executed.names) == ("action.executed", ("a", "b"))
    assert (noise_free.name, noise_free.names) == ("action.noise_free", ("a", "b"))
    assert (phase.name, phase.size) == ("phase", 1)
    assert [feature.name for feature in rest][:2] == ["timestamp", "frame_index"]


def test_memory_does_not_grow_with_the_dataset(store: ArtifactStore, tmp_path: Path) -> None:
    units = tuple((3500, 3500) for _ in range(60))
    walk = build_rollouts(store, "walk", "w1", units=units, chunk_steps=8192, schema=ACTING)
    size = sum(path.stat().st_size for path in walk.path.rglob("*") if path.is_file())
    assert size > 10_000_000
    build_dataset(store, "d1", walk)
    code = (
        "import pathlib, sys, tracemalloc\n"
        "import pyarrow\n"
        "from storage.artifacts import ArtifactStore\n"
        "from storage.episode_stream import EpisodeStream\n"
        "from storage.lerobot_export import write_lerobot\n"
        "dataset = ArtifactStore(sys.argv[1]).find('datasets', 'all', 'd1')\n"
        "def write(name):\n"
        "    out = pathlib.Path(sys.argv[2], name)\n"
        "    out.mkdir()\n"
        "    write_lerobot(out, EpisodeStream(dataset), robot_type='r', progress=lambda _: None)\n"
        "write('first')\n"  # what is imported late counts as memory too
        "tracemalloc.start()\n"
        "write('out')\n"
        "print(tracemalloc.get_traced_memory()[1] + pyarrow.default_memory_pool().max_memory())\n"
    )
    words = [sys.executable, "-c", code, str(store.root), str(tmp_path)]
    result = subprocess.run(words, capture_output=True, text=True, check=True, cwd=PROJECT, timeout=120)
    assert int(result.stdout) < size / 2
    assert Exported(tmp_path / "out").info["total_frames"] == 60 * 7000


def test_lerobots_own_reader_reads_it(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    reader = pytest.importorskip(
        "lerobot.datasets.lerobot_dataset", reason="lerobot is not installed", exc_type=ImportError
    )
    dataset = reader.LeRobotDataset(
        "local/export", root=exported.folder, delta_timestamps={"action": [0.0, 0.02]}
    )
    assert (dataset.num_episodes, dataset.num_frames, dataset.fps) == (10, len(exported.steps), 50)
    for episode in exported.episodes:
        length = episode["length"]
        rows = rows_of(identity({"episode_id": episode["rollout/episode_id"]}), length)
        for frame in (0, length - 2):
            item = dataset[episode["dataset_from_index"] + frame]
            assert item["task"] == episode["rollout/skill"]
            assert int(item["episode_index"]) == episode["episode_index"]
            np.testing.assert_array_equal(item["observation.state"].numpy(), rows[frame, :2])
            np.testing.assert_array_equal(item["action"].numpy(), rows[frame : frame + 2, 2:4])
    chosen = reader.LeRobotDataset("local/export", root=exported.folder, episodes=[2])
    assert len(chosen) == exported.episodes[2]["length"]
    np.testing.assert_allclose(
        dataset.meta.stats["action"]["mean"], np.array(exported.stats["action"]["mean"])
    )
