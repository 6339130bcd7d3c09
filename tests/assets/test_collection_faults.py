"""A collection whose worker and driver are killed and that is run again has the bytes of a calm one."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from beyondmimic_data.hashing import hash_file
from beyondmimic_data.motions.clip import clip_from_qpos
from beyondmimic_data.robots import g1
from beyondmimic_data.tracking.policy import TrackingPolicy, save_weights

UNITS = 6
DRIVER = f"""
import dataclasses, pathlib, sys
from assets.unit_sink import UnitStore
from beyondmimic_data.cluster import Cluster
from beyondmimic_data.config import RolloutConfig, get_preset
from beyondmimic_data.rollouts.workers import CollectionJob, collect_units

inputs, out = map(pathlib.Path, sys.argv[1:])
config = RolloutConfig(
    num_envs=8, chunk_steps=1024, drop_before_fall_seconds=0.0, min_episode_seconds=0.3
)
preset = dataclasses.replace(get_preset("test"), rollouts=config)
sink = UnitStore.create(out, ["stand"], 50.0, config, {UNITS})
job = CollectionJob("stand", (inputs / "stand.npz",), inputs, 40.0, preset)
with Cluster(num_cpus=2).session():
    collect_units(job, sink, sink.missing_units(), workers=2)
sink.finish()
"""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of standing and a policy that holds the default pose."""
    folder = tmp_path_factory.mktemp("inputs")
    qpos = np.tile(g1.default_qpos(), (201, 1))
    qpos[:, 2] = 0.785
    clip_from_qpos("stand", qpos, 50, 50).save(folder / "stand.npz")
    policy = TrackingPolicy(160, 29, (8,))
    for parameter in policy.mlp[-1].parameters():
        torch.nn.init.zeros_(parameter)
    actor = {name: value for name, value in policy.state_dict().items() if name.startswith("mlp")}
    save_weights(
        folder,
        {**actor, "obs_normalizer._mean": torch.zeros(1, 160), "obs_normalizer._std": torch.ones(1, 160)},
        {},
    )
    return folder


def start(inputs: Path, out: Path) -> subprocess.Popen[bytes]:
    out.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(inputs), str(out)], env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


def wait_for(condition: Callable[[], object], driver: subprocess.Popen[bytes], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert driver.poll() is None, "the collection ended before it could be disturbed"
        assert time.monotonic() < end, "the collection did not get so far in time"
        time.sleep(0.01)


def family(pid: int) -> list[int]:
    """Return the process ids of all descendants, nearest first."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, queue = [], [pid]
    while queue:
        young = children.get(queue.pop(0), [])
        found += young
        queue += young
    return found


def collectors(driver: subprocess.Popen[bytes]) -> list[int]:
    """Return the process ids of the driver's collecting actors."""
    found = []
    for pid in family(driver.pid):
        with contextlib.suppress(OSError):
            if b"ray::Collector" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def markers(folder: Path) -> int:
    return len(list((folder / "units").glob("*.json"))) if (folder / "units").is_dir() else 0


def content(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): hash_file(p) for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_worker_and_driver_change_no_byte(inputs, tmp_path):
    calm = start(inputs, tmp_path / "calm")
    assert calm.wait(200) == 0

    disturbed = start(inputs, tmp_path / "disturbed")
    wait_for(lambda: markers(tmp_path / "disturbed") >= 1 and collectors(disturbed), disturbed)
    os.kill(collectors(disturbed)[0], signal.SIGKILL)
    had = markers(tmp_path / "disturbed")
    wait_for(lambda: markers(tmp_path / "disturbed") > had, disturbed)
    orphans = family(disturbed.pid)
    disturbed.send_signal(signal.SIGKILL)
    disturbed.wait(30)
    end = time.monotonic() + 60  # Ray's processes follow their driver; until then a worker may still write
    while any(Path(f"/proc/{pid}").exists() for pid in orphans) and time.monotonic() < end:
        time.sleep(0.1)
    done = markers(tmp_path / "disturbed")
    assert done < UNITS, "the driver was killed too late to prove anything"

    again = start(inputs, tmp_path / "disturbed")
    assert again.wait(200) == 0
    assert content(tmp_path / "disturbed") == content(tmp_path / "calm")
    assert markers(tmp_path / "calm") == UNITS
