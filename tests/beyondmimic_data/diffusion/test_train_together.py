"""Training by several processes."""

import dataclasses
import json

import pytest
import torch

from beyondmimic_data.cluster import Cluster
from beyondmimic_data.config import DiffusionConfig
from beyondmimic_data.diffusion.policy import DiffusionPolicy
from beyondmimic_data.diffusion.train import _average_over_ranks, train
from beyondmimic_data.diffusion.train_together import Job, _cause, train_together
from beyondmimic_data.errors import ConfigError, StoreError
from beyondmimic_data.rank import Rank
from storage.device_windows import DeviceWindows


@pytest.fixture
def job(windows, contract, tiny_config, tmp_path) -> Job:
    rows, columns = windows.rows.flatten(0, 1), windows.columns
    length = windows.rows.shape[1]
    episodes = {"walk": [(f"walk-{i}", length * i, length) for i in range(len(windows.rows))]}

    def open_windows() -> DeviceWindows:
        return DeviceWindows(
            rows, columns, episodes, DiffusionConfig().window, validation_fraction=0.2, split_seed=1
        )

    def make_judge(source):
        return lambda policy: {"score": float(source.num_windows("train")), "upright": 1.0}

    config = dataclasses.replace(tiny_config, workers=2, max_steps=30, check_minutes=60.0)
    return Job(open_windows, make_judge, config, contract, tmp_path / "policy")


@pytest.mark.slow
def test_two_processes_train_one_policy(job) -> None:
    points = []
    cluster = Cluster(num_cpus=2, object_store_mb=80)
    with cluster.session():
        figures = train_together(job, cluster, points.append)
        with pytest.raises(ConfigError, match=r"diffusion.workers.*1 to 2"):
            train_together(
                dataclasses.replace(job, config=dataclasses.replace(job.config, workers=3)), cluster, print
            )
    assert (figures["steps"], figures["samples"]) == (30, 30 * 16)
    assert figures["best_trial"]["score"] > 0
    assert points[-1]["step"] == 30
    record = json.loads((job.folder / "training.json").read_text())
    assert record["curve"][-1]["loss"] == points[-1]["loss"]
    assert len(record["trials"]) == 1
    # Who follows takes the leader's steps: half a batch each, and together no worse than one with all of it.
    alone = dataclasses.replace(job.config, workers=1)
    one = train(job.open_windows(), alone, job.contract, job.folder / "alone")
    assert figures["validation_loss"] == pytest.approx(one["validation_loss"], rel=0.1)


def test_what_is_said_of_a_failure_is_what_a_process_said() -> None:
    from ray.train import WorkerGroupError

    damaged = StoreError("a train window holds values that are not finite")
    assert _cause(WorkerGroupError("2 of 2 workers failed", {1: ValueError("x"), 0: damaged})) == str(damaged)
    assert _cause(RuntimeError("no workers")) == "no workers"


def test_a_process_by_itself_does_not_take_the_place_of_several(job) -> None:
    with pytest.raises(ConfigError, match=r"diffusion.workers"):
        train(job.open_windows(), job.config, job.contract, job.folder)


def test_gradients_are_those_of_the_whole_batch(tiny_config, contract) -> None:
    """Two ranks with three and one of four samples."""
    denoiser = DiffusionPolicy(tiny_config, contract).denoiser
    given = {name: torch.randn_like(p) for name, p in denoiser.named_parameters()}
    others = {name: torch.randn_like(p) for name, p in denoiser.named_parameters()}

    class Meeting(Rank):
        def total(self, values):
            theirs = torch.cat([0.25 * x.flatten() for x in (*others.values(), torch.tensor(3.0))])
            return values + theirs

    for name, parameter in denoiser.named_parameters():
        parameter.grad = given[name].clone()
    loss = _average_over_ranks(denoiser, torch.tensor(1.0), 0.75, Meeting(0, 2))
    assert float(loss) == pytest.approx(1.5)
    for name, parameter in denoiser.named_parameters():
        torch.testing.assert_close(parameter.grad, 0.75 * given[name] + 0.25 * others[name])
