"""What the command line's verbs about stored data do: compare, export, copy, verify, clean up, disturb."""

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


def data_push(options: o.DataPush) -> Result:
    """Copy a dataset version to an object store."""
    from storage.transfer import push_dataset

    dataset = find_named(open_workspace().store, "datasets", ALL, options.version)
    document = push_dataset(dataset, options.url, skills=options.skills, progress=log.info)
    return Result(document, _transfer_text(document))


def data_pull(options: o.DataPull) -> Result:
    """Copy a dataset version from an object store."""
    from storage.transfer import pull_dataset

    store, wanted = open_workspace().store, (options.url, ALL, options.version)
    document = pull_dataset(store, *wanted, skills=options.skills, progress=log.info)
    return Result(document, _transfer_text(document))


def data_verify(options: o.DataVerify) -> Result:
    """Compare stored bytes with what was recorded, and heal what differs if asked to."""
    from storage.integrity import heal, verify

    store = open_workspace().store
    kinds = options.kinds or store.kinds()
    folders = [path for kind in kinds for key in store.keys(kind) for path in store.folders(kind, key)]
    found: list[dict[str, str]] = []
    aside: list[str] = []
    size = 0
    for folder in folders:
        problems = verify(folder)
        size += sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        found += [
            {"artifact": str(folder), "file": p.file, "problem": p.what, "remedy": p.remedy} for p in problems
        ]
        if problems and options.heal:
            target = heal(store, folder, problems)
            aside += [] if target is None else [str(target)]
    document = {
        "artifacts": len(folders),
        "bytes": size,
        "problems": found,
        "healed": bool(found and options.heal),
        "set_aside": aside,
    }
    lines = [f"{line['artifact']}/{line['file']}: {line['problem']}; {line['remedy']}" for line in found]
    lines += [f"set aside: {path}" for path in aside]
    if document["healed"]:
        lines.append("what is damaged is out of the way: collect or run again to make just that again")
    elif found:
        lines.append("--heal sets aside what is damaged; the next collection or run makes just that again")
    verdict = f"{len(found)} problems" if found else "every byte is as it was written"
    lines.append(f"{len(folders)} artifacts, {size / 1e9:.2f} GB read: {verdict}")
    return Result(document, "\n".join(lines), ok=not found or options.heal)


def data_gc(options: o.DataGc) -> Result:
    """List, and if asked to remove, what nothing kept refers to."""
    from storage.garbage import find_garbage, newest, remove_garbage

    store = open_workspace().store
    garbage = find_garbage(store, newest(store), partials=options.partials)
    folders = [str(path) for path in (*(a.path for a in garbage.artifacts), *garbage.partials)]
    removed = [str(path) for path in remove_garbage(store, garbage)] if options.remove else []
    document = {"folders": folders, "bytes": garbage.bytes, "removed": removed}
    verdict = f"{len(removed)} of them removed" if options.remove else "--remove removes them"
    end = f"{len(folders)} folders, {garbage.bytes / 1e9:.2f} GB, that nothing needs; {verdict}"
    return Result(document, "\n".join([*folders, end if folders else "nothing to remove"]))


def chaos_collect(options: o.ChaosCollect) -> Result:
    """Disturb a collection in every way and compare what it wrote with that of a calm one."""
    from pipelines.chaos import chaos_collect

    document = chaos_collect(options.kills, options.seed, log.info)
    rows = [("incident", "times", "units done", "in the log")]
    for line in document["incidents"]:
        done = ", ".join(map(str, line["units_done"]))
        rows.append((line["kind"], str(line["times"]), done, line["evidence"]))
    lines = [*aligned(rows, left=(0, 2, 3)), ""]
    lines += [f"skipped: {reason}" for reason in document["skipped"]]
    verdict = "equal to the calm one's, byte by byte" if document["equal"] else "NOT those of the calm one"
    lines.append(
        f"{document['units']} units, {document['episodes']} episodes, each once: {document['each_once']}; "
        f"files {verdict}; {document['seconds']:.0f} s, calm {document['calm_seconds']:.0f} s"
    )
    return Result(document, "\n".join(lines), ok=document["ok"])


def _export_text(document: Mapping[str, Any]) -> str:
    return (
        f"{document['folder']}: {document['format']}, dataset {document['dataset']['version']}, "
        f"{document['episodes']} episodes, {document['hours']:.2f} hours of {', '.join(document['skills'])}, "
        f"{document['bytes'] / 1e6:.1f} MB"
    )


def _transfer_text(document: Mapping[str, Any]) -> str:
    rows = [("kind", "key", "recipe", "MB", "")]
    for line in document["artifacts"]:
        done = "copied" if line["copied"] else "was there"
        rows.append((line["kind"], line["key"], line["recipe"], f"{line['bytes'] / 1e6:.1f}", done))
    lines = [*aligned(rows, left=(0, 1, 2, 4)), ""]
    for line in document["absent"]:
        place = f"{line['kind']}/{line['key']}/{line['recipe']}"
        lines.append(f"{place}: an ancestor that is gone; all else is whole without it")
    lines.append(
        f"{document['url']}: dataset {document['dataset']['version']}, "
        f"{document['copied']} artifacts copied, {document['skipped']} were there, "
        f"{document['bytes'] / 1e6:.1f} MB moved"
    )
    return "\n".join(lines)


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
