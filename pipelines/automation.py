"""When assets are rebuilt without anyone asking.

The condition is the fast path. It does not see what was there before it was first evaluated, and it does not
try a failed skill again; the reconcile sensor covers both.
"""

import dagster as dg

from assets.partitions import skills

AC = dg.AutomationCondition

NOT_RUNNING = ~AC.in_progress()
IDLE = NOT_RUNNING & ~NOT_RUNNING.newly_true()
"""Not running, nor at the last evaluation: what a run builds during an evaluation is seen as no longer
running, but not yet as updated."""

READY = ~AC.any_deps_missing() & ~AC.any_deps_in_progress() & IDLE & AC.all_deps_blocking_checks_passed()
HANDLED = (
    AC.newly_requested() | AC.newly_updated() | AC.execution_failed().newly_true() | AC.initial_evaluation()
).with_label("handled")

ON_DATA_CHANGE = (
    (AC.any_deps_match(AC.data_version_changed()) | AC.code_version_changed()).since(HANDLED) & READY
).with_label("on_data_change")
"""Rebuild when the bytes of a parent or the asset's own code version changed, and only then."""

SETTLED = ~AC.any_deps_match(AC.in_progress() | AC.any_deps_match(AC.in_progress())) & IDLE

ON_ANY_SKILL_CHANGE = (
    (AC.any_deps_match(AC.data_version_changed()) | AC.code_version_changed()).since(HANDLED) & SETTLED
).with_label("on_any_skill_change")
"""For the fan-in: a skill without rollouts must not hold up the others, but running ones are waited for."""

ON_CODE_CHANGE = (AC.code_version_changed().since(HANDLED) & IDLE).with_label("on_code_change")
"""For the graph's root, which the sensor of the motion folder feeds."""

FAN_IN = "dataset"
ROOT = "motion"


def with_condition(spec: dg.AssetSpec) -> dg.AssetSpec:
    """Give an asset its condition."""
    name = spec.key.to_user_string()
    condition = {ROOT: ON_CODE_CHANGE, FAN_IN: ON_ANY_SKILL_CHANGE}.get(name, ON_DATA_CHANGE)
    return spec.replace_attributes(automation_condition=condition)


automation = dg.AutomationConditionSensorDefinition(
    "automation",
    target=dg.AssetSelection.all(),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=10,
    description="Rebuilds what depends on changed bytes or changed code.",
)

__all__ = ["automation", "skills", "with_condition"]
