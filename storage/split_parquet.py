"""Parquet files of bounded size, numbered through folders: ``chunk-000/file-000.parquet`` and so on."""

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import pyarrow as pa

if TYPE_CHECKING:
    import pyarrow.parquet as pq

FILES_PER_FOLDER = 1000
"""Files in one ``chunk`` folder."""
PATTERN = "chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
"""Place of a file below its folder."""

ENCODED = 1.1
"""Bytes on the disk for one in memory, at most: numbers that do not compress, with the levels of lists."""
FOOTER_BYTES = 256
"""What a file's footer says of one column of one row group, at most."""


class SplitParquet:
    """Writes tables one after the other, each as one row group, and starts a new file in time."""

    def __init__(self, folder: Path, schema: pa.Schema, max_bytes: int) -> None:
        """Write below ``folder``, into files of at most ``max_bytes``, or of one table if that is larger."""
        self.folder, self.schema, self.max_bytes = folder, schema, max_bytes
        self.number = 0
        """Of the file that is written, from 0 through all folders."""
        self._groups = 0
        self._sink: pa.OSFile | None = None
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def place(self, num_bytes: int) -> tuple[int, int]:
        """Return the numbers of the folder and of the file in it that the next table goes into.

        Args:
            num_bytes: size of the table in memory.
        """
        if self._sink is not None:
            footer = (self._groups + 1) * len(self.schema) * FOOTER_BYTES
            if self._sink.tell() + num_bytes * ENCODED + footer > self.max_bytes:
                self._close()
                self.number += 1
        return divmod(self.number, FILES_PER_FOLDER)

    def write(self, table: pa.Table) -> None:
        """Write a table where ``place`` said."""
        if self._writer is None:
            import pyarrow.parquet as pq

            chunk, file = divmod(self.number, FILES_PER_FOLDER)
            path = self.folder / PATTERN.format(chunk_index=chunk, file_index=file)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._sink = pa.OSFile(str(path), "wb")
            self._writer = pq.ParquetWriter(
                self._sink, self.schema, compression="snappy", use_dictionary=False
            )
        self._writer.write_table(table, row_group_size=max(table.num_rows, 1))
        self._groups += 1

    def _close(self) -> None:
        """Finish the file that is written."""
        if self._writer is not None and self._sink is not None:
            self._writer.close()
            self._sink.close()
        self._writer = self._sink = None
        self._groups = 0
