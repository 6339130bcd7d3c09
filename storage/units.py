"""Markers of units: a unit of work is one chunk; its marker, written last, says that the chunk is whole."""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from beyondmimic_data.errors import StoreError
from beyondmimic_data.files import read_json, write_bytes
from beyondmimic_data.hashing import canonical_json
from storage import layout
from storage.episode_index import REQUIRED
from storage.moments import Moments


@dataclasses.dataclass(frozen=True)
class UnitMarker:
    """What one unit holds."""

    unit: int
    """Number of the unit and of its chunk."""
    rows: int
    """Rows kept, from the chunk's first; the others are NaN."""
    sha256: str
    """Of the chunk file."""
    episodes: tuple[dict[str, Any], ...]
    """Rows of the episode index, in the order of the rows they stand for."""
    moments: Moments
    """Of the kept rows."""
    figures: dict[str, int]
    """What its collector counted, such as rejected episodes."""

    def write(self, folder: Path) -> None:
        """Write the marker into a rollout folder, atomically; equal units give equal bytes."""
        value = {
            "unit": self.unit,
            "rows": self.rows,
            "sha256": self.sha256,
            "episodes": self.episodes,
            "moments": self.moments.to_json(),
            "figures": self.figures,
        }
        write_bytes(layout.marker_path(folder, self.unit), (canonical_json(value) + "\n").encode())

    @classmethod
    def read(cls, path: Path) -> "UnitMarker":
        """Read a marker file.

        Raises:
            FileNotFoundError: there is none.
            StoreError: it is damaged.
        """
        try:
            value = read_json(path)
            marker = cls(
                value["unit"],
                value["rows"],
                value["sha256"],
                tuple(value["episodes"]),
                Moments.from_json(value["moments"]),
                dict(value["figures"]),
            )
            numbers = (marker.unit, marker.rows, *marker.figures.values())
            if not all(type(number) is int for number in numbers) or not isinstance(marker.sha256, str):
                raise TypeError("fields of other types")
            if not all(isinstance(episode, dict) for episode in marker.episodes):
                raise TypeError("episodes that are no rows of an index")
            return marker
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise StoreError(
                f"{path}: not a unit marker ({error!r}); remove it to collect the unit again"
            ) from error


def hash_chunk(pieces: Iterable[np.ndarray]) -> str:
    """Return the SHA-256 of the chunk file that these contiguous arrays are, one after the other."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece.data)
    return digest.hexdigest()


def check_episodes(unit: int, first_row: int, rows: int, episodes: Sequence[Mapping[str, Any]]) -> None:
    """Check that a unit's index rows stand for its kept rows: in order, without gap or overlap.

    Raises:
        StoreError: a required value is missing, or the episodes do not cover exactly the kept rows.
    """
    expected = first_row
    for number, episode in enumerate(episodes):
        missing = sorted(name for name in REQUIRED if episode.get(name) is None)
        if missing:
            raise StoreError(f"unit {unit}, episode {number}: {', '.join(missing)} missing")
        for name, value in (("unit", unit), ("start_row", expected)):
            if episode[name] != value:
                raise StoreError(
                    f"unit {unit}, episode {number} ({episode['episode_id']}): {name}: "
                    f"found {episode[name]}, expected {value}"
                )
        if episode["length"] < 1:
            raise StoreError(
                f"unit {unit}, episode {number} ({episode['episode_id']}): length: "
                f"found {episode['length']}, expected at least 1"
            )
        expected += episode["length"]
    if expected - first_row != rows:
        raise StoreError(
            f"unit {unit}: its episodes cover {expected - first_row} rows, {rows} were handed over"
        )
