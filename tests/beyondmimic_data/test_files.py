"""A folder that appears whole, or not at all."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from beyondmimic_data.errors import StoreError
from beyondmimic_data.files import NAME_BYTES, path_below, whole_folder

PROJECT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "name", ["a", "synth__walk", "a.b", "..a", "...", "a b", "ä", "-x", "x" * NAME_BYTES]
)
def test_a_name_is_a_path_below_its_root(name: str, tmp_path: Path) -> None:
    path = path_below(tmp_path, "first", name)
    assert path.parent == tmp_path / "first"
    assert path.name == name
    path.mkdir(parents=True)
    assert path.resolve().parent.parent == tmp_path.resolve()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "does not name"),
        (".", "does not name"),
        ("..", "does not name"),
        ("a/b", "holds '/'"),
        ("/etc", "holds '/'"),
        ("../..", "holds '/'"),
        ("a\\b", "holds '/'"),
        ("a\0b", "cannot be printed"),
        ("a\nb", "cannot be printed"),
        ("\ud800", "cannot be printed"),
        ("x" * (NAME_BYTES + 1), f"is {NAME_BYTES + 1} bytes long"),
        ("ä" * NAME_BYTES, f"is {2 * NAME_BYTES} bytes long"),
        (None, "is no text but NoneType"),
        (7, "is no text but int"),
    ],
)
def test_a_name_that_leads_elsewhere_is_refused_in_one_line(name: Any, why: str, tmp_path: Path) -> None:
    for names in ((name,), ("first", name), (name, "last")):
        with pytest.raises(StoreError, match=why) as refused:
            path_below(tmp_path, *names)
        line = str(refused.value)
        assert line.startswith(f"{tmp_path}: the name ")
        assert line.endswith("; rename it where it comes from")
        assert line.isprintable()
        assert len(line) < len(str(tmp_path)) + 200


def test_a_path_of_too_many_names_is_refused(tmp_path: Path) -> None:
    assert path_below(tmp_path, *["a"] * 500).parts[-500:] == ("a",) * 500
    with pytest.raises(StoreError, match="a path of 5000 names is longer than 2000 bytes"):
        path_below(tmp_path, *["a"] * 5000)


def test_the_folder_appears_when_the_block_is_done(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "out"
    with whole_folder(target) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "a.txt").write_text("a")
        assert not target.exists()
    assert (target / "sub" / "a.txt").read_text() == "a"
    assert target.stat().st_mode & 0o777 == 0o755
    assert list(target.parent.iterdir()) == [target]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    with whole_folder(target) as folder:
        (folder / "a.txt").write_text("a")
    assert [path.name for path in target.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("kind", ["a file", "a folder that is not empty"])
def test_what_is_in_use_is_refused_and_left_as_it_is(kind: str, tmp_path: Path) -> None:
    target = tmp_path / "out"
    held = target if kind == "a file" else target / "mine.txt"
    held.parent.mkdir(exist_ok=True)
    held.write_text("mine")
    entered = False
    with pytest.raises(StoreError, match=f"out: found {kind}, expected no folder"), whole_folder(target):
        entered = True
    assert not entered
    assert held.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt()])
def test_an_interrupted_block_leaves_nothing(error: BaseException, tmp_path: Path) -> None:
    def write_half() -> None:
        with whole_folder(tmp_path / "out") as folder:
            (folder / "half.txt").write_text("half")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_filled_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "out"

    def write_beside_another() -> None:
        with whole_folder(target) as folder:
            (folder / "a.txt").write_text("a")
            target.mkdir()
            (target / "other.txt").write_text("other")

    with pytest.raises(StoreError, match="not empty; nothing was written"):
        write_beside_another()
    assert [path.name for path in target.iterdir()] == ["other.txt"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_killed_process_leaves_nothing_under_the_final_name(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, time\n"
        "from beyondmimic_data.files import whole_folder\n"
        "with whole_folder(pathlib.Path(sys.argv[1])) as folder:\n"
        "    (folder / 'half.txt').write_text('half'); time.sleep(60)\n"
    )
    target = tmp_path / "out"
    process = subprocess.Popen([sys.executable, "-c", code, str(target)], cwd=PROJECT)
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(".out.*.partial/half.txt")):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not target.exists()
    assert len(list(tmp_path.iterdir())) == 1
