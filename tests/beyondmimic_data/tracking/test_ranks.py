"""Processes that train one policy together: what they share, and what happens when one is lost."""

import dataclasses
import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from beyondmimic_data.config import Preset, get_preset
from beyondmimic_data.errors import BeyondMimicError
from beyondmimic_data.rank import ALONE, Rank
from beyondmimic_data.tracking import train
from beyondmimic_data.tracking.ranks import RankLostError, together
from beyondmimic_data.tracking.train import train_policy
from beyondmimic_data.tracking.trainer import ENVS_PER_RANK, Trainer, lead, rank_count


@pytest.fixture(scope="module")
def preset() -> Preset:
    """A training of two ranks, whose robots often lie down at once."""
    base = get_preset("test")
    task = dataclasses.replace(base.task, reset_rotation=(1.5, 1.5, 0.2))
    ppo = dataclasses.replace(base.ppo, steps_per_env=4)
    training = dataclasses.replace(base.training, num_envs=2 * ENVS_PER_RANK, max_iterations=3)
    return dataclasses.replace(base, ppo=ppo, training=training, task=task)


def _weights(trainer: Trainer) -> torch.Tensor:
    state = trainer.algorithm.save()
    parts = [*state["actor_state_dict"].values(), *state["critic_state_dict"].values()]
    return torch.cat([part.flatten().double() for part in parts])


def _compare(trainer: Trainer) -> dict[str, float]:
    """Return how far the ranks' weights, sampled failures and first joints are apart."""
    apart = {}
    for name, values in {
        "weights": _weights(trainer),
        "failures": torch.from_numpy(trainer.env.sampler.failures),
        "joints": trainer.env.world.state.joint_pos.double(),
    }.items():
        mean = trainer.rank.total(values) / trainer.rank.count
        apart[name] = float((values - mean).abs().max())
    return apart | {"failures seen": float(trainer.env.sampler.failures.sum())}


def _iterate_and_compare(trainer: Trainer) -> tuple[dict[str, float], dict[str, float]]:
    return trainer.iterate(), _compare(trainer)


def _fail(rank: Rank) -> None:
    raise BeyondMimicError("every rank says so")


def _die(rank: Rank) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_ranks_learn_one_policy_from_other_robots(clip, preset):
    with lead([clip], preset, 2, _iterate_and_compare) as rank:
        trainer = Trainer([clip], preset, 2, rank)
        trainer.counters.steps = 1000  # a resumed one: the others begin where the first one stands
        figures, before = _iterate_and_compare(trainer)
        _, after = _iterate_and_compare(trainer)
        addresses = _listening()
    assert addresses
    assert all(address.endswith("7F") for address in addresses), "on the loopback alone"
    assert figures["steps"] == 1000 + 2 * ENVS_PER_RANK * preset.ppo.steps_per_env
    assert trainer.env.num_envs == ENVS_PER_RANK
    for apart in (before, after):
        assert apart["weights"] == 0.0
        assert apart["failures"] < 1e-12
        assert apart["joints"] > 0.01
    assert after["failures seen"] > 0.0
    assert not multiprocessing.active_children()


def test_a_training_that_lost_a_rank_goes_on(clip, preset, tmp_path, caplog):
    killed: list[int] = []

    def kill_once(figures: dict[str, float]) -> None:
        if figures["iteration"] == 2 and not killed:
            (other,) = multiprocessing.active_children()
            os.kill(other.pid, signal.SIGKILL)
            killed.append(other.pid)

    always = dataclasses.replace(preset.training, checkpoint_minutes=0.0)
    preset = dataclasses.replace(preset, training=always)
    record = train_policy([clip], preset, tmp_path, num_threads=2, progress=kill_once)
    assert killed
    assert record["steps"] == 3 * 2 * ENVS_PER_RANK * preset.ppo.steps_per_env
    assert record["ended"] == "reached its iterations"
    assert all(np.isfinite(point["reward_per_step"]) for point in record["curve"])
    assert not multiprocessing.active_children()
    assert "training process 2 of 2 ended (exit code -9)" in caplog.text
    assert [point["iteration"] for point in record["curve"]] == [1, 2, 3], "from the checkpoint, not anew"


def test_a_training_that_loses_too_many_ranks_gives_up(clip, preset, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "RESTARTS", 0)

    def kill(figures: dict[str, float]) -> None:
        (other,) = multiprocessing.active_children()
        os.kill(other.pid, signal.SIGKILL)

    with pytest.raises(RankLostError, match="training process 2 of 2 ended"):
        train_policy([clip], preset, tmp_path, num_threads=2, progress=kill)
    assert not multiprocessing.active_children()


def test_a_rank_that_does_not_come_is_named():
    lost = r"training process 2 of 2 ended \(exit code -9\)"
    with pytest.raises(RankLostError, match=lost), together(2, _die) as rank:
        rank.agree(True)


def test_an_error_of_all_ranks_is_the_first_ones_to_tell(capfd):
    with pytest.raises(BeyondMimicError, match="mine"), together(2, _fail):
        raise BeyondMimicError("mine")
    assert "Traceback" not in capfd.readouterr().err
    assert not multiprocessing.active_children()


def _listening() -> list[str]:
    """Return the addresses on which this process listens, as the kernel writes them: the last byte first."""
    inodes = set()
    for fd in Path("/proc/self/fd").iterdir():
        target = os.readlink(fd) if fd.is_symlink() else ""
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    addresses = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                addresses.append(fields[1].split(":")[0])
    return addresses


def test_a_rank_alone_talks_to_nobody():
    with together(1, _die) as rank:
        assert rank is ALONE
    assert rank.leads
    assert rank.agree(True)
    assert not rank.agree(False)
    assert torch.equal(rank.total(torch.ones(2)), torch.ones(2))
    assert rank.receive("thing") == "thing"


def test_a_core_trains_alone_if_its_environments_are_too_few(preset):
    few = dataclasses.replace(preset, training=dataclasses.replace(preset.training, num_envs=64))
    assert rank_count(preset, 8) == 2
    assert rank_count(few, 8) == 1
    assert rank_count(preset, 1) == 1
    with_gpu = dataclasses.replace(preset.training, gpus_per_skill=1.0)
    assert rank_count(dataclasses.replace(preset, training=with_gpu), 8) == 1
    assert rank_count(get_preset("paper"), 8) == 8


def test_one_core_leads_nobody(clip, preset):
    with lead([clip], preset, 1) as rank:
        assert rank is ALONE
