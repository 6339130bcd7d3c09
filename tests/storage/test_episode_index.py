from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest

from beyondmimic_data.errors import StoreError
from storage.episode_index import episode_table, join_tables, plain_row, read_episodes, write_episodes


def row(number: int, **more: Any) -> dict[str, Any]:
    return {
        "episode_id": f"e{number}",
        "skill": "walk",
        "clip": "a",
        "unit": 0,
        "start_row": 10 * number,
        "length": 10,
        "termination": "clip_end",
        **more,
    }


def test_round_trip_and_filter(tmp_path: Path) -> None:
    rows = [row(n, friction=0.5 + n / 10, joint_offset=[0.0, n / 2], note=f"n{n}") for n in range(20)]
    write_episodes(tmp_path / "i.parquet", episode_table(rows))
    assert read_episodes(tmp_path / "i.parquet").to_pylist() == rows
    found = read_episodes(tmp_path / "i.parquet", pc.field("friction") > 2.15, ["episode_id", "friction"])
    assert found.to_pydict() == {"episode_id": ["e17", "e18", "e19"], "friction": [2.2, 2.3, 2.4]}


def test_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_episodes(tmp_path / name, episode_table([row(n, z=1.5, a=n) for n in range(100)]))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_columns_stand_in_one_order_whatever_the_rows_say() -> None:
    table = episode_table([row(0, zebra=1, friction=1.0, apple=2), row(1, apple=3)])
    assert table.column_names[:7] == list(row(0))
    assert table.column_names[7:] == ["friction", "apple", "zebra"]
    assert table["zebra"].to_pylist() == [1, None]


def test_arrays_become_lists_and_numbers_that_are_not_finite_become_null() -> None:
    plain = plain_row(
        {"a": np.float32(0.5), "b": np.arange(2), "c": float("nan"), "d": [np.inf, 1.0], "e": "x"}
    )
    assert plain == {"a": 0.5, "b": [0, 1], "c": None, "d": [None, 1.0], "e": "x"}


def test_an_index_without_episodes_has_its_columns(tmp_path: Path) -> None:
    write_episodes(tmp_path / "i.parquet", episode_table([]))
    table = read_episodes(tmp_path / "i.parquet")
    assert table.num_rows == 0
    assert set(row(0)) <= set(table.column_names)


def test_tables_with_other_columns_are_joined() -> None:
    joined = join_tables([episode_table([row(0, only_here=1.0)]), episode_table([row(1, only_there="x")])])
    assert joined["only_here"].to_pylist() == [1.0, None]
    assert joined["only_there"].to_pylist() == [None, "x"]


def test_bad_rows_are_refused_with_the_column() -> None:
    with pytest.raises(StoreError, match="'e1' comes more than once"):
        episode_table([row(1), row(1)])
    with pytest.raises(StoreError, match="row 1: 'clip' is missing"):
        episode_table([row(0), row(1, clip=None)])
    with pytest.raises(StoreError, match="column 'friction'"):
        episode_table([row(0, friction="slippery")])


def test_a_damaged_or_missing_index(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"PAR1 no")
    for name in ("bad", "none"):
        with pytest.raises(StoreError, match=f"{name}: not a readable episode index"):
            read_episodes(tmp_path / name)


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    write_episodes(tmp_path / "i.parquet", episode_table([row(0)]))
    for query in ({"columns": ["episode_id", "torque"]}, {"where": pc.field("torque") > 1}):
        with pytest.raises(StoreError, match=r"i\.parquet: not a readable episode index .*torque"):
            read_episodes(tmp_path / "i.parquet", **query)
