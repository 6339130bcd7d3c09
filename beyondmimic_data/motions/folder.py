"""A motion folder: the skills it holds, their clips with facts, and signatures that say what changed."""

import contextlib
import dataclasses
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from beyondmimic_data.errors import MotionError
from beyondmimic_data.files import read_json, write_json
from beyondmimic_data.hashing import hash_file, hash_value
from beyondmimic_data.motions.formats import (
    EDITS_VERSION,
    EXPECTED,
    IMPORTER_VERSION,
    KEY_EXPECTED,
    MAX_BYTES,
    REFUSED,
    SUFFIXES,
    is_key,
)
from beyondmimic_data.motions.motion_config import (
    DEFAULT_BLEND,
    ClipRule,
    Edit,
    MotionConfig,
    MotionFacts,
    PieceRule,
    find_config,
    load_config,
)

_HASH = re.compile(r"[0-9a-f]{64}")
RACY_SECONDS = 2.0
"""A file changed this recently may change again within one tick of its clock: its hash is not remembered."""


@dataclasses.dataclass(frozen=True)
class Piece:
    """What a clip takes from one motion file."""

    path: Path
    facts: MotionFacts
    edit: Edit


@dataclasses.dataclass(frozen=True)
class ClipSource:
    """What one clip is imported from: a file, or the pieces that a ``[[clips]]`` table names."""

    name: str
    """Path relative to the motion folder without suffix, ``/`` as ``__``; a made clip's table names it."""
    place: Path
    """What patterns of ``[[skills]]`` match: the file, or the made clip's name in its table's folder."""
    pieces: tuple[Piece, ...]
    """Played one after the other."""
    blend: float = DEFAULT_BLEND
    """s over which pieces and repetitions are joined."""
    table: Path | None = None
    """The ``motions.toml`` that makes the clip; ``None`` for a file's own clip."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The motion files that it is made of, each once."""
        return tuple(dict.fromkeys(piece.path for piece in self.pieces))

    def as_table(self, folder: Path) -> dict[str, Any]:
        """Return the ``[[clips]]`` table, for a ``motions.toml`` in ``folder``, that makes this clip."""
        pieces = []
        for piece in self.pieces:
            asked = {k: v for k, v in dataclasses.asdict(piece.edit).items() if v != getattr(Edit(), k)}
            pieces.append({"from": piece.path.relative_to(folder).as_posix(), **asked})
        first, *following = pieces
        name = "__".join(self.place.relative_to(folder).parts)
        return {"name": name, **first, "blend": self.blend, **({"then": following} if following else {})}


@dataclasses.dataclass(frozen=True)
class SkillSource:
    """The clips that one policy tracks."""

    key: str
    """Partition key: a clip's name, or the name of a ``[[skills]]`` table behind its folder's path."""
    clips: tuple[ClipSource, ...]
    signature: str
    """Hash of names, of the files' bytes and facts, of edits, and of the importer's version."""


@dataclasses.dataclass(frozen=True)
class FolderScan:
    """What a motion folder holds; what is wrong with one file keeps no other from being read."""

    skills: dict[str, SkillSource]
    errors: list[MotionError]


class HashCache:
    """SHA-256 of files, computed again only where size or modification time differ.

    Args:
        path: JSON file that keeps the hashes between processes; ``None`` keeps them in memory.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._known: dict[str, list] = {}
        if path is not None and path.is_file():
            with contextlib.suppress(OSError, ValueError):  # a damaged cache is no loss: all is hashed again
                self._known = _remembered(read_json(path))
        self._changed = False

    def sha256(self, file: Path) -> str:
        """Return the hash of a file's bytes.

        Raises:
            OSError: the file cannot be read.
        """
        status = file.stat()
        stamp = [status.st_mtime_ns, status.st_size]
        known = self._known.get(str(file))
        if known is not None and known[:2] == stamp:
            return str(known[2])
        digest = hash_file(file)
        if time.time() - status.st_mtime > RACY_SECONDS:
            self._known[str(file)] = [*stamp, digest]
            self._changed = True
        return digest

    def save(self) -> None:
        """Write the hashes to the cache's file, if it has one and something is new."""
        if self._path is not None and self._changed:
            write_json(self._path, self._known)
            self._changed = False


def _remembered(document: object) -> dict[str, list]:
    """Return the entries of a cache's file that are a time, a size and a hash."""
    entries = document.items() if isinstance(document, dict) else ()
    return {
        file: entry
        for file, entry in entries
        if isinstance(entry, list)
        and [type(part) for part in entry] == [int, int, str]
        and _HASH.fullmatch(entry[2])
    }


def scan(folder: Path, cache: HashCache | None = None) -> FolderScan:
    """Read a motion folder.

    Unknown suffixes, hidden and temporary files are passed over. Skills come in the order of their keys.

    Args:
        folder: the folder; it need not exist.
        cache: remembers hashes; ``None`` hashes every file.
    """
    cache = cache if cache is not None else HashCache()
    return _Scan(folder.absolute(), cache).run()


def clip_name(file: Path, folder: Path) -> str:
    """Return a file's clip name: its path relative to the folder without suffix, ``/`` as ``__``."""
    return "__".join(file.relative_to(folder).with_suffix("").parts)


class _Scan:
    """One pass over a folder."""

    def __init__(self, folder: Path, cache: HashCache) -> None:
        self.folder = folder
        self.cache = cache
        self.errors: list[MotionError] = []
        self.configs: dict[Path, MotionConfig | None] = {}
        self.broken: set[Path] = set()
        self.material: set[Path] = set()

    def run(self) -> FolderScan:
        files = self._files()
        own = [clip for file, clip in files.items() if file not in self.material]
        clips = self._without_collisions([*own, *self._made(files)])
        groups = self._groups(clips)
        grouped = {clip.name for members in groups.values() for clip in members}
        for clip in clips:
            if clip.name not in grouped:
                if clip.name in groups:
                    self._fail(
                        clip.place, "skill name", f"'{clip.name}' twice", "a name no [[skills]] table has"
                    )
                    continue
                groups[clip.name] = [clip]
        skills = {}
        for key in sorted(groups):
            try:
                skills[key] = SkillSource(key, tuple(groups[key]), self._signature(groups[key]))
            except OSError as error:
                self._fail(error.filename or key, "file", error.strerror, "a readable file")
        self.cache.save()
        return FolderScan(skills, self.errors)

    def _fail(self, file: object, field: str, found: object, expected: str) -> None:
        self.errors.append(MotionError(file, field, found, expected))

    def _files(self) -> dict[Path, ClipSource]:
        """Return the clip that each motion file is; what is only material for others is noted."""
        clips = {}
        found, outside = _walk(self.folder)
        for link in outside:
            self.errors.append(_leads_out(link))
            self.broken.add(link)
            self.configs[link] = None
        for file in sorted(found):
            refused = REFUSED.get(file.suffix.lower())
            if refused is not None:
                self._fail(file, "format", refused, EXPECTED)
                continue
            name = clip_name(file, self.folder)
            if not is_key(name):
                self._fail(file, "file name", repr(name), KEY_EXPECTED)
                continue
            try:
                check_size(file, file.stat().st_size)
            except MotionError as error:
                self.errors.append(error)
                continue
            except OSError as error:
                self._fail(file, "file", error.strerror, "a readable file")
                continue
            path = find_config(file.parent)
            config = self._config(path)
            if path in self.broken:
                continue
            facts = MotionFacts()
            if config is not None:
                rule = config.rule_of(file)
                facts = rule.facts
                if rule.material:
                    self.material.add(file)
            clips[file] = ClipSource(name, file, (Piece(file, facts, Edit()),))
        return clips

    def _made(self, files: dict[Path, ClipSource]) -> list[ClipSource]:
        """Return the clips that ``[[clips]]`` tables make of files; a table in error makes none."""
        made = []
        for config in filter(None, self.configs.values()):
            for rule in config.clips:
                try:
                    made += self._made_by(config, rule, files)
                except MotionError as error:
                    self.errors.append(error)
        return made

    def _made_by(
        self, config: MotionConfig, rule: ClipRule, files: dict[Path, ClipSource]
    ) -> list[ClipSource]:
        """Return the clips of one table: one for each file that its ``from`` matches.

        Raises:
            MotionError: a piece's file is not there, or is several where it must be one.
        """
        folder, where = config.path.parent, f"clips '{rule.name}'"
        first, *following = (_matching(piece, config, files, where) for piece in rule.pieces)
        for piece, matches in zip(rule.pieces, (first, *following)):
            if len(matches) > 1 and (matches is not first or "*" not in rule.name):
                found = f"{len(matches)} files that match '{piece.match}'"
                raise MotionError(
                    config.path,
                    f"{where}.from",
                    found,
                    "one file; or, for a clip of each, a * in the name for the file's own name",
                )
        clips = []
        for source in first:
            own = rule.name.replace("*", "__".join(_relative(source.place, folder).with_suffix("").parts))
            pieces = tuple(
                dataclasses.replace(file.pieces[0], edit=piece.edit)
                for piece, file in zip(rule.pieces, (source, *(m[0] for m in following)))
            )
            key = self._group_key(config.path, own)
            if not is_key(key):
                raise MotionError(config.path, where, f"the name {key!r}", KEY_EXPECTED)
            clips.append(ClipSource(key, folder / own, pieces, rule.blend, config.path))
        return clips

    def _config(self, path: Path | None) -> MotionConfig | None:
        """Return a parsed ``motions.toml``; a broken one is reported once and its files are left out."""
        if path is None:
            return None
        if path not in self.configs:
            try:
                self.configs[path] = load_config(path)
            except MotionError as error:
                self.errors.append(error)
                self.broken.add(path)
                self.configs[path] = None
        return self.configs[path]

    def _without_collisions(self, clips: list[ClipSource]) -> list[ClipSource]:
        """Leave out, with an error, all files that share a name with another."""
        by_name: dict[str, list[ClipSource]] = {}
        for clip in clips:
            by_name.setdefault(clip.name, []).append(clip)
        for name, same in by_name.items():
            if len(same) > 1:
                origins = " and ".join(self._origin(clip) for clip in same)
                self._fail(
                    self.folder,
                    "clip name",
                    f"'{name}' from {origins}",
                    "one file or [[clips]] table a name; rename or remove one",
                )
        return [same[0] for same in by_name.values() if len(same) == 1]

    def _origin(self, clip: ClipSource) -> str:
        """Say where a clip comes from, relative to the folder where it is inside."""
        if clip.table is None:
            return str(_relative(clip.place, self.folder))
        return f"[[clips]] of {_relative(clip.table, self.folder)}"

    def _groups(self, clips: list[ClipSource]) -> dict[str, list[ClipSource]]:
        """Return the clips of each ``[[skills]]`` table by key."""
        groups: dict[str, list[ClipSource]] = {}
        taken: dict[str, str] = {}
        for config in filter(None, self.configs.values()):
            for rule in config.skills:
                key = self._group_key(config.path, rule.name)
                members = [clip for clip in clips if config.skill_takes(rule, clip.place)]
                if not is_key(key):
                    self._fail(config.path, f"skills '{rule.name}'", f"the name {key!r}", KEY_EXPECTED)
                    continue
                if not members:
                    self._fail(
                        config.path, f"skills '{rule.name}'", "no clip that matches", "patterns of clips here"
                    )
                    continue
                twice = [clip for clip in members if clip.name in taken]
                if key in groups or twice:
                    found = f"{twice[0].name} in '{taken[twice[0].name]}' too" if twice else f"'{key}' twice"
                    self._fail(
                        config.path, f"skills '{rule.name}'", found, "one skill a clip, one table a name"
                    )
                    continue
                groups[key] = members
                taken.update({clip.name: key for clip in members})
        return groups

    def _group_key(self, config: Path, name: str) -> str:
        """Put the path of the config's folder before a skill's name, where it is under the scanned folder."""
        if self.folder in config.parents:
            return "__".join((*config.parent.relative_to(self.folder).parts, name))
        return name

    def _signature(self, clips: list[ClipSource]) -> str:
        return hash_value([[self._content(clip) for clip in clips], IMPORTER_VERSION])

    def _content(self, clip: ClipSource) -> list:
        """Return what decides a clip: bytes and facts of its files, and what is done to them."""
        files = [(self.cache.sha256(p.path), p.facts, p.path.suffix.lower()) for p in clip.pieces]
        if clip.table is None:
            return [clip.name, *files[0]]
        return [clip.name, files, [piece.edit for piece in clip.pieces], clip.blend, EDITS_VERSION]


def motion_files(folder: Path) -> Iterator[Path]:
    """Yield the motion files under a folder; links inside it are followed, each folder once.

    Links that lead out of the folder are passed over: ``refuse_links_outside`` names them.
    """
    yield from _walk(folder)[0]


def refuse_links_outside(folder: Path) -> None:
    """Refuse a folder with a link to a motion file, a TOML file or a folder that lies outside of it.

    Raises:
        MotionError: names the first one.
    """
    for link in sorted(_walk(folder)[1]):
        raise _leads_out(link)


def _leads_out(link: Path) -> MotionError:
    found = f"one that leads to {os.path.realpath(link)}"
    return MotionError(link, "link", found, "the file itself, or a link to something in the same folder")


def check_size(file: Path, size: int) -> None:
    """Refuse a motion file of more bytes than any motion of its kind has, before it is read.

    Raises:
        MotionError: as said.
    """
    limit = MAX_BYTES[file.suffix.lower()]
    if size > limit:
        expected = f"at most {limit // 2**20} MiB for {file.suffix.lower()}"
        raise MotionError(file, "file size", f"{size / 2**20:.0f} MiB", expected)


def _walk(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the motion files under a folder, and the links to such, to TOML and folders that lead out."""
    seen: set[tuple[int, int]] = set()
    top = os.path.realpath(folder)
    inside: list[Path] = []
    outside: list[Path] = []
    for root, folders, files in os.walk(folder, followlinks=True):
        try:
            status = os.stat(root)
        except OSError:  # gone since it was listed
            folders.clear()
            continue
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        kept = []
        for name in sorted(name for name in folders if not _passed_over(name)):
            if _inside(Path(root, name), top):
                kept.append(name)
            else:
                outside.append(Path(root, name))
        folders[:] = kept
        for name in files:
            path = Path(root, name)
            suffix = path.suffix.lower()
            if suffix not in (*SUFFIXES, ".toml") or _passed_over(name):
                continue
            if not _inside(path, top):
                outside.append(path)
            elif suffix in SUFFIXES and _may_be_read(path):
                inside.append(path)
    return inside, outside


def _inside(path: Path, top: str) -> bool:
    """Say whether a path, its links followed, lies in a folder without links; a loop of links does."""
    return not path.is_symlink() or os.path.commonpath([os.path.realpath(path), top]) == top


def _may_be_read(path: Path) -> bool:
    """Say whether reading a path ends: a pipe or a device would not. What is not there fails on its own."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True


def _passed_over(name: str) -> bool:
    """Say whether a name is hidden, a backup or a file in the making."""
    return name.startswith((".", "~", "#")) or name.endswith(("~", ".tmp", ".part")) or ".tmp." in name


def _matching(
    piece: PieceRule, config: MotionConfig, files: dict[Path, ClipSource], where: str
) -> list[ClipSource]:
    """Return the files that a piece's pattern fits.

    Raises:
        MotionError: there is none.
    """
    found = [source for file, source in files.items() if config.fits(file, piece.match)]
    if not found:
        expected = f"a motion file in {config.path.parent}"
        raise MotionError(config.path, f"{where}.from", f"no file that matches '{piece.match}'", expected)
    return found


def _relative(path: Path, folder: Path) -> Path:
    """Return a path relative to a folder that it is in, any other as it is."""
    return path.relative_to(folder) if folder in path.parents else path
