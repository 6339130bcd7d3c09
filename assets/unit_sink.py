"""Rollout units on their way from a collector to the trajectory store."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beyondmimic_data.config import RolloutConfig
from beyondmimic_data.errors import StoreError

if TYPE_CHECKING:
    from beyondmimic_data.rollouts.collect import Unit


@dataclasses.dataclass(frozen=True)
class UnitStore:
    """Writes a collector's units into one rollout artifact; small enough to travel to every worker."""

    folder: Path
    """The artifact's folder while it is built; all workers reach it."""
    unit_bytes: int
    """Bytes of one unit on the disk."""

    @classmethod
    def create(
        cls, folder: Path, clip_names: Sequence[str], control_hz: float, config: RolloutConfig, units: int
    ) -> "UnitStore":
        """Make the store of a skill's rollouts, or go on with what an interrupted collection left.

        Args:
            folder: the artifact's folder while it is built.
            clip_names: clips in the order that the collector numbers them.
            control_hz: rows a second.
            config: gives rows a unit and their type.
            units: number of units.

        Raises:
            StoreError: the collector's columns are not the store's.
        """
        from beyondmimic_data.robots import g1, g1_facts
        from beyondmimic_data.rollouts.collect import ROW_COLUMNS
        from storage.schema import trajectory_schema
        from storage.trajectory_writer import TrajectoryWriter

        schema = trajectory_schema(
            joint_names=g1.JOINT_NAMES,
            body_names=g1.BODY_NAMES,
            foot_names=g1_facts.FOOT_BODIES,
            clip_names=clip_names,
            control_hz=control_hz,
        )
        written = tuple((column.name, column.size) for column in schema.columns)
        if written != ROW_COLUMNS:
            raise StoreError(f"columns: the collector gives {ROW_COLUMNS}, the store takes {written}")
        dtype = "float16" if config.float16 else "float32"
        writer = TrajectoryWriter.create(
            folder, schema, units=units, chunk_steps=config.chunk_steps, dtype=dtype
        )
        return cls(folder, writer.info.chunk_bytes)

    def write_unit(self, unit: int, result: "Unit") -> None:
        """Store one unit; ``start_row`` of its episodes counts from the unit's first row."""
        writer = self._writer()
        first = writer.first_row(unit)
        episodes = [{**e, "start_row": first + e["start_row"]} for e in result.episodes]
        figures = {"simulated_steps": result.simulated_steps, "rejected": result.rejected}
        writer.write_unit(unit, result.pieces, episodes, figures)

    def missing_units(self) -> list[int]:
        """Return the units still to be collected."""
        return self._writer().missing_units()

    def totals(self) -> dict[str, int]:
        """Return ``kept_steps``, ``simulated_steps``, ``episodes`` and ``rejected`` of the units so far."""
        totals = dict.fromkeys(("kept_steps", "simulated_steps", "episodes", "rejected"), 0)
        for marker in self._writer().markers():
            counts = {"kept_steps": marker.rows, "episodes": len(marker.episodes), **marker.figures}
            for name in totals:
                totals[name] += counts[name]
        return totals

    def finish(self) -> dict[str, str]:
        """Write the episode index; returns the digests of the chunk files."""
        return self._writer().finish()

    def _writer(self) -> Any:
        from storage.trajectory_writer import TrajectoryWriter

        return TrajectoryWriter.open(self.folder)
