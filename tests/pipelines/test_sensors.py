"""The motion folder's sensor and the reconcile sensor: what runs, and above all what does not."""

import os

import dagster as dg
import pytest

from assets.building import reuse_or_build
from assets.dataset import survey
from assets.motion import wanted_recipe
from assets.status import skill_status
from beyondmimic_data.errors import MotionError
from pipelines.requests import INTERRUPTED_TAG
from pipelines.sensors import motion_folder, reconcile

FAILURE = dg.DagsterRunStatus.FAILURE


def tick(sensor, stage, cursor=None):
    context = dg.build_sensor_context(
        instance=stage.instance, cursor=cursor, resources={"workspace": stage.workspace}
    )
    return sensor(context)


def requested(result) -> list[str | None]:
    if isinstance(result, dg.SkipReason):
        return []
    return [request.partition_key for request in result.run_requests]


def apply_partitions(stage, result) -> None:
    """Do what the daemon does with a tick's changes of partitions."""
    for change in result.dynamic_partitions_requests or []:
        if isinstance(change, dg.AddDynamicPartitionsRequest):
            stage.instance.add_dynamic_partitions("skills", change.partition_keys)
        else:
            for key in change.partition_keys:
                stage.instance.delete_dynamic_partition("skills", key)


def finish(stage, *skills: str) -> None:
    for skill in skills:
        stage.finish_skill(skill)
    stage.instance.add_dynamic_partitions("skills", list(skills))


def test_new_files_become_skills_and_run(stage):
    stage.motion_file("walk.csv", "1")
    stage.motion_file("deep/er/run.npz", "2")
    result = tick(motion_folder, stage)
    assert sorted(requested(result)) == ["deep__er__run", "walk"]
    apply_partitions(stage, result)
    assert sorted(stage.instance.get_dynamic_partitions("skills")) == ["deep__er__run", "walk"]
    assert isinstance(tick(motion_folder, stage, result.cursor), dg.SkipReason)


def test_touching_a_file_runs_nothing_and_changing_it_runs_its_skill_only(stage):
    path = stage.motion_file("a.csv", "1")
    stage.motion_file("b.csv", "2")
    finish(stage, "a", "b")
    first = tick(motion_folder, stage)
    assert requested(first) == []
    os.utime(path, (1, 1))
    touched = tick(motion_folder, stage, first.cursor)
    assert not isinstance(touched, dg.SkipReason), "the sensor has to look at a file whose time changed"
    assert requested(touched) == []
    path.write_text("3")
    assert requested(tick(motion_folder, stage, touched.cursor)) == ["a"]


def test_a_changed_fact_runs_the_skills_it_concerns(stage):
    stage.motion_file("a.csv", "1")
    stage.motion_file("b.csv", "2")
    finish(stage, "a", "b")
    first = tick(motion_folder, stage)
    stage.motion_file("motions.toml", '[[files]]\nmatch = "a.csv"\nfps = 60\n')
    assert requested(tick(motion_folder, stage, first.cursor)) == ["a"]


@pytest.mark.parametrize(
    ("name", "content"),
    [("broken.npy", "pickled"), ("two words.csv", "1"), ("sub/motions.toml", "fps = = 3")],
)
def test_a_broken_file_holds_up_no_other(stage, name, content):
    stage.motion_file("good.csv", "1")
    stage.motion_file("sub/inside.csv", "1") if name.startswith("sub") else None
    stage.motion_file(name, content)
    assert requested(tick(motion_folder, stage)) == ["good"]


def test_files_of_one_name_are_left_out_and_the_others_run(stage):
    stage.motion_file("same.csv", "1")
    stage.motion_file("same.npz", "2")
    stage.motion_file("other.csv", "3")
    assert requested(tick(motion_folder, stage)) == ["other"]


def test_a_deleted_file_takes_its_skill_along(stage):
    path = stage.motion_file("a.csv", "1")
    stage.motion_file("b.csv", "2")
    finish(stage, "a", "b")
    first = tick(motion_folder, stage)
    path.unlink()
    result = tick(motion_folder, stage, first.cursor)
    assert requested(result) == []
    apply_partitions(stage, result)
    assert stage.instance.get_dynamic_partitions("skills") == ["b"]


def test_a_change_while_its_skill_runs_is_seen_afterwards(stage):
    path = stage.motion_file("a.csv", "1")
    finish(stage, "a")
    first = tick(motion_folder, stage)
    path.write_text("2")
    stage.record_run({"dagster/partition": "a"}, dg.DagsterRunStatus.STARTED)
    during = tick(motion_folder, stage, first.cursor)
    assert requested(during) == []
    for run in stage.instance.get_runs():
        stage.instance.report_run_canceled(run)
    assert requested(tick(motion_folder, stage, during.cursor)) == ["a"]


def test_reconcile_asks_for_what_no_change_announced(stage):
    stage.motion_file("a.csv", "1")
    stage.instance.add_dynamic_partitions("skills", ["a"])
    assert requested(tick(reconcile, stage)) == ["a"]


def test_reconcile_runs_the_shared_stages_when_skills_are_done(stage):
    stage.motion_file("a.csv", "1")
    finish(stage, "a")
    result = tick(reconcile, stage)
    assert [r.job_name for r in result.run_requests] == ["combined_pipeline"]
    stage.finish_combined()
    assert isinstance(tick(reconcile, stage), dg.SkipReason)


def test_a_new_skill_asks_for_a_new_dataset_and_one_that_fails_its_gate_does_not(stage):
    stage.motion_file("a.csv", "1")
    finish(stage, "a")
    stage.finish_combined()
    stage.motion_file("weak.csv", "2")
    stage.finish_skill("weak", completion=0.5)
    stage.instance.add_dynamic_partitions("skills", ["weak"])
    assert isinstance(tick(reconcile, stage), dg.SkipReason)
    stage.motion_file("strong.csv", "3")
    finish(stage, "strong")
    assert [r.job_name for r in tick(reconcile, stage).run_requests] == ["combined_pipeline"]


def test_a_refused_motion_is_left_alone(stage):
    stage.motion_file("bad.csv", "1")
    stage.import_motion("bad", accepted=False)
    stage.record_skill("bad")
    stage.instance.add_dynamic_partitions("skills", ["bad"])
    assert isinstance(tick(reconcile, stage), dg.SkipReason)


def test_a_recipe_that_failed_is_asked_for_again_only_after_a_change(stage):
    stage.motion_file("a.csv", "1")
    stage.instance.add_dynamic_partitions("skills", ["a"])
    request = tick(reconcile, stage).run_requests[0]
    stage.record_run({**request.tags, "dagster/partition": "a"}, FAILURE)
    assert isinstance(tick(reconcile, stage), dg.SkipReason)
    assert requested(tick(motion_folder, stage)) == [], "both sensors remember"
    stage.motion_file("a.csv", "2")
    assert requested(tick(reconcile, stage)) == ["a"]


def test_a_run_whose_process_died_does_not_count_as_tried(stage):
    stage.motion_file("a.csv", "1")
    stage.instance.add_dynamic_partitions("skills", ["a"])
    request = tick(reconcile, stage).run_requests[0]
    stage.record_run({**request.tags, INTERRUPTED_TAG: "true"}, FAILURE)
    assert requested(tick(reconcile, stage)) == ["a"]


def test_an_old_motion_that_comes_back_is_asked_for_again(stage):
    stage.motion_file("a.csv", "old")
    finish(stage, "a")
    request_tags = []
    stage.motion_file("a.csv", "new")
    request_tags.append(tick(reconcile, stage).run_requests[0].tags)
    stage.finish_skill("a")
    stage.motion_file("a.csv", "old")
    result = tick(reconcile, stage)
    assert requested(result) == ["a"], "the store has it, Dagster shows another"
    assert result.run_requests[0].tags != request_tags[0]


def test_equal_clips_from_other_bytes_train_nothing_again(stage):
    stage.motion_file("a.csv", "1")
    stage.finish_skill("a", content="same clips")
    policies = stage.workspace.store.list("policies", "a")
    stage.motion_file("a.csv", "1\n")
    stage.import_motion("a", content="same clips")
    assert [s.complete for s in skill_status(stage.workspace, "a")] == [True, True, True]
    assert stage.workspace.store.list("policies", "a") == policies


def test_what_failed_by_any_other_way_is_left_alone_too(stage):
    """A run of the automation or of a person has no token, but the store notes what failed."""
    stage.motion_file("a.csv", "1")
    stage.instance.add_dynamic_partitions("skills", ["a"])

    def fail(build):
        raise MotionError("a.csv", "joints", 3, "29")

    workspace = stage.workspace
    with pytest.raises(MotionError):
        reuse_or_build(workspace.store, "motions", "a", wanted_recipe(workspace, "a"), fail)
    assert isinstance(tick(reconcile, stage), dg.SkipReason)
    assert survey(stage.workspace).left_out["a"] == (
        "its motion is refused: a.csv: joints: found 3, expected 29"
    )
    stage.motion_file("a.csv", "2")
    assert requested(tick(reconcile, stage)) == ["a"]
