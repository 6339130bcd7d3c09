"""What verbs measure, shown in the UI: assets that nothing builds, whose events the verbs write.

Each verb that measures ends with one event: its figures as numbers, which the UI draws over time, its table
and its picture. A partition is what was measured: a benchmark, a protocol, a skill, a study's folder.
"""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
from sqlalchemy.exc import SQLAlchemyError

from assets.presentation import picture, rounded, table
from pipelines.home import open_instance

log = logging.getLogger("beyondmimic.cli")

DESCRIPTIONS = {
    "benchmark": (
        "Hot paths timed against their own limit on this machine, by name; `beyondmimic bench` measures them."
    ),
    "tracking_evaluation": (
        "Tracking policies examined by hand, by skill; `beyondmimic evaluate tracking` measures them."
    ),
    "closed_loop_evaluation": (
        "Success of a diffusion policy in closed loop, by protocol; `beyondmimic evaluate closed-loop` "
        "measures it."
    ),
    "closed_loop_study": (
        "One protocol played with every combination of some settings; `beyondmimic study closed-loop` "
        "plays it."
    ),
    "training_study": (
        "Ablations of Stage 2: equal trainings with one setting changed at a time, judged in closed loop; "
        "`beyondmimic study training` makes them."
    ),
    "learned_guidance_study": (
        "Learned settings of guidance beside fixed ones at equal seeds; `beyondmimic study learned-guidance` "
        "compares them."
    ),
}
"""By asset."""

SPECS = [
    dg.AssetSpec(
        name,
        description=description,
        group_name="measured",
        owners=["team:diffusion"],
        partitions_def=dg.DynamicPartitionsDefinition(name=name),
    )
    for name, description in DESCRIPTIONS.items()
]


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a verb shows in the UI."""

    asset: str
    """One of ``DESCRIPTIONS``."""
    of: str
    """What was measured."""
    figures: Mapping[str, Any]
    """Numbers, words and truths by name; a group of these, or a list of groups, becomes a table."""
    rows: Sequence[Mapping[str, Any]] = ()
    """A table, its columns those of the first row."""
    picture: Path | None = None
    """A PNG file."""


def publish(measured: Measured) -> None:
    """Write one event; where that fails, say so and go on: what was measured is printed all the same."""
    metadata = rounded({k: shown for k, v in measured.figures.items() if (shown := _shown(v)) is not None})
    if measured.rows:
        metadata["table"] = table(measured.rows)
    if measured.picture is not None:
        metadata["picture"] = picture(measured.picture)
    event = dg.AssetMaterialization(measured.asset, metadata=metadata, partition=measured.of)
    try:
        with open_instance() as instance:
            instance.add_dynamic_partitions(measured.asset, [measured.of])
            instance.report_runless_asset_event(event)
    except (OSError, dg.DagsterError, SQLAlchemyError) as error:
        log.warning("the UI will not show these figures: %s", error)


def _shown(value: Any) -> Any:
    """Return how the UI shows a figure, or ``None`` if it does not."""
    if isinstance(value, (bool, int, float, str)):
        return value
    groups = [value] if isinstance(value, Mapping) else value
    if not isinstance(groups, Sequence) or not groups or not all(isinstance(g, Mapping) for g in groups):
        return None
    return table([{str(k): v for k, v in g.items() if isinstance(v, (int, float, str))} for g in groups])
