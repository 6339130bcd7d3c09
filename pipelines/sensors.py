"""Sensors: the motion folder, and the comparison of what is wanted with what is there."""

import json
import time
from collections.abc import Iterable

import dagster as dg

from assets.motion_folder import folder_signature
from assets.partitions import SKILLS, skills
from assets.workspace import Workspace
from beyondmimic_data.errors import BeyondMimicError
from pipelines.jobs import combined_pipeline, skill_pipeline
from pipelines.requests import busy, combined_request, skill_request

AUTOMATION_TURN_S = 30.0
"""s after a run in which ``reconcile`` leaves the shared stages to the automation condition."""


@dg.sensor(
    jobs=[skill_pipeline],
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Keeps the skills equal to the motion folder and runs those whose files changed. Touching a file "
        "without changing its bytes runs nothing; a broken file holds up no other."
    ),
)
def motion_folder(
    context: dg.SensorEvaluationContext, workspace: dg.ResourceParam[Workspace]
) -> dg.SensorResult | dg.SkipReason:
    """Look at sizes and times first; only where those changed are bytes read."""
    signature = folder_signature(workspace)
    if context.cursor is not None and json.loads(context.cursor) == signature:
        return dg.SkipReason("nothing changed in the motion folder")
    keys = list(workspace.motions.skills)
    for error in workspace.motions.errors:
        context.log.error(str(error))
    known = set(context.instance.get_dynamic_partitions(SKILLS))
    requests, waiting = _skill_requests(context, workspace, keys)
    changes: list[dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest] = []
    if added := sorted(set(keys) - known):
        changes.append(skills.build_add_request(added))
    if removed := sorted(known - set(keys)):
        changes.append(skills.build_delete_request(removed))
    return dg.SensorResult(
        run_requests=requests,
        dynamic_partitions_requests=changes,
        # A file that changed while its skill is running is looked at again in the next tick.
        cursor=context.cursor if waiting else json.dumps(signature),
    )


@dg.sensor(
    jobs=[skill_pipeline, combined_pipeline],
    minimum_interval_seconds=120,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Compares what the motions, the configuration and the code ask for with what is materialised, and "
        "runs what differs. A recipe that failed is not run again until something changes."
    ),
)
def reconcile(
    context: dg.SensorEvaluationContext, workspace: dg.ResourceParam[Workspace]
) -> dg.SensorResult | dg.SkipReason:
    """Bring skills up to date first, and what they share once none of them is running."""
    known = set(context.instance.get_dynamic_partitions(SKILLS))
    requests, _ = _skill_requests(context, workspace, [k for k in workspace.motions.skills if k in known])
    running, shared_running = busy(context.instance)
    if not requests and not running and not shared_running and not _just_finished(context.instance):
        request = combined_request(context.instance, workspace)
        requests = [request] if request else []
    return dg.SensorResult(run_requests=requests) if requests else dg.SkipReason("all is as it should be")


def _just_finished(instance: dg.DagsterInstance) -> bool:
    """Tell whether the newest run ended a moment ago: the faster automation condition goes first."""
    records = instance.get_run_records(limit=1)
    ended = records[0].end_time if records else None
    return ended is not None and time.time() - ended < AUTOMATION_TURN_S


def _skill_requests(
    context: dg.SensorEvaluationContext, workspace: Workspace, keys: Iterable[str]
) -> tuple[list[dg.RunRequest], bool]:
    """Return the runs that skills need, and whether one has to wait because it is running."""
    running, _ = busy(context.instance)
    requests, waiting = [], False
    for skill in keys:
        try:
            request = skill_request(context.instance, workspace, skill)
        except BeyondMimicError as error:
            context.log.error(f"{skill}: {error}")
            continue
        if request is not None and skill in running:
            waiting = True
        elif request is not None:
            requests.append(request)
    return requests, waiting
