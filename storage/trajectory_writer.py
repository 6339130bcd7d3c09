"""Writing rollouts: one Zarr group of one array, a chunk and a marker a unit, finished by the episode index.

The driver creates the group and finishes it; workers open it and write units. Any of them may be killed at
any moment: a unit exists when its marker does, and one that is written again gets the same bytes.
"""

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from beyondmimic_data.errors import StoreError
from beyondmimic_data.files import atomic_path, sweep, write_bytes
from beyondmimic_data.hashing import canonical_json, hash_file
from storage import layout
from storage.episode_index import episode_table, plain_row, write_episodes
from storage.moments import Moments
from storage.schema import StepSchema
from storage.step_array import ArrayInfo, read_array_info
from storage.units import UnitMarker, check_episodes, hash_chunk

log = logging.getLogger(__name__)

DTYPES = ("float32", "float16")


class TrajectoryWriter:
    """Writes the rollouts of one folder. Use ``create`` in the driver and ``open`` in workers."""

    def __init__(self, folder: Path, info: ArrayInfo) -> None:
        self.folder = folder
        self.info = info
        self.schema = info.schema
        self.chunk_steps = info.chunk_steps
        self.num_units = info.num_chunks
        self._dtype = info.dtype

    @classmethod
    def create(
        cls, folder: Path, schema: StepSchema, *, units: int, chunk_steps: int, dtype: str = "float32"
    ) -> "TrajectoryWriter":
        """Create the group, or go on with the one that an interrupted driver left.

        Call it once, in the process that owns the folder, before workers open it. Every byte that is there
        is read: a unit that is damaged is taken back, so that it is collected again.

        Args:
            folder: a rollout artifact's folder while it is built.
            schema: columns.
            units: number of units; each is one chunk.
            chunk_steps: rows of a unit.
            dtype: ``float32`` or ``float16``.

        Raises:
            StoreError: the folder holds steps of another schema, size or type.
        """
        if dtype not in DTYPES:
            raise StoreError(f"dtype: found {dtype!r}, expected one of {', '.join(DTYPES)}")
        if units < 1 or chunk_steps < 1:
            raise StoreError(f"units, chunk_steps: found {units}, {chunk_steps}, expected at least 1 of each")
        folder.mkdir(parents=True, exist_ok=True)
        for path in sweep(folder):
            log.warning("removed %s, left by a writer that was interrupted", path)
        if any(not path.exists() for path in layout.metadata_paths(folder)):
            _write_metadata(folder, schema, units, chunk_steps, dtype)
        (folder / layout.UNITS).mkdir(exist_ok=True)
        writer = cls.open(folder)
        found = (writer.schema, writer.num_units, writer.chunk_steps, writer._dtype.name)
        for name, has, wants in zip(
            ("schema", "units", "chunk_steps", "dtype"),
            found,
            (schema, units, chunk_steps, dtype),
            strict=True,
        ):
            if has != wants:
                raise StoreError(
                    f"{folder}: {name}: found {has}, expected {wants}; remove the folder to start anew"
                )
        writer._take_back_damaged()
        return writer

    @classmethod
    def open(cls, folder: Path) -> "TrajectoryWriter":
        """Open what ``create`` made.

        Raises:
            StoreError: there is nothing to open.
        """
        return cls(folder, read_array_info(folder))

    def first_row(self, unit: int) -> int:
        """Return the array row where a unit begins: the ``start_row`` of its first episode."""
        return unit * self.chunk_steps

    def missing_units(self) -> list[int]:
        """Return the units still to be collected; a damaged one is taken back and counts as missing."""
        return [unit for unit in range(self.num_units) if self._whole_marker(unit) is None]

    def write_unit(
        self,
        unit: int,
        pieces: Sequence[np.ndarray],
        episodes: Sequence[Mapping[str, Any]],
        figures: Mapping[str, int] | None = None,
    ) -> UnitMarker:
        """Write a unit: its chunk, padded with NaN, then its marker. A unit that exists is left as it is.

        Args:
            unit: number of the unit.
            pieces: arrays (r, num_columns) that are the R kept steps one after the other, such as one an
                episode, so that a unit is never in memory twice; R at most ``chunk_steps``, may be 0.
            episodes: index rows; their ``start_row`` and ``length`` cover the R rows in order, without gaps.
            figures: what else is to be known of the unit, such as what was rejected; sums have a meaning.

        Raises:
            StoreError: the rows are not as the schema says, or cannot be written; the unit stays missing.
        """
        if not 0 <= unit < self.num_units:
            raise StoreError(f"{self.folder}: unit: found {unit}, expected 0 to {self.num_units - 1}")
        pieces = self._stored(unit, pieces)
        rows = sum(len(piece) for piece in pieces)
        check_episodes(unit, self.first_row(unit), rows, episodes)
        padding = np.full((self.chunk_steps - rows, self.schema.num_columns), np.nan, self._dtype)
        digest = hash_chunk([*pieces, padding])
        existing = self._whole_marker(unit)
        if existing is not None:
            if existing.sha256 != digest:
                log.warning("unit %d came out different a second time; the first one is kept", unit)
            return existing
        marker = UnitMarker(
            unit=unit,
            rows=rows,
            sha256=digest,
            episodes=tuple(plain_row(episode) for episode in episodes),
            moments=Moments.merged(map(Moments.of, pieces), self.schema.num_columns),
            figures=dict(figures or {}),
        )
        try:
            with atomic_path(layout.chunk_path(self.folder, unit)) as temporary, temporary.open("wb") as file:
                for piece in (*pieces, padding):
                    file.write(piece.data)
            marker.write(self.folder)
        except OSError as error:
            raise StoreError(
                f"{self.folder}: unit {unit} cannot be written ({error.strerror or error}). "
                "Mend that and run again: the units that are there are kept"
            ) from error
        return marker

    def markers(self) -> Iterator[UnitMarker]:
        """Give the markers of the units that are there, in the units' order."""
        for unit in range(self.num_units):
            marker = self._whole_marker(unit)
            if marker is not None:
                yield marker

    def finish(self) -> dict[str, str]:
        """Write the episode index and the statistics from the markers of all units, in the units' order.

        Returns:
            SHA-256 of each chunk file by its path below the folder, for ``Build.digests``.

        Raises:
            StoreError: units are missing.
        """
        markers = list(self.markers())
        missing = sorted(set(range(self.num_units)) - {marker.unit for marker in markers})
        if missing:
            raise StoreError(
                f"{self.folder}: {len(missing)} of {self.num_units} units are missing: {missing[:20]}"
            )
        moments = Moments.merged((m.moments for m in markers), self.schema.num_columns)
        write_episodes(self.folder / layout.EPISODES, episode_table([e for m in markers for e in m.episodes]))
        write_bytes(self.folder / layout.STATISTICS, (canonical_json(moments.to_json()) + "\n").encode())
        return {
            layout.chunk_path(self.folder, m.unit).relative_to(self.folder).as_posix(): m.sha256
            for m in markers
        }

    def _take_back_damaged(self) -> None:
        """Remove the markers of units whose chunk does not have the bytes that were written."""
        for marker in list(self.markers()):
            chunk = layout.chunk_path(self.folder, marker.unit)
            if hash_file(chunk) != marker.sha256:
                log.warning("%s: not the bytes that were written; the unit will be collected again", chunk)
                layout.marker_path(self.folder, marker.unit).unlink()

    def _stored(self, unit: int, pieces: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return pieces in the chunk's type and order, without a copy of those that have them already."""
        columns, first, stored = self.schema.num_columns, 0, []
        for rows in pieces:
            if rows.ndim != 2 or rows.shape[1] != columns or first + len(rows) > self.chunk_steps:
                raise StoreError(
                    f"unit {unit}: rows: found shape {rows.shape} after {first} rows, "
                    f"expected at most {self.chunk_steps} rows of {columns} in all"
                )
            with np.errstate(over="ignore"):  # an overflow is found and named below
                piece = np.ascontiguousarray(rows, self._dtype)
            finite = np.isfinite(piece)
            if not finite.all():
                row, index = np.argwhere(~finite)[0]
                name = next(n for n, part in self.schema.slices.items() if part.start <= index < part.stop)
                raise StoreError(
                    f"unit {unit}: row {first + row}, column '{name}': found {rows[row, index]}, "
                    f"expected a finite {self._dtype.name}"
                )
            stored.append(piece)
            first += len(rows)
        return stored

    def _whole_marker(self, unit: int) -> UnitMarker | None:
        """Return a unit's marker if its chunk is there in full; take back a marker that says so wrongly."""
        path, chunk = layout.marker_path(self.folder, unit), layout.chunk_path(self.folder, unit)
        try:
            marker = UnitMarker.read(path)
        except FileNotFoundError:
            return None
        except StoreError as error:
            log.warning("%s", error)
        else:
            if chunk.is_file() and chunk.stat().st_size == self.info.chunk_bytes:
                return marker
            log.warning("%s: missing or cut short; the unit will be collected again", chunk)
        path.unlink(missing_ok=True)
        return None


def _write_metadata(folder: Path, schema: StepSchema, units: int, chunk_steps: int, dtype: str) -> None:
    """Have Zarr make the group in a temporary folder, and move what is missing of it into place."""
    import zarr

    with tempfile.TemporaryDirectory(prefix=f".{layout.GROUP}.", suffix=".tmp", dir=folder) as temporary:
        group = zarr.create_group(str(layout.group_path(Path(temporary))), attributes=schema.to_attrs())
        group.create_array(
            layout.ARRAY,
            shape=(units * chunk_steps, schema.num_columns),
            chunks=(chunk_steps, schema.num_columns),
            dtype=dtype,
            fill_value=float("nan"),
            compressors=None,
            dimension_names=("step", "column"),
            config={"write_empty_chunks": True},
        )
        for made, path in zip(
            layout.metadata_paths(Path(temporary)), layout.metadata_paths(folder), strict=True
        ):
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                made.rename(path)
