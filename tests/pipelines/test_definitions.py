"""What a person finds in the UI: everything described, grouped, owned, versioned."""

import dagster as dg
import pytest

from pipelines.definitions import defs
from pipelines.measured import DESCRIPTIONS

NAMES = {
    "motion",
    "tracking_policy",
    "rollouts",
    "dataset",
    "diffusion_policy",
    "closed_loop_report",
    "deployment_bundle",
}


@pytest.fixture(scope="module")
def graph():
    return defs()


def test_every_asset_is_described_grouped_owned_and_versioned(graph):
    specs = {spec.key.to_user_string(): spec for spec in graph.resolve_all_asset_specs()}
    assert set(specs) == NAMES | set(DESCRIPTIONS)
    for name, spec in specs.items():
        assert len(spec.description or "") > 40, name
        assert spec.group_name not in (None, "default"), name
        assert spec.owners, name
    for name in NAMES:
        spec = specs[name]
        assert spec.kinds, name
        assert spec.code_version, name
        assert spec.automation_condition is not None, name


def test_skills_are_one_partition_set_with_identity_mappings(graph):
    specs = {spec.key.to_user_string(): spec for spec in graph.resolve_all_asset_specs()}
    partitioned = {name for name in NAMES if specs[name].partitions_def is not None}
    assert partitioned == {"motion", "tracking_policy", "rollouts"}
    assert {specs[name].partitions_def.name for name in partitioned} == {"skills"}
    assert all(dep.partition_mapping is None for spec in specs.values() for dep in spec.deps)


def test_blocking_checks(graph):
    specs = {
        (check.asset_key.to_user_string(), check.name): check
        for checks in graph.asset_checks
        for check in checks.check_specs
    }
    blocking = {key for key, spec in specs.items() if spec.blocking}
    assert blocking == {("motion", "quality"), ("dataset", "not_empty"), ("deployment_bundle", "onnx_parity")}
    assert set(specs) - blocking == {
        ("tracking_policy", "gate"),
        ("rollouts", "kept_enough"),
        ("diffusion_policy", "stays_up"),
        ("closed_loop_report", "closed_loop_gate"),
    }


def test_sensors_and_schedule_run_without_being_switched_on(graph):
    running = {s.name for s in graph.sensors if s.default_status == dg.DefaultSensorStatus.RUNNING}
    assert running == {"automation", "motion_folder", "reconcile"}
    assert [s.default_status for s in graph.schedules] == [dg.DefaultScheduleStatus.RUNNING]


def test_jobs_cover_the_graph(graph):
    found = set()
    for name in ("skill_pipeline", "combined_pipeline"):
        keys = graph.resolve_job_def(name).asset_layer.executable_asset_keys
        found |= {key.to_user_string() for key in keys}
    assert found == NAMES
