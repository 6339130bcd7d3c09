"""``beyondmimic motions check``: import files or folders, report on each clip, write nothing."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from beyondmimic_data.config import Preset
from beyondmimic_data.errors import MotionError
from beyondmimic_data.motions.folder import clip_name, motion_files
from beyondmimic_data.motions.importer import import_motion
from beyondmimic_data.motions.motion_config import MotionFacts, facts_of
from beyondmimic_data.motions.quality import QualityReport, check_clip

logger = logging.getLogger(__name__)


def check_paths(
    paths: Sequence[Path], preset: Preset, fps: float | None = None, quat: str | None = None
) -> list[dict[str, Any]]:
    """Import every motion file and check its quality.

    Args:
        paths: files, or folders that are searched for motion files.
        preset: gives the control rate and the limits of quality.
        fps: rate of CSV files; goes before what a ``motions.toml`` says.
        quat: order of a CSV file's root quaternion, ``wxyz`` or ``xyzw``; likewise.

    Returns:
        One report a clip with the keys ``clip``, ``accepted``, ``reason``, ``repairs`` and ``metrics``.

    Raises:
        MotionError: a folder holds no motion file, or there is no path at all.
    """
    given = MotionFacts(fps=fps, quat=quat)
    reports = []
    for name, file in _files([Path(p) for p in paths]):
        report = _check(name, file, given, preset)
        logger.info("%s: %s", name, "accepted" if report.accepted else report.reason)
        reports.append(report.to_dict())
    return reports


def _files(paths: Sequence[Path]) -> list[tuple[str, Path]]:
    """Return clip names and files of paths; a file's clip is named after it, a folder's relative to it."""
    if not paths:
        raise MotionError("motions check", "PATH", "none", "at least one file or folder")
    found: list[tuple[str, Path]] = []
    for path in paths:
        if not path.is_dir():
            found.append((path.stem, path))
            continue
        inside = sorted(motion_files(path))
        if not inside:
            raise MotionError(path, "folder", "no motion file", "files that end in .bvh, .csv or .npz")
        found += [(clip_name(file, path), file) for file in inside]
    return found


def _check(name: str, file: Path, given: MotionFacts, preset: Preset) -> QualityReport:
    """Import and check one file; a refusal is a report too."""
    try:
        clip = import_motion(file, name=name, facts=given.over(facts_of(file)), preset=preset)
    except MotionError as error:
        return QualityReport(name, False, str(error), (), {})
    return check_clip(clip, preset.quality)
