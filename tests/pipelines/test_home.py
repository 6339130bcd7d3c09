"""Runs whose process died, and the one UI of a state folder."""

import logging
import os
import subprocess
import sys

import dagster as dg
import pytest

from beyondmimic_data.errors import StoreError
from pipelines import home
from pipelines.requests import INTERRUPTED_TAG

STARTED = dg.DagsterRunStatus.STARTED


def test_only_runs_of_dead_processes_are_ended(stage):
    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    owner = f"{dead.pid}:1"
    dead.wait()
    stage.record_run({home.DRIVER_TAG: owner}, STARTED)
    stage.record_run({home.DRIVER_TAG: home.driver()}, STARTED)
    stage.record_run({}, STARTED)
    ended = home.end_interrupted_runs(stage.instance)
    runs = {run.run_id: run for run in stage.instance.get_runs()}
    assert [runs[i].tags[home.DRIVER_TAG] for i in ended] == [owner]
    assert [run.tags.get(INTERRUPTED_TAG) for run in runs.values() if run.is_failure] == ["true"]
    assert len(home.end_interrupted_runs(stage.instance, daemon_is_mine=True)) == 1


def test_a_pid_that_was_given_away_again_is_not_the_old_process():
    assert home._alive(home.driver())
    assert not home._alive(f"{os.getpid()}:1")


def test_a_second_ui_on_one_state_folder_refuses_to_start(tmp_path, monkeypatch):
    monkeypatch.setenv("BEYONDMIMIC_STATE", str(tmp_path))
    with home.only_ui(), pytest.raises(StoreError, match="another UI"), home.only_ui():
        pass
    with home.only_ui():
        pass


def test_runs_side_by_side_never_wait_for_each_others_logging(tmp_path, monkeypatch):
    # Handlers that log take a lock of their own, then logging's; to configure logging anew takes both in the
    # other order. So setting up a run must not do that: handlers that exist stay as they are.
    monkeypatch.setenv("BEYONDMIMIC_STATE", str(tmp_path))
    with home.open_instance() as instance:
        mine = logging.NullHandler()
        mine.name = "made_before_a_run"
        instance.get_handlers()
        assert logging.getHandlerByName("made_before_a_run") is mine
