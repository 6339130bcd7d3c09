from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage import split_parquet
from storage.split_parquet import SplitParquet

SCHEMA = pa.schema([("value", pa.list_(pa.float32(), 50)), ("number", pa.int64())])


def table_of(number: int, rows: int = 200) -> pa.Table:
    values = np.random.default_rng(number).normal(size=rows * 50).astype(np.float32)
    columns = [pa.FixedSizeListArray.from_arrays(pa.array(values), 50), pa.array(np.full(rows, number))]
    return pa.table(columns, schema=SCHEMA)


def write(folder: Path, tables: list[pa.Table], max_bytes: int) -> list[tuple[int, int]]:
    places = []
    with SplitParquet(folder, SCHEMA, max_bytes) as files:
        for table in tables:
            places.append(files.place(table.nbytes))
            files.write(table)
    return places


def test_no_file_is_larger_than_asked_for_and_each_table_is_where_it_was_said(tmp_path: Path) -> None:
    tables = [table_of(number) for number in range(25)]
    places = write(tmp_path, tables, 200_000)
    assert places[0] == (0, 0)
    assert len(set(places)) > 5
    files = sorted(tmp_path.rglob("*.parquet"))
    assert len(files) == len(set(places))
    assert all(100_000 < path.stat().st_size <= 200_000 for path in files[:-1])
    for number, (chunk, file) in enumerate(places):
        path = tmp_path / f"chunk-{chunk:03d}" / f"file-{file:03d}.parquet"
        held = pq.read_table(path)
        part = held.filter(pa.array(np.array(held["number"]) == number))
        assert part.combine_chunks() == tables[number].combine_chunks()
    first = pq.ParquetFile(files[0])
    assert first.num_row_groups == places.count((0, 0))


def test_a_table_larger_than_a_file_has_one_to_itself(tmp_path: Path) -> None:
    assert write(tmp_path, [table_of(0), table_of(1, 2000), table_of(2)], 100_000) == [(0, 0), (0, 1), (0, 2)]


def test_a_full_folder_is_followed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split_parquet, "FILES_PER_FOLDER", 2)
    places = write(tmp_path, [table_of(number) for number in range(5)], 1)
    assert places == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]
    assert len(list(tmp_path.glob("chunk-00[012]/file-00[01].parquet"))) == 5
