"""``beyondmimic motions check``: import files or folders, report on each clip, write nothing."""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from beyondmimic_data.config import Preset
from beyondmimic_data.errors import MotionError
from beyondmimic_data.motions.folder import ClipSource, Piece, motion_files, scan
from beyondmimic_data.motions.formats import KEY_EXPECTED, is_key
from beyondmimic_data.motions.made_clip import make_clip
from beyondmimic_data.motions.motion_config import Edit, MotionFacts, facts_of
from beyondmimic_data.motions.quality import QualityReport, check_clip

logger = logging.getLogger(__name__)


def check_paths(
    paths: Sequence[Path], preset: Preset, fps: float | None = None, quat: str | None = None
) -> list[dict[str, Any]]:
    """Import every clip of files and folders, also those that ``[[clips]]`` tables make; check their quality.

    Args:
        paths: files, or folders that are read as a motion folder is.
        preset: gives the control rate and the limits of quality.
        fps: rate of CSV files; goes before what a ``motions.toml`` says.
        quat: order of a CSV file's root quaternion, ``wxyz`` or ``xyzw``; likewise.

    Returns:
        One report a clip with the keys ``clip``, ``accepted``, ``reason``, ``edits``, ``repairs`` and
        ``metrics``; what is wrong with a folder's files and tables is a report that is not accepted.

    Raises:
        MotionError: a folder holds no motion file, or there is no path at all.
    """
    clips, errors = clips_of(paths, fps, quat)
    reports = [_refused(Path(error.file).name, error) for error in errors]
    for clip in clips:
        reports.append(_check(clip, preset))
        logger.info("%s: %s", clip.name, reports[-1].reason or "accepted")
    return [report.to_dict() for report in reports]


def clips_of(
    paths: Sequence[Path], fps: float | None = None, quat: str | None = None
) -> tuple[list[ClipSource], list[MotionError]]:
    """Return the clips of files and folders, and what is wrong with folders.

    A file is its own clip, named after it; a folder is read as a motion folder is. ``fps`` and ``quat`` go
    before what a ``motions.toml`` says.

    Raises:
        MotionError: a folder holds no motion file, or there is no path at all.
    """
    if not paths:
        raise MotionError("motions", "PATH", "none", "at least one file or folder")
    given = MotionFacts(fps=fps, quat=quat)
    clips: list[ClipSource] = []
    errors: list[MotionError] = []
    for path in map(Path, paths):
        if not path.is_dir():
            try:
                clips.append(_own_clip(path))
            except MotionError as error:
                errors.append(error)
            continue
        found = scan(path)
        if not found.errors and next(motion_files(path), None) is None:
            raise MotionError(path, "folder", "no motion file", "files that end in .bvh, .csv or .npz")
        clips += [clip for skill in found.skills.values() for clip in skill.clips]
        errors += found.errors
    return [_given(clip, given) for clip in clips], errors


def _own_clip(file: Path) -> ClipSource:
    """Return the clip that a file is.

    Raises:
        MotionError: its name cannot be a clip's, or the ``motions.toml`` that governs it is broken.
    """
    if not is_key(file.stem):
        raise MotionError(file, "file name", repr(file.stem), KEY_EXPECTED)
    return ClipSource(file.stem, file, (Piece(file, facts_of(file), Edit()),))


def _given(clip: ClipSource, given: MotionFacts) -> ClipSource:
    """Put given facts before those of a clip's files."""
    pieces = (dataclasses.replace(piece, facts=given.over(piece.facts)) for piece in clip.pieces)
    return dataclasses.replace(clip, pieces=tuple(pieces))


def _check(source: ClipSource, preset: Preset) -> QualityReport:
    """Import and check one clip; a refusal is a report too."""
    try:
        return check_clip(make_clip(source, preset), preset.quality)
    except MotionError as error:
        return _refused(source.name, error)
    except Exception as error:
        # A defect of the project, which must not take the verdicts of all other clips with it.
        logger.exception("the check of %s failed", source.name)
        found = f"{type(error).__name__}: {error}"
        expected = "a motion that can be read; please report this file"
        return _refused(source.name, MotionError(source.place, "motion", found, expected))


def _refused(name: str, error: MotionError) -> QualityReport:
    return QualityReport(name, False, str(error), (), (), {})
