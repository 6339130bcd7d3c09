"""The verbs about dataset versions as a person calls them: what changed, and exports that others read."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from g1_rollouts import (
    HZ,
    LENGTHS,
    NEW,
    OLD,
    STAND,
    WALK,
    WALK_AGAIN,
    build_dataset,
    build_rollouts,
    build_store,
    rows_of,
    schema_of,
)

from beyondmimic_data.motions.npz_motion import read_npz
from pipelines import cli
from storage import layout
from storage.artifacts import ArtifactStore

PROJECT = Path(cli.__file__).parents[1]
Call = Callable[..., Any]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_store(tmp_path_factory.mktemp("data")).root


@pytest.fixture
def call(root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """Run a verb; returns its document, or its error if it ends with 1."""
    monkeypatch.setenv("BEYONDMIMIC_DATA", str(root))

    def run(*words: object, fails: bool = False) -> Any:
        with pytest.raises(SystemExit) as ended:
            cli.main([str(word) for word in ("data", *words)])
        captured = capfd.readouterr()
        assert int(ended.value.code or 0) == fails, captured.err
        if fails:
            assert captured.out == ""
            return captured.err
        return json.loads(captured.out) if "--json" in words else captured.out

    return run


def test_diff_shows_what_changed(call: Call) -> None:
    document = call("diff", "aaa", "latest", "--json")
    assert {kind: [line["skill"] for line in document[kind]] for kind in ("added", "removed", "changed")} == {
        "added": ["hop"],
        "removed": [],
        "changed": ["walk"],
    }
    assert [line["recipe"] for line in document["unchanged"]] == [STAND]
    assert document["shared_bytes"] > 4 * 342 * sum(LENGTHS)
    text = call("diff", "previous", "latest")
    [walk] = [line.split() for line in text.splitlines() if line.startswith("walk")]
    assert walk[:4] == ["walk", "-", "changed", WALK]
    assert "+ added" in text
    assert "= unchanged" in text
    assert f"shared by both: {document['shared_bytes'] / 1e6:.1f} MB of unchanged rollouts" in text
    assert call("diff", NEW, "latest", "--json")["changed"] == []


@pytest.mark.parametrize("words", [("diff", "latest"), ("export", "--format", "npz", "--version")])
def test_an_unknown_version_is_one_line(words: tuple[str, ...], call: Call, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "out") if words[0] == "export" else ()
    error = call(*words, "nobody", *out, fails=True)
    assert error.startswith("beyondmimic: datasets 'nobody': no such recipe or version; expected latest,")
    assert error.endswith(f"{OLD}, {NEW}\n")
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("order", ["breadth-first", "depth-first"])
def test_npz_comes_back_through_the_projects_reader(order: str, call: Call, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("export", "--format", "npz", "--out", out, "--version", OLD, "--order", order)
    document = call(*words, "--json")
    assert document["skills"] == ["stand", "walk"]
    assert (document["episodes"], document["steps"]) == (6, 2 * sum(LENGTHS))
    index = pq.read_table(out / "episodes.parquet").to_pylist()
    assert sorted(entry["file"] for entry in index) == sorted(
        path.relative_to(out).as_posix() for path in out.rglob("*.npz")
    )
    assert len(index) == 6
    for entry in index:
        first, number = {"stand": 0, "walk": 10}[entry["skill"]], int(entry["episode_id"][-1])
        schema = schema_of(entry["skill"])
        rows = rows_of(schema, entry["length"], first + number)
        qpos, fps, notes = read_npz(out / entry["file"])
        assert fps == HZ
        assert notes[0].startswith(order)
        expected = [schema.take(rows, name) for name in ("root_pos_w", "root_quat_w", "joint_pos")]
        np.testing.assert_allclose(qpos, np.concatenate(expected, axis=1), atol=1e-6)
    source = json.loads((out / "source.json").read_text())
    assert (source["order"], source["dataset"]["recipe"]) == (order, OLD)


@pytest.mark.parametrize(
    "name",
    ["../../../escaped{number}", "/{number}", "..", "a/{number}", "{number}" + "x" * 300, "{number}\n"],
)
def test_no_episode_is_exported_out_of_the_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """An NPZ is named by its episode's id; a LeRobot dataset only holds it as a text."""
    store = ArtifactStore(tmp_path / "data")
    build_dataset(store, OLD, build_rollouts(store, "walk", WALK, 0, name + "{number}" * (name == "..")))
    monkeypatch.setenv("BEYONDMIMIC_DATA", str(store.root))
    before = sorted(tmp_path.rglob("*"))
    for form, code in (("npz", 0 if name == ".." else 1), ("lerobot", 0)):
        out = tmp_path / "deep" / "out" / form
        with pytest.raises(SystemExit) as ended:
            cli.main(["data", "export", "--format", form, "--out", str(out)])
        captured = capfd.readouterr()
        assert int(ended.value.code or 0) == code, captured.err
        if code:
            assert captured.err.startswith("beyondmimic: ")
            assert "rename it where it comes from\n" in captured.err
            assert captured.err.count("\n") == 1
            assert not out.exists()
        made = [p for p in sorted(tmp_path.rglob("*")) if p not in before]
        assert [p for p in made if tmp_path / "deep" not in (p, *p.parents)] == []


def test_lerobot_holds_the_steps_of_the_skills_asked_for(call: Call, tmp_path: Path) -> None:
    out = tmp_path / "out"
    document = call("export", "--format", "lerobot", "--out", out, "--skills", "walk", "--json")
    assert document["dataset"]["recipe"] == NEW
    assert (document["skills"], document["episodes"]) == (["walk"], 3)
    assert document["bytes"] == sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    info = json.loads((out / "meta/info.json").read_text())
    assert (info["robot_type"], info["features"]["observation.state"]["shape"]) == ("unitree_g1", [253])
    steps = pq.read_table(out / "data/chunk-000/file-000.parquet")
    schema = schema_of("walk")
    for episode in pq.read_table(out / "meta/episodes/chunk-000/file-000.parquet").to_pylist():
        rows = rows_of(schema, episode["length"], 20 + int(episode["rollout/episode_id"][-1]))
        part = steps.slice(episode["dataset_from_index"], episode["length"])
        for name, column in (("action", "action_clean"), ("action.executed", "action_cmd")):
            np.testing.assert_array_equal(np.array(part[name].to_pylist()), schema.take(rows, column))
        state = np.array(part["observation.state"].to_pylist())
        names = info["features"]["observation.state"]["names"]
        knee = state[:, names.index("joint_pos.left_knee_joint")]
        joint = schema.joint_names.index("left_knee_joint")
        np.testing.assert_array_equal(knee, schema.take(rows, "joint_pos")[:, joint])


def test_an_export_says_in_one_line_what_it_wrote(call: Call, tmp_path: Path) -> None:
    text = call("export", "--format", "npz", "--out", tmp_path / "out", "--skills", "hop")
    assert text.count("\n") == 1
    assert "3 episodes, 0.00 hours of hop" in text


@pytest.mark.parametrize("form", ["npz", "lerobot"])
def test_a_folder_in_use_and_an_unknown_skill_are_one_line(form: str, call: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    error = call("export", "--format", form, "--out", tmp_path, fails=True)
    assert "found a folder that is not empty" in error
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    error = call("export", "--format", form, "--out", tmp_path / "out", "--skills", "fly", fails=True)
    assert "skill: found 'fly', expected one of hop, stand, walk" in error
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("form", ["npz", "lerobot"])
def test_a_damaged_store_leaves_no_export(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store: ArtifactStore = build_store(tmp_path / "data")
    chunk = layout.chunk_path(store.folder("rollouts", "walk", WALK_AGAIN), 0)
    chunk.write_bytes(chunk.read_bytes()[:1000])
    monkeypatch.setenv("BEYONDMIMIC_DATA", str(store.root))
    with pytest.raises(SystemExit) as ended:
        cli.main(["data", "export", "--format", form, "--out", str(tmp_path / "out")])
    assert ended.value.code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize("form", ["npz", "lerobot"])
def test_an_interrupted_export_leaves_nothing_and_runs_again(
    form: str, root: Path, call: Call, tmp_path: Path
) -> None:
    """Steps are slowed down, so that Ctrl-C comes when some of the files are there."""
    code = (
        "import signal, sys, time\n"
        "from pipelines import cli\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in a shell's background jobs
        "from storage import episode_stream\n"
        "read = episode_stream.read_rows\n"
        "def slow(*words):\n"
        "    time.sleep(0.5)\n"
        "    return read(*words)\n"
        "episode_stream.read_rows = slow\n"
        "cli.main(sys.argv[1:])\n"
    )
    words = ["data", "export", "--format", form, "--out", str(tmp_path / "out")]
    environment = {**os.environ, "BEYONDMIMIC_DATA": str(root)}
    process = subprocess.Popen([sys.executable, "-c", code, *words], cwd=PROJECT, env=environment)
    try:
        deadline = time.monotonic() + 90
        while not list(tmp_path.glob(".out.*.partial/**/*.[np]*")):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == cli.INTERRUPTED
    finally:
        process.kill()
    assert list(tmp_path.iterdir()) == []
    assert call(*words[1:], "--json")["episodes"] == 9


def test_a_dataset_goes_to_a_store_and_comes_back(
    root: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"file://{tmp_path}/remote"
    sent = call("push", url, "--version", OLD, "--json")
    assert [line["recipe"] for line in sent["artifacts"]] == [STAND, WALK, OLD]
    assert (sent["copied"], sent["skipped"]) == (3, 0)
    text = call("push", url)
    assert [line.split()[-1] for line in text.splitlines()[1:5]] == ["there", "copied", "copied", "copied"]
    assert "3 artifacts copied, 1 were there, " in text
    monkeypatch.setenv("BEYONDMIMIC_DATA", str(tmp_path / "data"))
    assert call("pull", url, "--json")["copied"] == 4
    assert call("verify", "--json")["artifacts"] == 4
    exported = call("export", "--format", "npz", "--out", tmp_path / "out", "--skills", "hop", "--json")
    assert exported["episodes"] == len(LENGTHS)
    pulled = ArtifactStore(tmp_path / "data").latest("datasets", "all")
    mine = ArtifactStore(root).latest("datasets", "all")
    assert pulled is not None
    assert mine is not None
    assert (pulled.version, pulled.created) == (mine.version, mine.created)


@pytest.mark.parametrize("verb", ["push", "pull"])
def test_an_address_that_nothing_reads_is_one_line(verb: str, call: Call) -> None:
    error = call(verb, "s4://bucket/prefix", fails=True)
    expected = "s4://bucket/prefix: Protocol not known: s4; expected such as s3://bucket/prefix"
    assert error == f"beyondmimic: {expected}\n"


@pytest.mark.parametrize("verb", ["push", "pull"])
@pytest.mark.parametrize(
    "url", ["s3://AKIAKEY:wJalrXUt@bucket", "https://user:wJalrXUt@host/x", "nobody://user:wJalrXUt@host"]
)
def test_credentials_in_an_address_are_refused_and_not_repeated(verb: str, url: str, call: Call) -> None:
    error = call(verb, url, fails=True)
    assert "it holds credentials, and is not repeated here" in error
    assert error.count("\n") == 1
    assert "wJalrXUt" not in error


def test_every_verb_names_a_damaged_manifest_and_heal_goes_on_to_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    store = build_store(tmp_path)
    monkeypatch.setenv("BEYONDMIMIC_DATA", str(store.root))
    damaged = [store.folder("datasets", "all", NEW), store.folder("rollouts", "walk", WALK)]
    for folder in damaged:
        manifest = folder / "manifest.json"
        manifest.write_text(manifest.read_text().replace('"recipe"', '"Recipe"', 1))

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(["data", *words])
        captured = capfd.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    for words in (("gc",), ("diff", "previous", "latest"), ("push", f"file://{tmp_path}/remote")):
        code, out, error = run(*words)
        assert (code, out, error.count("\n")) == (1, "", 1)
        assert "manifest.json: recipe missing; 'beyondmimic data verify --heal'" in error
    code, out, _ = run("verify", "--json")
    problems = json.loads(out)["problems"]
    assert (code, [line["artifact"] for line in problems]) == (
        1,
        [str(folder) for folder in damaged],
    )
    code, out, _ = run("verify", "--heal", "--json")
    document = json.loads(out)
    assert (code, document["healed"], len(document["set_aside"])) == (0, True, 2)
    assert all(Path(path, "manifest.json").is_file() for path in document["set_aside"])
    assert run("verify")[0] == run("gc")[0] == 0


def test_verify_names_a_flipped_bit_and_heal_takes_it_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    store = build_store(tmp_path)
    monkeypatch.setenv("BEYONDMIMIC_DATA", str(store.root))
    artifact = store.list("rollouts", "walk")[0]
    chunk = layout.chunk_path(artifact.path, 0)

    def verify(*words: str) -> tuple[int, dict[str, Any]]:
        with pytest.raises(SystemExit) as ended:
            cli.main(["data", "verify", "--json", *words])
        return int(ended.value.code or 0), json.loads(capfd.readouterr().out)

    code, document = verify()
    assert (code, document["problems"]) == (0, [])
    data = bytearray(chunk.read_bytes())
    data[1000] ^= 1
    chunk.write_bytes(data)
    code, document = verify("--kinds", "rollouts")
    [problem] = document["problems"]
    assert code == 1
    assert problem["artifact"] == str(artifact.path)
    assert problem["remedy"] == "collect unit 0 again"
    code, document = verify("--heal")
    assert (code, document["healed"]) == (0, True)
    assert artifact.recipe not in [a.recipe for a in store.list("rollouts", "walk")]
    assert not chunk.exists()
    assert verify()[1]["problems"] == []


def test_gc_lists_what_nothing_needs_and_removes_it_when_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    store = build_store(tmp_path)
    monkeypatch.setenv("BEYONDMIMIC_DATA", str(store.root))
    kept = {a.path for kind in store.kinds() for key in store.keys(kind) for a in store.list(kind, key)}

    def gc(*words: str) -> dict[str, Any]:
        with pytest.raises(SystemExit):
            cli.main(["data", "gc", "--json", *words])
        return json.loads(capfd.readouterr().out)

    listed = gc()
    assert listed["folders"]
    assert listed["removed"] == []
    assert all(path.is_dir() for path in kept)
    assert gc("--remove")["removed"] == listed["folders"]
    assert not any(Path(folder).exists() for folder in listed["folders"])
    assert gc()["folders"] == []
