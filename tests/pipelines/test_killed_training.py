"""A training whose Ray actor is killed goes on from its checkpoint, in another one."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from beyondmimic_data.files import read_json
from beyondmimic_data.tracking.policy_files import TRAINING
from beyondmimic_data.tracking.train import CHECKPOINT
from pipelines import processes
from storage.artifacts import ArtifactStore

PATIENCE_S = 120.0
ITERATIONS = 150
OPTIONS = f"--synth.skills stand --training.checkpoint-minutes 0.02 --training.max-iterations {ITERATIONS}"
WORDS = [sys.executable, "-m", "pipelines.cli", "train", "--preset", "test", *OPTIONS.split()]


def wait_for(what: str, find: Callable[[], Any], log: Path) -> Any:
    """Return what ``find`` returns once it is true."""
    end = time.monotonic() + PATIENCE_S
    while not (found := find()):
        assert time.monotonic() < end, f"no {what}: {log.read_text()[-3000:]}"
        time.sleep(0.05)
    return found


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_training_survives_the_kill_of_its_actor(tmp_path: Path) -> None:
    data, log = tmp_path / "data", tmp_path / "log"
    environment = os.environ | {"BEYONDMIMIC_DATA": str(data), "BEYONDMIMIC_STATE": str(tmp_path / "state")}

    def curve_after(iterations: int) -> list[dict[str, float]]:
        """Return the curve of the checkpoint once the training is so far."""

        def far_enough() -> list[dict[str, float]]:
            for path in data.glob(f"policies/*/*/{CHECKPOINT}"):
                curve = torch.load(path, weights_only=True)["curve"]
                return curve if len(curve) >= iterations else []
            return []

        return wait_for(f"checkpoint after {iterations} iterations", far_enough, log)

    with log.open("wb") as stream:
        driver = subprocess.Popen(
            WORDS, stdout=stream, stderr=stream, env=environment, start_new_session=True
        )
    curve = curve_after(10)
    (actor,) = processes.ray_workers(driver.pid, "SkillTrainer")
    os.kill(actor, signal.SIGKILL)
    assert driver.wait(PATIENCE_S) == 0, log.read_text()[-3000:]

    policy = ArtifactStore(data).latest("policies", "synth__stand")
    record = read_json(policy.path / TRAINING)
    assert record["ended"] == "reached its iterations"
    assert record["iteration"] == ITERATIONS
    assert [point["iteration"] for point in record["curve"]] == list(range(1, ITERATIONS + 1))
    assert record["curve"][: len(curve)] == curve, "what was done before the kill was done again"
