"""Putting motions into the motion folder: the project's own and a person's, with what is known of them."""

import contextlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from assets.workspace import Workspace
from beyondmimic_data.errors import ConfigError, MotionError
from beyondmimic_data.files import atomic_path, write_bytes
from beyondmimic_data.hashing import hash_file
from beyondmimic_data.motions.folder import motion_files
from beyondmimic_data.motions.formats import SUFFIXES
from beyondmimic_data.motions.motion_config import FILE_NAME, MotionFacts, facts_of
from beyondmimic_data.motions.skeletons import save_skeleton

SYNTHESISED = "synth"


def folder_signature(workspace: Workspace) -> dict[str, str]:
    """Return time and size of every motion file and TOML file of the motion folder, by path."""
    root = workspace.motion_folder
    signature = {}
    for path in sorted([*motion_files(root), *root.rglob("*.toml")]):
        with contextlib.suppress(FileNotFoundError):  # gone since it was listed
            state = path.stat()
            signature[path.relative_to(root).as_posix()] = f"{state.st_mtime_ns}:{state.st_size}"
    return signature


def add_synthesised(workspace: Workspace) -> list[Path]:
    """Write the preset's synthesised clips; a file whose clip is the same already is left untouched."""
    from beyondmimic_data.motions.clip import Clip
    from beyondmimic_data.motions.synth import synthesise

    preset, written = workspace.preset, []
    for skill in preset.synth.skills:
        path = workspace.motion_folder / SYNTHESISED / f"{skill}.npz"
        clip = synthesise(skill, preset.synth, preset.control.control_hz)
        try:
            same = path.exists() and Clip.load(path).version == clip.version
        except MotionError:
            same = False
        if not same:
            clip.save(path)
            written.append(path)
    return written


def add_motions(workspace: Workspace, sources: Sequence[Path]) -> list[Path]:
    """Copy motion files, and the motion files of folders, with the facts of their own ``motions.toml``.

    A file keeps its name, one from a folder also its path inside it. Equal bytes are not written again.

    Args:
        workspace: whose motion folder receives them.
        sources: files or folders.

    Returns:
        Where they are now.

    Raises:
        ConfigError: a source that is not there or holds no motion, or two of one name.
        MotionError: a ``motions.toml`` that cannot be read.
    """
    places: dict[Path, Path] = {}
    for source in sources:
        for file, place in _files_of(source):
            target = workspace.motion_folder / place
            if target in places and places[target] != file:
                raise ConfigError("motions", f"{places[target]} and {file}", "files with different names")
            places[target] = file
    for target, file in places.items():
        _state_facts(workspace.motion_folder, target, facts_of(file))
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
    files = sorted(motion_files(source))
    if not files:
        raise ConfigError("motions", str(source), "a folder with files that end in " + ", ".join(SUFFIXES))
    return [(file.absolute(), file.relative_to(source)) for file in files]


def _state_facts(folder: Path, target: Path, facts: MotionFacts) -> None:
    """Add what is known of a file to the folder's ``motions.toml``, unless that says so already."""
    if facts_of(target) == facts:
        return
    match = target.relative_to(folder).as_posix().replace("[", "[[]").replace("*", "[*]").replace("?", "[?]")
    lines = [f"{name} = {json.dumps(value)}" for name, value in facts.stated().items()]
    table = "\n".join(["[[files]]", f"match = {json.dumps(match)}", *lines])
    path = folder / FILE_NAME
    if facts.skeleton is not None:
        save_skeleton(facts.skeleton, path)
    before = path.read_text(encoding="utf-8").rstrip() + "\n\n" if path.exists() else ""
    write_bytes(path, f"{before}{table}\n".encode())
