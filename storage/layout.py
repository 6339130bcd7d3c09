"""Where the parts of a rollout artifact stand in its folder; the only place that spells a path."""

import re
from pathlib import Path

GROUP = "steps.zarr"
ARRAY = "steps"
EPISODES = "episodes.parquet"
STATISTICS = "statistics.json"
UNITS = "units"

_MARKER_NAME = re.compile(r"(\d{5,})\.json")


def group_path(folder: Path) -> Path:
    """Return the Zarr group."""
    return folder / GROUP


def array_path(folder: Path) -> Path:
    """Return the Zarr array of steps."""
    return folder / GROUP / ARRAY


def metadata_paths(folder: Path) -> tuple[Path, Path]:
    """Return the metadata files of the array and of the group."""
    return array_path(folder) / "zarr.json", group_path(folder) / "zarr.json"


def chunk_path(folder: Path, unit: int) -> Path:
    """Return a unit's chunk file (Zarr's default key encoding)."""
    return folder / GROUP / ARRAY / "c" / str(unit) / "0"


def marker_path(folder: Path, unit: int) -> Path:
    """Return a unit's marker, which stands last and says that its chunk is whole."""
    return folder / UNITS / f"{unit:05d}.json"


def marked_unit(marker: Path) -> int | None:
    """Return the unit that a file of the marker folder marks, or ``None`` if it is no marker."""
    match = _MARKER_NAME.fullmatch(marker.name)
    unit = int(match.group(1)) if match else None
    return unit if unit is not None and marker.name == marker_path(Path(), unit).name else None
