"""Schedules."""

import dagster as dg

from assets.status import combined_status
from assets.workspace import Workspace
from pipelines.jobs import combined_pipeline
from pipelines.requests import busy


@dg.schedule(
    job=combined_pipeline,
    cron_schedule="0 3 * * 0",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description=(
        "Weekly: trains the diffusion policy from its last version if the dataset changed since, also where "
        "that failed before; does nothing otherwise."
    ),
)
def weekly_retraining(
    context: dg.ScheduleEvaluationContext, workspace: dg.ResourceParam[Workspace]
) -> dg.RunRequest | dg.SkipReason:
    """Ask the store whether the diffusion policy of the present dataset is there."""
    stages = combined_status(workspace)
    if not stages:
        return dg.SkipReason("no skill may teach")
    if all(stage.complete for stage in stages):
        return dg.SkipReason("the dataset did not change")
    if busy(context.instance)[1]:
        return dg.SkipReason("a training is running")
    return dg.RunRequest()
