"""The conditions on the real graph, without running it: exactly what changed is requested."""

import dagster as dg
import pytest
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)

from pipelines.definitions import defs

STAGES = ("motion", "tracking_policy", "rollouts")


@pytest.fixture(scope="module")
def graph():
    return defs()


class Daemon:
    """Evaluates the conditions tick by tick."""

    def __init__(self, graph: dg.Definitions, instance: dg.DagsterInstance) -> None:
        self.graph, self.instance, self.cursor = graph, instance, None

    def tick(self) -> set[str]:
        """Return what is requested: `asset` or `asset[partition]`."""
        result = dg.evaluate_automation_conditions(self.graph, self.instance, cursor=self.cursor)
        self.cursor = result.cursor
        found = set()
        for evaluation in result.results:
            subset = evaluation.true_subset
            name = evaluation.key.to_user_string()
            if subset.is_empty:
                continue
            keys = subset.expensively_compute_partition_keys() if subset.is_partitioned else []
            found |= {f"{name}[{key}]" for key in keys} or {name}
        return found

    def materialise(self, asset: str, version: str, partition: str | None = None) -> None:
        self.instance.report_runless_asset_event(
            dg.AssetMaterialization(asset, partition=partition, tags={"dagster/data_version": version})
        )

    def check(self, asset: str, name: str, passed: bool, partition: str | None = None) -> None:
        """Record a check of an asset's last materialisation."""
        wanted = dg.AssetRecordsFilter(
            asset_key=dg.AssetKey(asset), asset_partitions=[partition] if partition else None
        )
        last = self.instance.fetch_materializations(wanted, limit=1).records[0]
        self.instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                check_name=name,
                passed=passed,
                metadata={},
                asset_key=dg.AssetKey(asset),
                blocking=True,
                partition=partition,
                target_materialization_data=AssetCheckEvaluationTargetMaterializationData(
                    storage_id=last.storage_id, run_id=last.run_id, timestamp=last.timestamp
                ),
            )
        )


@pytest.fixture
def daemon(graph):
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("skills", ["a", "b"])
        daemon = Daemon(graph, instance)
        for skill in ("a", "b"):
            for asset in STAGES:
                daemon.materialise(asset, f"{asset}-{skill}-1", skill)
        daemon.materialise("dataset", "1")
        daemon.materialise("diffusion_policy", "1")
        daemon.tick()
        yield daemon


def test_nothing_is_requested_while_nothing_changes(daemon):
    assert daemon.tick() == set()
    daemon.materialise("motion", "motion-a-1", "a")
    assert daemon.tick() == set(), "equal bytes"


def test_a_changed_motion_requests_its_own_policy_only(daemon):
    daemon.materialise("motion", "motion-a-2", "a")
    daemon.check("motion", "quality", True, "a")
    assert daemon.tick() == {"tracking_policy[a]"}
    assert daemon.tick() == set(), "once"


def test_changed_rollouts_request_the_dataset_even_if_another_skill_has_none(daemon):
    daemon.instance.add_dynamic_partitions("skills", ["without"])
    assert daemon.tick() == set()
    daemon.materialise("rollouts", "rollouts-a-2", "a")
    assert daemon.tick() == {"dataset"}


def test_a_changed_dataset_requests_the_diffusion_policy(daemon):
    daemon.materialise("dataset", "2")
    daemon.check("dataset", "not_empty", True)
    assert daemon.tick() == {"diffusion_policy"}


def test_an_empty_dataset_requests_nothing(daemon):
    daemon.materialise("dataset", "empty")
    daemon.check("dataset", "not_empty", False)
    assert daemon.tick() == set()


def test_a_refused_motion_stops_its_own_skill_and_no_other(daemon):
    daemon.materialise("motion", "motion-a-2", "a")
    daemon.check("motion", "quality", False, "a")
    daemon.materialise("motion", "motion-b-2", "b")
    daemon.check("motion", "quality", True, "b")
    assert daemon.tick() == {"tracking_policy[b]"}
