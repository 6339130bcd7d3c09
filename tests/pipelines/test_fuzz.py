"""Damaged files are accepted or refused at every door; what is neither is found and can be repeated."""

import json
import os
import random
import time
from pathlib import Path

import pytest

from beyondmimic_data.bench import fuzz as engine
from beyondmimic_data.bench.fuzz import Target, fuzz
from beyondmimic_data.bench.mutants import mutate
from beyondmimic_data.errors import BeyondMimicError
from pipelines import cli
from pipelines.fuzz_targets import TARGETS


def test_no_door_crashes_on_a_few_mutants() -> None:
    lines = fuzz(TARGETS, 25, seed=7)
    assert [line["first_crash"] for line in lines] == [None] * len(lines)
    assert all(line["refused"] + line["accepted"] == 25 for line in lines)
    assert all(line["refused"] >= 5 for line in lines), lines
    assert sum(line["accepted"] for line in lines) >= 10


@pytest.mark.parametrize("name", ["a.npz", "a.json", "a.toml", "a.csv", "a.safetensors", "a.bin"])
def test_a_seed_gives_the_same_mutants_again(name: str, tmp_path: Path) -> None:
    suffix = Path(name).suffix
    targets = {t.name: t for t in TARGETS}
    made = {".npz": "motion_npz", ".json": "workspace", ".toml": "motions_toml", ".csv": "motion_csv"}
    targets[made.get(suffix, "tracking_policy")].make(tmp_path)
    file = next(iter(sorted(tmp_path.rglob(f"*{suffix}"))), None)
    data = file.read_bytes() if file else bytes(range(256))
    first, again, other = (
        [mutate(name, data, random.Random(f"{seed}/{i}")) for i in range(40)] for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
    assert len(set(first)) > 30
    assert data not in first[:1]


def write(folder: Path) -> None:
    (folder / "a.txt").write_text("x" * 100)


def changed(folder: Path) -> str:
    text = (folder / "a.txt").read_bytes()
    return "" if text == b"x" * 100 else "changed"


def raises(folder: Path) -> None:
    if changed(folder):
        raise KeyError("inside")


def says_much(folder: Path) -> None:
    if changed(folder):
        raise BeyondMimicError("one line\nand another")


def dies(folder: Path) -> None:
    if changed(folder):
        os._exit(3)


def waits(folder: Path) -> None:
    if changed(folder):
        time.sleep(0.2)


def grows(folder: Path) -> None:
    if changed(folder):
        bytearray(os.urandom(1) * (int(engine.MEGABYTES + 100) * 2**20))


def never(folder: Path) -> None:
    raise BeyondMimicError("no")


CRASHES = {
    raises: "KeyError: 'inside' (test_fuzz.py",
    says_much: "a message of several lines",
    dies: "the process ended with 3",
    grows: " MB; ",
}


@pytest.mark.parametrize("door", CRASHES, ids=lambda door: door.__name__)
def test_what_is_neither_accepted_nor_refused_is_a_crash(door) -> None:
    (line,) = fuzz([Target("bad", write, door, ("*.txt",))], 2, seed=1)
    assert (line["accepted"], line["refused"], line["crash"]) == (0, 0, 2)
    assert line["first_crash"]["mutant"] == 0
    assert CRASHES[door] in line["first_crash"]["what"]


def test_a_door_that_takes_too_long_is_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    target = Target("slow", write, waits, ("*.txt",))
    assert engine._read(target, tmp_path).verdict == "accepted"
    (tmp_path / "a.txt").write_text("y")
    monkeypatch.setattr(engine, "SECONDS", 0.1)
    outcome = engine._read(target, tmp_path)
    assert outcome.verdict == "crash"
    assert outcome.text.startswith("0.2 s")


def test_valid_files_that_are_refused_are_an_error() -> None:
    with pytest.raises(BeyondMimicError, match="its valid files are refused: no"):
        fuzz([Target("bad", write, never, ("*.txt",))], 2, seed=1)


def test_the_verb_prints_counts_and_how_to_repeat_a_crash(capfd, monkeypatch, tmp_path: Path) -> None:
    bad = Target("bad", write, raises, ("*.txt",))
    monkeypatch.setattr("pipelines.fuzz_targets.TARGETS", (bad,))
    words = ["fuzz", "--mutants", "3", "--seed", "5", "--json", "--keep", str(tmp_path / "kept")]
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 1
    document = json.loads(capfd.readouterr().out)
    assert document["targets"][0]["crash"] == 3
    again = "beyondmimic fuzz --targets bad --seed 5 --first 0 --mutants 1 --keep FOLDER"
    assert document["targets"][0]["first_crash"]["reproduce"] == again
    assert (tmp_path / "kept" / "bad" / "a.txt").read_bytes() != b"x" * 100
    with pytest.raises(SystemExit) as ended:
        cli.main(["fuzz", "--targets", "nothing"])
    assert ended.value.code == 1
    assert "of bad" in capfd.readouterr().err
