"""MuJoCo warns in the log and leaves no file."""

import subprocess
import sys
from pathlib import Path

CODE = """
import logging
logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
import numpy as np, torch
from beyondmimic_data.config import ControlConfig
from beyondmimic_data.sim.mujoco_backend import MujocoBackend
backend = MujocoBackend(4, ControlConfig(), num_threads=2)
backend._qpos[:] = np.nan
backend.batch.step()
"""


def test_an_unstable_simulation_warns_once_and_leaves_no_file(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CODE]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("WARNING MuJoCo: ")]
    assert len(lines) == 1
    assert "huge value" in lines[0]
    assert list(tmp_path.iterdir()) == []
