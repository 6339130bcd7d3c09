"""Putting motions into the motion folder: the project's own and a person's, with what is known of them."""

import contextlib
import dataclasses
import glob
import json
import re
import shutil
import tomllib
from collections.abc import Sequence
from pathlib import Path

from assets.workspace import Workspace
from beyondmimic_data.errors import ConfigError, MotionError
from beyondmimic_data.files import atomic_path, write_bytes
from beyondmimic_data.hashing import hash_file
from beyondmimic_data.motions.folder import motion_files, refuse_links_outside
from beyondmimic_data.motions.formats import SUFFIXES
from beyondmimic_data.motions.motion_config import (
    FILE_NAME,
    FileRule,
    find_config,
    load_config,
    nearest_config,
    rule_of,
)
from beyondmimic_data.motions.skeletons import save_skeleton

SYNTHESISED = "synth"


def folder_signature(workspace: Workspace) -> dict[str, str]:
    """Return time and size of every motion file and TOML file of the motion folder, by path."""
    root = workspace.motion_folder
    signature = {}
    for path in sorted([*motion_files(root), *root.rglob("*.toml")]):
        with contextlib.suppress(OSError):  # gone since it was listed, or a link to nothing
            state = path.stat()
            signature[path.relative_to(root).as_posix()] = f"{state.st_mtime_ns}:{state.st_size}"
    return signature


def add_synthesised(workspace: Workspace) -> list[Path]:
    """Write the preset's synthesised clips; a file whose clip is the same already is left untouched.

    A skill of several clips is a folder, and a ``motions.toml`` beside it makes one skill of them.
    """
    from beyondmimic_data.motions.clip import Clip
    from beyondmimic_data.motions.synth import skill_files

    preset, written = workspace.preset, []
    folder = workspace.motion_folder / SYNTHESISED
    for skill in preset.synth.skills:
        files = skill_files(skill, preset.synth, preset.control.control_hz)
        clips = {folder / name: clip for name, clip in files.items()}
        if len(clips) > 1:
            _group(list(clips), skill)
        for path, clip in clips.items():
            try:
                same = path.exists() and Clip.load(path).version == clip.version
            except MotionError:
                same = False
            if not same:
                clip.save(path)
                written.append(path)
    return written


def _group(paths: Sequence[Path], skill: str) -> None:
    """Make one skill of the clips of a subfolder, unless a ``[[skills]]`` table has that name or one of them.

    A new ``motions.toml`` would hide the one above it, and with it a skill that someone made of these clips.
    """
    config, folder = nearest_config(paths[0]), paths[0].parents[1]
    if config is not None:
        named = config.path.parent == folder and any(rule.name == skill for rule in config.skills)
        if named or any(config.skill_takes(rule, path) for rule in config.skills for path in paths):
            return
    _append(folder / FILE_NAME, f'[[skills]]\nname = "{skill}"\nclips = ["{skill}/*.npz"]')


def add_motions(workspace: Workspace, sources: Sequence[Path]) -> list[Path]:
    """Copy motion files, and the motion files of folders, with the facts of their own ``motions.toml``.

    A file keeps its name, one from a folder also its path inside it. Equal bytes are not written again. The
    ``[[clips]]`` and ``[[skills]]`` tables inside a folder come along, and replace those of their names.

    Args:
        workspace: whose motion folder receives them.
        sources: files or folders.

    Returns:
        Where they are now.

    Raises:
        ConfigError: a source that is not there or holds no motion, or two of one name.
        MotionError: a ``motions.toml`` that cannot be read, or a link that leads out of its folder.
    """
    places: dict[Path, Path] = {}
    for source in sources:
        for file, place in _files_of(source):
            target = workspace.motion_folder / place
            if target in places and places[target] != file:
                raise ConfigError("motions", f"{places[target]} and {file}", "files with different names")
            places[target] = file
    for source in filter(Path.is_dir, sources):
        for tables in sorted(source.rglob(FILE_NAME)):
            _bring_tables(tables, workspace.motion_folder / tables.relative_to(source))
    for target, file in places.items():
        _state_facts(workspace.motion_folder, target, rule_of(file))
        if not target.exists() or hash_file(target) != hash_file(file):
            with atomic_path(target) as temporary:
                shutil.copyfile(file, temporary)
    return sorted(places)


def _files_of(source: Path) -> list[tuple[Path, Path]]:
    """Return the motion files of a source, each with its place inside the motion folder."""
    if source.is_file():
        return [(source.absolute(), Path(source.name))]
    if not source.is_dir():
        raise ConfigError("motions", str(source), "a file or a folder that exists")
    refuse_links_outside(source)
    files = sorted(motion_files(source))
    if not files:
        raise ConfigError("motions", str(source), "a folder with files that end in " + ", ".join(SUFFIXES))
    return [(file.absolute(), file.relative_to(source)) for file in files]


def _state_facts(folder: Path, target: Path, rule: FileRule) -> None:
    """Add what is known of a file to its ``motions.toml`` in the folder, unless that says so already."""
    if dataclasses.replace(rule_of(target), match=rule.match) == rule:
        return
    nearest = find_config(target.parent)
    path = nearest if nearest is not None and folder in nearest.parents else folder / FILE_NAME
    match = glob.escape(target.relative_to(path.parent).as_posix())
    if rule.facts.skeleton is not None:
        save_skeleton(rule.facts.skeleton, path)
    facts = rule.facts.stated() | ({"material": True} if rule.material else {})
    lines = [f"{name} = {json.dumps(value)}" for name, value in facts.items()]
    _append(path, "\n".join(["[[files]]", f"match = {json.dumps(match)}", *lines]))


def _append(path: Path, text: str) -> None:
    """Add tables to a ``motions.toml``, which is made if there is none."""
    before = path.read_text(encoding="utf-8").rstrip() + "\n\n" if path.exists() else ""
    write_bytes(path, f"{before}{text.strip()}\n".encode())


def _bring_tables(source: Path, target: Path) -> None:
    """Put the ``[[clips]]`` and ``[[skills]]`` of one ``motions.toml`` into another, as they are written.

    A new one hides what those above it say of its files, and says it again.

    Raises:
        MotionError: one of both is broken, or not one table after the other.
    """
    load_config(source)
    wanted = _tables(source)
    if not wanted:
        return
    present: dict[tuple[str, str], str] = {}
    if target.exists():
        load_config(target)
        present = _tables(target)
    hidden = {} if target.exists() else {file: rule_of(file) for file in motion_files(target.parent)}
    for key, text in wanted.items():
        if present.get(key) == text:
            continue
        if key in present:
            replaced = target.read_text(encoding="utf-8").replace(present[key], text, 1)
            write_bytes(target, replaced.encode())
        else:
            _append(target, text)
    for file, rule in hidden.items():
        _state_facts(target.parent, file, rule)


def _tables(path: Path) -> dict[tuple[str, str], str]:
    """Return the text of the ``[[clips]]`` and ``[[skills]]`` of a ``motions.toml``, by kind and name."""
    blocks = re.split(r"(?m)^(?=\[\[)", path.read_text(encoding="utf-8"))
    found = {}
    for block in blocks:
        try:
            document = tomllib.loads(block)
        except tomllib.TOMLDecodeError as error:
            expected = "tables that start with [[ at the start of a line, and no other such line"
            raise MotionError(path, "TOML", error, expected) from error
        for kind in ("clips", "skills"):
            for table in document.get(kind, []):
                found[kind, table["name"]] = block.strip()
    return found
