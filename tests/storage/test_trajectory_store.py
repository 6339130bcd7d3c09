import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from stored_rollouts import CHUNK_STEPS, SCHEMA, UNITS, rows_of, tree_bytes, unit_of, write_rollouts

from beyondmimic_data.errors import StoreError
from storage import layout
from storage.schema import Column, StepSchema
from storage.trajectory_reader import TrajectoryReader
from storage.trajectory_writer import TrajectoryWriter

WINDOW = 21


def expected_windows(units: tuple[tuple[int, ...], ...] = UNITS) -> list[tuple[int, int]]:
    """Return (episode, step) of every window, worked out with plain loops."""
    return [
        (10 * unit + number, step)
        for unit, lengths in enumerate(units)
        for number, length in enumerate(lengths)
        for step in range(length - WINDOW + 1)
    ]


def assert_windows_are_right(reader: TrajectoryReader, units: tuple[tuple[int, ...], ...] = UNITS) -> None:
    starts = reader.window_starts(WINDOW)
    windows = reader.gather(starts, WINDOW)
    assert windows.shape == (len(starts), WINDOW, 8)
    assert windows.dtype == torch.float32
    wanted = expected_windows(units)
    assert len(wanted) == len(starts) > 100
    for window, (episode, step) in zip(windows.numpy(), wanted, strict=True):
        np.testing.assert_array_equal(window, rows_of(episode, step + WINDOW)[step:])


def test_round_trip_of_mapped_float32(tmp_path: Path) -> None:
    write_rollouts(tmp_path)
    reader = TrajectoryReader(tmp_path)
    assert reader.mapped
    assert_windows_are_right(reader)
    assert reader.episodes["length"].to_pylist() == [60, 30, 21, 128, 20, 40, 50]


def test_float16_is_mapped_and_comes_out_as_float32(tmp_path: Path) -> None:
    units = ((60, 100), (128, 90, 30))
    write_rollouts(tmp_path, units=units, chunk_steps=256, dtype="float16")
    reader = TrajectoryReader(tmp_path)
    assert reader.mapped
    assert reader.rows.dtype == np.float16
    assert_windows_are_right(reader, units)
    starts = reader.window_starts(WINDOW)[:50]
    out = torch.empty(50, WINDOW, 8)
    assert reader.gather(starts, WINDOW, out) is out
    torch.testing.assert_close(out, reader.gather(starts, WINDOW), rtol=0, atol=0)


def test_chunks_that_are_no_whole_pages_are_read_into_memory(tmp_path: Path) -> None:
    units = ((60, 30), (99,))
    write_rollouts(tmp_path, units=units, chunk_steps=100)
    reader = TrajectoryReader(tmp_path)
    assert not reader.mapped
    assert_windows_are_right(reader, units)


def test_a_compressed_store_of_another_program_reads_the_same(tmp_path: Path) -> None:
    write_rollouts(tmp_path)
    plain = zarr.open_group(str(layout.group_path(tmp_path)), mode="r")
    rows, attrs = plain["steps"][:], plain.attrs.asdict()
    group = zarr.create_group(str(layout.group_path(tmp_path)), attributes=attrs, overwrite=True)
    array = group.create_array("steps", shape=rows.shape, chunks=(70, 8), dtype="float32")  # zstd by default
    array[:] = rows
    reader = TrajectoryReader(tmp_path)
    assert not reader.mapped
    assert reader.rows.shape == rows.shape == (4 * CHUNK_STEPS, 8)
    first = reader.window_starts(WINDOW)[:150]
    np.testing.assert_array_equal(reader.gather(first, WINDOW)[:, 0], rows[first])


def test_an_array_that_ends_inside_its_last_chunk(tmp_path: Path) -> None:
    write_rollouts(tmp_path)
    metadata = layout.array_path(tmp_path) / "zarr.json"
    value = json.loads(metadata.read_text())
    value["shape"][0] = 4 * CHUNK_STEPS - 18
    metadata.write_text(json.dumps(value))
    reader = TrajectoryReader(tmp_path)
    assert reader.mapped
    assert reader.rows.shape == (4 * CHUNK_STEPS - 18, 8)
    assert_windows_are_right(reader)


def test_the_order_of_units_leaves_no_trace(tmp_path: Path) -> None:
    write_rollouts(tmp_path / "a")
    write_rollouts(tmp_path / "b", order=(3, 0, 2, 1))
    assert tree_bytes(tmp_path / "a") == tree_bytes(tmp_path / "b")


def test_a_chunk_file_has_the_bytes_that_zarr_would_write(tmp_path: Path) -> None:
    write_rollouts(tmp_path)
    array = zarr.create_array(
        str(tmp_path / "by_zarr"), shape=(4 * CHUNK_STEPS, 8), chunks=(CHUNK_STEPS, 8), dtype="float32",
        compressors=None, fill_value=np.nan, config={"write_empty_chunks": True},
    )  # fmt: skip
    for unit, lengths in enumerate(UNITS):
        rows, _ = unit_of(unit, lengths, CHUNK_STEPS)
        block = np.full((CHUNK_STEPS, 8), np.nan, np.float32)
        block[: len(rows)] = rows
        array[unit * CHUNK_STEPS : (unit + 1) * CHUNK_STEPS] = block
        by_zarr = (tmp_path / "by_zarr" / "c" / str(unit) / "0").read_bytes()
        assert layout.chunk_path(tmp_path, unit).read_bytes() == by_zarr == block.astype("<f4").tobytes()


def test_padding_is_nan_and_a_chunk_of_zeros_is_on_disk(tmp_path: Path) -> None:
    writer = TrajectoryWriter.create(tmp_path, SCHEMA, units=2, chunk_steps=CHUNK_STEPS)
    _, episodes = unit_of(0, (100,), CHUNK_STEPS)
    writer.write_unit(0, [np.zeros((100, 8), np.float32)], episodes)
    _, episodes = unit_of(1, (CHUNK_STEPS,), CHUNK_STEPS)
    writer.write_unit(1, [np.zeros((CHUNK_STEPS, 8), np.float32)], episodes)
    writer.finish()
    reader = TrajectoryReader(tmp_path)
    assert np.isnan(reader.rows[100:CHUNK_STEPS]).all()
    assert layout.chunk_path(tmp_path, 1).read_bytes() == bytes(CHUNK_STEPS * 8 * 4)
    assert (reader.rows[CHUNK_STEPS:] == 0).all()


def test_a_foreign_reader_needs_zarr_and_pyarrow_only(tmp_path: Path) -> None:
    write_rollouts(tmp_path / "store")
    script = """
import json, sys
import pyarrow.parquet, zarr
group = zarr.open(sys.argv[1] + "/steps.zarr", mode="r")
column = {c["name"]: c for c in group.attrs["columns"]}["joint_pos"]
row = pyarrow.parquet.read_table(sys.argv[1] + "/episodes.parquet").to_pylist()[4]
steps = group["steps"][row["start_row"] : row["start_row"] + row["length"], column["start"] : column["stop"]]
assert "storage" not in sys.modules and "beyondmimic_data" not in sys.modules
print(json.dumps([row["episode_id"], group.attrs["control_hz"], column, steps.tolist()]))
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", script, str(tmp_path / "store")],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    episode, hertz, column, steps = json.loads(done.stdout)
    assert (episode, hertz, column["unit"], column["names"]) == ("walk-0030", 50.0, "rad", ["left", "right"])
    np.testing.assert_array_equal(steps, rows_of(30, 20)[:, 2:])


def test_statistics_are_those_of_the_kept_rows(tmp_path: Path) -> None:
    write_rollouts(tmp_path)
    kept = np.concatenate([unit_of(u, lengths, CHUNK_STEPS)[0] for u, lengths in enumerate(UNITS)]).astype(
        float
    )
    moments = TrajectoryReader(tmp_path).moments()
    assert moments.count == len(kept) == 349
    np.testing.assert_allclose(moments.mean, kept.mean(0), rtol=1e-12)
    np.testing.assert_allclose(moments.std, kept.std(0), rtol=1e-12)
    np.testing.assert_array_equal([moments.min, moments.max], [kept.min(0), kept.max(0)])


def test_rows_cannot_be_written_through_a_reader(tmp_path: Path) -> None:
    write_rollouts(tmp_path)
    with pytest.raises(ValueError, match="read-only"):
        TrajectoryReader(tmp_path).rows[0, 0] = 1.0


def test_a_window_outside_of_the_rows_is_an_error(tmp_path: Path) -> None:
    write_rollouts(tmp_path)
    reader = TrajectoryReader(tmp_path)
    last = len(reader.rows) - WINDOW
    reader.gather(np.array([last]), WINDOW)
    for start in (last + 1, -1):
        with pytest.raises(IndexError):
            reader.gather(np.array([start]), WINDOW)


def test_rows_outlive_the_reader(tmp_path: Path) -> None:
    write_rollouts(tmp_path)
    rows = TrajectoryReader(tmp_path).rows
    for chunk in range(4):
        layout.chunk_path(tmp_path, chunk).unlink()
    np.testing.assert_array_equal(rows[:60], rows_of(0, 60))


def test_a_large_unit_merges_its_statistics_in_pieces(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(1e3, 1e-1, (4096, 8)).astype(np.float32)
    schema = StepSchema((Column("features", (8,)),), 50.0)
    writer = TrajectoryWriter.create(tmp_path, schema, units=1, chunk_steps=4096)
    marker = writer.write_unit(0, [rows], unit_of(0, (4096,), 4096)[1])
    np.testing.assert_allclose(marker.moments.std, rows.astype(float).std(0), rtol=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"units": 5}, "units: found 4, expected 5"),
        ({"chunk_steps": 64, "units": 8}, "units: found 4, expected 8|chunk_steps"),
        ({"dtype": "float16"}, "dtype: found float32, expected float16"),
        ({"schema": dataclasses.replace(SCHEMA, control_hz=25.0)}, "schema: found"),
        ({"dtype": "float64"}, "dtype: found 'float64'"),
    ],
)
def test_a_folder_of_other_steps_is_not_gone_on_with(tmp_path: Path, change: dict, message: str) -> None:
    asked = {"schema": SCHEMA, "units": 4, "chunk_steps": CHUNK_STEPS, "dtype": "float32"}
    TrajectoryWriter.create(tmp_path, **asked)
    TrajectoryWriter.create(tmp_path, **asked)
    with pytest.raises(StoreError, match=message):
        TrajectoryWriter.create(tmp_path, **(asked | change))


def bad_units() -> dict[str, tuple[np.ndarray, list, str]]:
    rows, episodes = unit_of(1, (40, 30), CHUNK_STEPS)
    hole = rows.copy()
    hole[41, 3] = np.nan

    def changed(number: int, **values: object) -> list:
        return [e | values if n == number else e for n, e in enumerate(episodes)]

    return {
        "nan": (hole, episodes, "row 41, column 'joint_pos': found nan"),
        "columns": (
            rows[:, :7],
            episodes,
            r"found shape \(70, 7\) after 0 rows, expected at most 128 rows of 8",
        ),
        "too many": (np.zeros((129, 8)), episodes, "expected at most 128"),
        "gap": (rows, changed(1, start_row=169), "episode 1 .*start_row: found 169, expected 168"),
        "local row": (rows, changed(0, start_row=0), "start_row: found 0, expected 128"),
        "short": (rows, changed(1, length=29), "cover 69 rows, 70 were handed over"),
        "no length": (rows, changed(1, length=0), "length: found 0"),
        "other unit": (rows, changed(0, unit=2), "unit: found 2, expected 1"),
        "no id": (rows, changed(0, episode_id=None), "episode 0: episode_id missing"),
    }


@pytest.mark.parametrize("name", bad_units())
def test_a_unit_that_is_refused_leaves_nothing(tmp_path: Path, name: str) -> None:
    rows, episodes, message = bad_units()[name]
    writer = TrajectoryWriter.create(tmp_path, SCHEMA, units=2, chunk_steps=CHUNK_STEPS)
    before = tree_bytes(tmp_path)
    with pytest.raises(StoreError, match=message):
        writer.write_unit(1, [rows], episodes)
    assert tree_bytes(tmp_path) == before


def test_what_float16_cannot_hold_is_refused(tmp_path: Path) -> None:
    writer = TrajectoryWriter.create(tmp_path, SCHEMA, units=1, chunk_steps=CHUNK_STEPS, dtype="float16")
    rows, episodes = unit_of(0, (40,), CHUNK_STEPS)
    rows[3, 1] = 1e5
    with pytest.raises(StoreError, match=r"row 3, column 'step': found 100000\.0, expected a finite float16"):
        writer.write_unit(0, [rows], episodes)


def test_an_id_in_two_units_is_found(tmp_path: Path) -> None:
    writer = TrajectoryWriter.create(tmp_path, SCHEMA, units=2, chunk_steps=CHUNK_STEPS)
    for unit in range(2):
        rows, episodes = unit_of(unit, (40,), CHUNK_STEPS)
        writer.write_unit(unit, [rows], [episodes[0] | {"episode_id": "same"}])
    with pytest.raises(StoreError, match="'same' comes more than once"):
        writer.finish()
