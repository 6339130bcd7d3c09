"""TensorBoard curves of a training."""

import math
from collections.abc import Mapping
from pathlib import Path


class TrainingLog:
    """Writes scalars over environment steps; without a folder, nothing."""

    def __init__(self, folder: Path | None) -> None:
        """Open the folder's event file; one training may write several, one for each time it is resumed."""
        if folder is None:
            self._writer = None
            return
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder))

    def add(self, group: str, figures: Mapping[str, object], steps: int) -> None:
        """Write the figures that are numbers, under ``group/name``."""
        if self._writer is None:
            return
        for name, value in figures.items():
            if isinstance(value, (int, float)) and math.isfinite(value):
                self._writer.add_scalar(f"{group}/{name}", value, steps)

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()
