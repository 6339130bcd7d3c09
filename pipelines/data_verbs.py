"""What the command line's verbs about dataset versions do: compare two, and export one."""

import logging
from collections.abc import Mapping
from typing import Any

from assets.building import ALL
from assets.dataset_export import export_dataset
from assets.workspace import open_workspace
from beyondmimic_data.text_table import aligned
from pipelines import options as o
from pipelines.verbs import Result
from storage.artifact_names import find_named

log = logging.getLogger("beyondmimic.cli")


def data_diff(options: o.DataDiff) -> Result:
    """Compare two dataset versions."""
    from storage.dataset_diff import diff_datasets

    store = open_workspace().store
    old, new = (find_named(store, "datasets", ALL, name) for name in (options.old, options.new))
    document = diff_datasets(old, new)
    return Result(document, _diff_text(document))


def data_export(options: o.DataExport) -> Result:
    """Write a dataset version for other tools."""
    dataset = find_named(open_workspace().store, "datasets", ALL, options.version)
    document = export_dataset(
        dataset,
        options.format,
        options.out,
        skills=options.skills,
        order=options.order,
        progress=log.info,
    )
    return Result(document, _export_text(document))


def _export_text(document: Mapping[str, Any]) -> str:
    return (
        f"{document['folder']}: {document['format']}, dataset {document['dataset']['version']}, "
        f"{document['episodes']} episodes, {document['hours']:.2f} hours of {', '.join(document['skills'])}, "
        f"{document['bytes'] / 1e6:.1f} MB"
    )


def _diff_text(document: Mapping[str, Any]) -> str:
    old, new = document["old"], document["new"]
    rows: list[tuple[str, ...]] = [("skill", "", "rollouts", "hours", "episodes", "validation")]
    for name, sign in (("added", "+"), ("removed", "-"), ("unchanged", "=")):
        rows += [_cells(line["skill"], f"{sign} {name}", line) for line in document[name]]
    for line in document["changed"]:
        rows.append(_cells(line["skill"], "- changed", line["old"]))
        rows.append(_cells("", "+", line["new"]))
    totals = document["totals"]
    for side, sign in (("old", "-"), ("new", "+")):
        figures = {name: total[side] for name, total in totals.items()}
        rows.append(_cells("all" if side == "old" else "", sign, figures | {"recipe": ""}))
    lines = [
        f"{side}  recipe {value['recipe']}  version {value['version']}"
        for side, value in (("old", old), ("new", new))
    ]
    lines += ["", *aligned(rows, left=(0, 1, 2)), ""]
    lines.append(f"shared by both: {document['shared_bytes'] / 1e6:.1f} MB of unchanged rollouts")
    return "\n".join([*lines, *_split_text(document["validation"]), *_left_out_text(document["left_out"])])


def _cells(skill: str, change: str, figures: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        skill,
        change,
        figures["recipe"],
        f"{figures['hours']:.3f}",
        str(figures["episodes"]),
        str(figures["validation_episodes"]),
    )


def _split_text(validation: Mapping[str, Any]) -> list[str]:
    lines = [
        f"validation {name}: {validation[name]['old']} -> {validation[name]['new']}"
        for name in ("fraction", "seed")
        if validation[name]["old"] != validation[name]["new"]
    ]
    lines += [
        f"{line['skill']}: {line['to_validation']} episodes moved to validation, {line['to_train']} to train"
        for line in validation["moved"]
    ]
    return lines or ["no unchanged episode moved between training and validation"]


def _left_out_text(reasons: list[dict[str, Any]]) -> list[str]:
    return [
        f"{line['skill']}: left out of {side}: {line[side]}"
        for line in reasons
        for side in ("old", "new")
        if line[side] is not None
    ]
