"""A folder that appears whole, or not at all."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from beyondmimic_data.errors import StoreError
from beyondmimic_data.files import whole_folder

PROJECT = Path(__file__).parents[2]


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
