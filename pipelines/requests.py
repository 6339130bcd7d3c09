"""Which runs are asked for: what is wanted, against what Dagster last saw materialised.

A recipe that failed is left alone, whoever tried it, until a file, the configuration, the code or a person's
own run changes something. A request carries a token of what was wanted and what was there, and the same
token is never asked for twice.
"""

from collections.abc import Sequence

import dagster as dg

from assets.presentation import RECIPE
from assets.status import StageStatus, combined_status, skill_status
from assets.workspace import Workspace
from beyondmimic_data.hashing import hash_value
from pipelines.jobs import combined_pipeline, skill_pipeline

TOKEN_TAG = "beyondmimic/token"
INTERRUPTED_TAG = "beyondmimic/interrupted"
"""On runs whose process died: nobody saw their recipe fail."""
PARTITION_TAG = "dagster/partition"
ACTIVE = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def skill_token(instance: dg.DagsterInstance, workspace: Workspace, skill: str) -> str | None:
    """Return the token of what a skill needs, or ``None`` if it is up to date."""
    return _token(instance, skill_status(workspace, skill), skill)


def combined_token(instance: dg.DagsterInstance, workspace: Workspace) -> str | None:
    """Return the token of what the shared stages need, or ``None`` if they are up to date."""
    return _token(instance, combined_status(workspace), None)


def skill_request(instance: dg.DagsterInstance, workspace: Workspace, skill: str) -> dg.RunRequest | None:
    """Return the run that brings a skill up to date, unless it is, or was asked for before."""
    stages = skill_status(workspace, skill)
    token = _token(instance, stages, skill)
    if token is None or _failed(stages) or asked_before(instance, token):
        return None
    return dg.RunRequest(job_name=skill_pipeline.name, partition_key=skill, tags={TOKEN_TAG: token})


def combined_request(instance: dg.DagsterInstance, workspace: Workspace) -> dg.RunRequest | None:
    """Return the run that brings the shared stages up to date, unless they are, or were asked for before."""
    stages = combined_status(workspace)
    token = _token(instance, stages, None)
    if token is None or _failed(stages) or asked_before(instance, token):
        return None
    return dg.RunRequest(job_name=combined_pipeline.name, tags={TOKEN_TAG: token})


def asked_before(instance: dg.DagsterInstance, token: str) -> bool:
    """Tell whether a run with this token was started and not interrupted from outside."""
    runs = instance.get_runs(dg.RunsFilter(tags={TOKEN_TAG: token}))
    return any(INTERRUPTED_TAG not in run.tags for run in runs)


def busy(instance: dg.DagsterInstance) -> tuple[set[str], bool]:
    """Return the skills that a run is working on, and whether one is working on the shared stages."""
    runs = instance.get_runs(dg.RunsFilter(statuses=ACTIVE))
    partitions = [run.tags.get(PARTITION_TAG) for run in runs]
    return {key for key in partitions if key is not None}, None in partitions


def _failed(stages: Sequence[StageStatus]) -> bool:
    """Tell whether the next thing to build was tried with this very recipe, and failed."""
    return any(stage.failed is not None for stage in stages)


def _token(instance: dg.DagsterInstance, stages: Sequence[StageStatus], partition: str | None) -> str | None:
    seen = {stage.asset: _materialised_recipe(instance, stage.asset, partition) for stage in stages}
    if all(stage.complete and seen[stage.asset] == stage.recipe for stage in stages):
        return None
    wanted = [[stage.asset, stage.recipe, stage.complete] for stage in stages]
    return hash_value([partition, wanted, seen])


def _materialised_recipe(instance: dg.DagsterInstance, asset: str, partition: str | None) -> str | None:
    """Return the recipe of an asset's last materialisation."""
    key = dg.AssetKey(asset)
    records = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition] if partition else None)
    for record in instance.fetch_materializations(records, limit=1).records:
        materialisation = record.asset_materialization
        entry = materialisation.metadata.get(RECIPE) if materialisation else None
        return str(entry.value) if entry else None
    return None
