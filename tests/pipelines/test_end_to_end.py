"""The whole graph at preset `test` as a person runs it: from nothing, again, with bad motions, under a UI."""

import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from beyondmimic_data.config import get_preset
from beyondmimic_data.motions.synth import synthesise
from pipelines.home import open_instance
from pipelines.jobs import COMBINED_ASSETS, SKILL_ASSETS
from pipelines.requests import ACTIVE, PARTITION_TAG
from storage.artifacts import ArtifactStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PROGRAM = str(Path(sys.executable).with_name("beyondmimic"))
KINDS = ("motions", "policies", "rollouts", "datasets", "diffusion", "reports", "bundles")


class Project:
    """A data root and a state folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.data, self.state = folder / "data", folder / "state"
        self.environment = {
            **os.environ,
            "BEYONDMIMIC_DATA": str(self.data),
            "BEYONDMIMIC_STATE": str(self.state),
        }

    def run(self, *words: str) -> dict:
        """Run the graph; returns its document."""
        return self.call("run", *words)

    def call(self, verb: str, *words: str) -> Any:
        """Run a verb; returns the document, which has to be all of standard output."""
        result = subprocess.run(
            [PROGRAM, verb, "--preset", "test", "--json", *words],
            capture_output=True,
            text=True,
            timeout=800,
            env=self.environment,
            check=False,
        )
        assert result.returncode == 0, result.stderr[-4000:]
        self.progress = result.stderr
        return json.loads(result.stdout)

    @contextlib.contextmanager
    def ui(self) -> Iterator[None]:
        """Run the UI and its daemon until the block ends."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        log = self.state / "ui.log"
        with log.open("w") as stream:
            process = subprocess.Popen(
                [PROGRAM, "ui", "--json", "--port", str(port)],
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
                env=self.environment,
                start_new_session=True,
            )
        try:
            line = process.stdout.readline()
            assert line, log.read_text()[-4000:]
            assert json.loads(line)["url"].endswith(f":{port}")
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)

    @property
    def store(self) -> ArtifactStore:
        return ArtifactStore(self.data)

    def artifacts(self) -> dict[str, list[str]]:
        """Return the versions of all artifacts."""
        store = self.store
        return {
            f"{kind}/{key}": [a.version for a in store.list(kind, key)]
            for kind in KINDS
            for key in store.keys(kind)
        }


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return Project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def trained(project):
    """One skill trained alone, before anything else ran."""
    return project.call("train", "--skills", "synth__stand"), project.artifacts()


@pytest.fixture(scope="module")
def first(project, trained):
    return project.run()


def test_training_a_skill_alone_ends_at_its_gate(trained):
    lines, artifacts = trained
    assert [(line["skill"], line["problem"]) for line in lines] == [("synth__stand", None)]
    assert lines[0]["passed"]
    assert {name: len(versions) for name, versions in artifacts.items()} == {
        "motions/synth__stand": 1,
        "policies/synth__stand": 1,
    }


def test_the_graph_goes_on_from_a_skill_trained_alone(project, first, trained):
    _, before = trained
    assert project.artifacts().items() >= before.items()


def test_the_graph_completes_and_says_where_its_results_are(first):
    assert [skill["skill"] for skill in first["skills"]] == ["synth__stand", "synth__squat"]
    assert all(skill["included"] and skill["hours"] > 0 for skill in first["skills"])
    assert all(0 <= skill["completion"] <= 1 for skill in first["skills"])
    assert Path(first["report"]).read_text().startswith("#")
    assert (Path(first["bundle"]) / "denoiser.onnx").stat().st_size > 0
    assert first["video"] is None or Path(first["video"]).stat().st_size > 0
    assert first["refused"] == []


def test_progress_goes_to_standard_error(project, first):
    assert "synth__stand" in project.progress
    assert "diffusion: step" in project.progress


def test_the_bundle_descends_from_every_motion(project, first):
    lineage = json.loads((Path(first["bundle"]) / "lineage.json").read_text())["made_of"]
    assert {"motions", "policies", "rollouts", "datasets", "diffusion"} == {line["kind"] for line in lineage}
    for line in lineage:
        artifact = project.store.find(line["kind"], line["key"], line["recipe"])
        assert artifact is not None, line
        assert artifact.version == line["version"]


def test_dagster_shows_what_ran(project, first, monkeypatch):
    monkeypatch.setenv("BEYONDMIMIC_STATE", str(project.state))
    with open_instance() as instance:
        assert sorted(instance.get_dynamic_partitions("skills")) == ["synth__squat", "synth__stand"]
        runs = instance.get_runs()
        assert [run.status for run in runs] == [dg.DagsterRunStatus.SUCCESS] * 4
        ran = Counter((run.job_name, run.tags.get(PARTITION_TAG)) for run in runs)
        # One skill was trained alone before.
        assert ran == {
            ("skill_pipeline", "synth__stand"): 2,
            ("skill_pipeline", "synth__squat"): 1,
            ("combined_pipeline", None): 1,
        }
        for asset, kind in (("dataset", "datasets"), ("deployment_bundle", "bundles")):
            event = instance.get_latest_materialization_event(dg.AssetKey(asset))
            tags = event.asset_materialization.tags
            assert tags["dagster/data_version"] == project.store.latest(kind, "all").version
        records = instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(dg.AssetKey("deployment_bundle"), "onnx_parity"), limit=1
        )
        assert [r.status.value for r in records] == ["SUCCEEDED"]


def test_a_second_run_builds_nothing(project, first):
    before = project.artifacts()
    assert len(before) == 10
    second = project.run()
    assert project.artifacts() == before
    assert second["bundle"] == first["bundle"]


def test_motions_that_cannot_be_used_are_shown_and_the_graph_completes(project, first, tmp_path):
    before = project.artifacts()
    (tmp_path / "text.csv").write_text("not,a,number\n")
    (tmp_path / "array.npy").write_bytes(b"\x93NUMPY")
    document = project.run("--motions", f"{tmp_path / 'text.csv'},{tmp_path / 'array.npy'}")
    skills = {skill["skill"]: skill for skill in document["skills"]}
    assert not skills["text"]["included"]
    assert "text.csv" in skills["text"]["reason"]
    assert [line for line in document["refused"] if "array.npy" in line]
    assert skills["synth__stand"]["included"]
    assert document["bundle"] == first["bundle"]
    assert project.artifacts() == before


class Watch:
    """What Dagster records while the UI runs."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.known = {run.run_id for run in instance.get_runs()}

    def new_runs(self) -> list[dg.DagsterRun]:
        return [run for run in self.instance.get_runs() if run.run_id not in self.known]

    def materialised(self) -> Counter[str]:
        """Count what new runs materialised, by asset and partition."""
        events = [
            record.event_log_entry.dagster_event
            for run in self.new_runs()
            for record in self.instance.get_records_for_run(
                run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION
            ).records
        ]
        return Counter(
            f"{e.asset_key.to_user_string()}[{e.partition}]" if e.partition else e.asset_key.to_user_string()
            for e in events
        )

    def ticks(self, sensor: str) -> int:
        """Count the finished ticks of a sensor."""
        states = [s for s in self.instance.all_instigator_state() if s.instigator_name == sensor]
        ticks = [t for s in states for t in self.instance.get_ticks(s.instigator_origin_id, s.selector_id)]
        return sum(tick.status.value in ("SUCCESS", "SKIPPED") for tick in ticks)

    def wait(self, until: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < deadline, self.materialised()
            time.sleep(1)

    def wait_for_ticks(self, sensor: str, ticks: int) -> None:
        self.wait(lambda: self.ticks(sensor) >= ticks, 240)


def test_under_the_ui_a_changed_motion_runs_its_skill_and_what_all_share(project, first, monkeypatch):
    monkeypatch.setenv("BEYONDMIMIC_STATE", str(project.state))
    path = project.data / "motion_folder" / "synth" / "stand.npz"
    synth = get_preset("test").synth
    other = synthesise("stand", dataclasses.replace(synth, seed=synth.seed + 1), 50.0)
    with project.ui(), open_instance() as instance:
        watch = Watch(instance)
        watch.wait_for_ticks("reconcile", 1)
        watch.wait_for_ticks("automation", 1)
        os.utime(path)
        watch.wait_for_ticks("motion_folder", watch.ticks("motion_folder") + 2)
        assert watch.new_runs() == [], "nothing changed, and touching is no change"

        other.save(path)
        expected = Counter([*(f"{asset}[synth__stand]" for asset in SKILL_ASSETS), *COMBINED_ASSETS])
        watch.wait(lambda: watch.materialised() >= expected, 500)
        watch.wait(lambda: not instance.get_runs(dg.RunsFilter(statuses=ACTIVE)), 60)
        watch.wait_for_ticks("automation", watch.ticks("automation") + 1)
        assert watch.materialised() == expected
        assert Counter(run.tags.get(PARTITION_TAG) for run in watch.new_runs())["synth__stand"] == 1
        assert all(run.is_success for run in watch.new_runs())
