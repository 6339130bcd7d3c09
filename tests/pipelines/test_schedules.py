"""Weekly retraining."""

import dagster as dg

from pipelines.schedules import weekly_retraining


def evaluate(stage):
    context = dg.build_schedule_context(instance=stage.instance, resources={"workspace": stage.workspace})
    return weekly_retraining(context)


def test_nothing_is_trained_while_no_skill_may_teach(stored_stage):
    stage = stored_stage
    stage.motion_file("a.csv")
    assert isinstance(evaluate(stage), dg.SkipReason)


def test_nothing_is_trained_when_the_dataset_did_not_change(stored_stage):
    stage = stored_stage
    stage.motion_file("a.csv")
    stage.finish_skill("a")
    assert isinstance(evaluate(stage), dg.RunRequest)
    stage.finish_combined()
    assert isinstance(evaluate(stage), dg.SkipReason)
    stage.motion_file("b.csv", "2")
    stage.finish_skill("b")
    assert isinstance(evaluate(stage), dg.RunRequest)
