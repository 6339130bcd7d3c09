"""No test leaves anything in the repository, whether it passes or fails."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
DATA = ("beyondmimic_data/diffusion/shipped_policy", "beyondmimic_data/tracking/shipped_policies")
"""Folders of which no file may change; code and docs change while a person works on them."""
LEFT = ("*.json", "*.npz", "*.png", "*.safetensors", "*.onnx", "*.zarr", "*.mp4", "*.csv", "*.bvh")
"""Files that a test could leave where it runs."""


def state_of_the_repository() -> dict[str, tuple[int, int] | None]:
    """Return files that git does not track, and time and size of MuJoCo's log and of what ships."""
    command = ["git", "ls-files", "--others", "--exclude-standard", *LEFT]
    listed = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False).stdout
    found: dict[str, tuple[int, int] | None] = dict.fromkeys(listed.splitlines())
    files = [*PROJECT.glob("MUJOCO_LOG.TXT"), *(p for folder in DATA for p in (PROJECT / folder).rglob("*"))]
    for path in filter(Path.is_file, files):
        status = path.stat()
        found[str(path.relative_to(PROJECT))] = (status.st_mtime_ns, status.st_size)
    return found


@pytest.fixture(scope="session", autouse=True)
def _repository_stays_as_it_is() -> Iterator[None]:
    before = state_of_the_repository()
    yield
    after = state_of_the_repository()
    changed = [name for name in before.keys() | after.keys() if before.get(name, 0) != after.get(name, 0)]
    assert not changed, f"tests changed {', '.join(sorted(changed))}: they have tmp_path to write to"


@pytest.fixture(autouse=True)
def _threads_stay_as_they_are() -> Iterator[None]:
    """Give torch its threads back: what runs one robot takes them down to one for the whole process."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else None
    yield
    if torch and before:
        torch.set_num_threads(before)
