"""Collection without Ray: order of units, rows in their slots, and an end in time."""

import concurrent.futures
import time

import numpy as np
import pytest

from beyondmimic_data.config import get_preset
from beyondmimic_data.errors import BeyondMimicError, GateError
from beyondmimic_data.rollouts import pool
from beyondmimic_data.rollouts.collect import ROW_WIDTH, Unit
from beyondmimic_data.rollouts.pool import RowFile, interleave
from beyondmimic_data.rollouts.workers import CollectionJob

JOBS = {
    skill: CollectionJob(skill, (), "policy", 40.0, get_preset("test"))  # type: ignore[arg-type]
    for skill in ("stand", "walk")
}


def test_every_beginning_of_the_order_has_the_skills_in_their_shares() -> None:
    counts = {"stand": 5, "walk": 10, "locomotion": 30}
    order = interleave(counts)
    assert sorted(order) == sorted((s, u) for s, n in counts.items() for u in range(n))
    for length in (9, 18, 27, 36):
        taken = [skill for skill, _ in order[:length]]
        for skill, n in counts.items():
            assert abs(taken.count(skill) - length * n / 45) <= 1
    assert [unit for skill, unit in order if skill == "walk"] == list(range(10))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_units_stand_in_their_own_slots(tmp_path, dtype) -> None:
    file = RowFile(tmp_path / "rows.npy", units=3, unit_rows=10, dtype=dtype)
    file.create()
    pieces = [np.full((4, ROW_WIDTH), 1.0, np.float32), np.full((3, ROW_WIDTH), 2.0, np.float32)]
    file.write(1, Unit(pieces, [], 7, 0))
    rows = file.rows()
    assert rows.shape == (30, ROW_WIDTH)
    assert rows.dtype == dtype
    assert rows[:, 0].tolist() == [0.0] * 10 + [1.0] * 4 + [2.0] * 3 + [0.0] * 13
    assert (rows == rows[:, :1]).all()


def collect(monkeypatch, tmp_path, one_unit, until: float) -> pool.Collected:
    monkeypatch.setattr(pool, "_collect", one_unit)
    units = interleave({"stand": 3, "walk": 3})
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        return pool.collect(
            threads,
            2,
            JOBS,
            units,
            RowFile(tmp_path / "x", 6, 10, "float32"),
            until=until,
            progress=lambda _: None,
        )


def test_all_units_are_collected_and_counted(monkeypatch, tmp_path) -> None:
    def one_unit(job, unit, file, slot):
        return [{"episode_id": f"{job.skill}-{unit}", "start_row": slot * 10, "length": 8}], 9, 1

    done = collect(monkeypatch, tmp_path, one_unit, time.monotonic() + 60)
    assert (done.units, done.planned_units, done.simulated_steps, done.rejected) == (6, 6, 54, 6)
    assert done.kept_steps == 48
    assert {e["episode_id"] for e in done.episodes["walk"]} == {f"walk-{unit}" for unit in range(3)}
    slots = {e["start_row"] for listed in done.episodes.values() for e in listed}
    assert slots == {0, 10, 20, 30, 40, 50}


def test_no_unit_begins_after_its_time_and_those_that_run_are_kept(monkeypatch, tmp_path) -> None:
    def one_unit(job, unit, file, slot):
        time.sleep(0.2)
        return [{"length": 8}], 8, 0

    done = collect(monkeypatch, tmp_path, one_unit, time.monotonic() + 0.1)
    assert (done.units, done.planned_units, done.kept_steps) == (2, 6, 16)


def test_no_time_at_all_is_one_clear_error(monkeypatch, tmp_path) -> None:
    with pytest.raises(BeyondMimicError, match="no time to collect"):
        collect(monkeypatch, tmp_path, None, time.monotonic() - 1)


def test_a_skill_that_keeps_nothing_is_named(monkeypatch, tmp_path) -> None:
    def one_unit(job, unit, file, slot):
        return ([] if job.skill == "walk" else [{"length": 8}]), 8, 4

    with pytest.raises(GateError, match="walk: nothing could be kept"):
        collect(monkeypatch, tmp_path, one_unit, time.monotonic() + 60)


def test_a_process_that_dies_is_one_clear_error(monkeypatch, tmp_path) -> None:
    def one_unit(job, unit, file, slot):
        raise concurrent.futures.process.BrokenProcessPool

    with pytest.raises(BeyondMimicError, match="a collecting process died"):
        collect(monkeypatch, tmp_path, one_unit, time.monotonic() + 60)
