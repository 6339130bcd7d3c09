"""Stage 2 in one command: how its time is dealt out, what it writes, and a run of it."""

import dataclasses
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from beyondmimic_data.config import ControlConfig, DiffusionConfig
from beyondmimic_data.control.protocols import get_protocol
from beyondmimic_data.diffusion.contract import g1_contract
from beyondmimic_data.diffusion.policy import DiffusionPolicy
from beyondmimic_data.diffusion.windows import RecordedWindows
from beyondmimic_data.errors import BeyondMimicError, ConfigError
from beyondmimic_data.rollouts.collect import ROW_SLICES, ROW_WIDTH, units_for_hours
from pipelines.stage2_bare import results
from pipelines.stage2_bare.__main__ import main
from pipelines.stage2_bare.budget import Budget, Clock, ProtocolsInTime, TimedJudge
from pipelines.stage2_bare.options import default_options
from pipelines.stage2_bare.rollouts import row_type


class Time:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_deadlines_follow_each_other_and_leave_time_to_write() -> None:
    budget = Budget(570.0)
    assert 0 < budget.collect_until < budget.train_until < budget.examine_until < budget.total
    assert budget.total - budget.examine_until == pytest.approx(22.8)
    assert budget.examine_until - budget.train_until == pytest.approx(114.0)
    assert Budget(60.0).total - Budget(60.0).examine_until == pytest.approx(5.0)


def test_late_rollouts_take_from_training() -> None:
    budget = Budget(570.0)
    early, late = (budget.training_seconds(now, None) for now in (150.0, 250.0))
    assert early - late == pytest.approx(100.0)
    assert 250.0 + late == pytest.approx(budget.train_until)
    assert budget.training_seconds(150.0, 60.0) == 60.0
    assert budget.training_seconds(400.0, 60.0) == pytest.approx(budget.train_until - 400.0)
    with pytest.raises(BeyondMimicError, match="are left for training of 570 s"):
        budget.training_seconds(432.0, 60.0)


def test_a_student_that_is_trained_first_leaves_time_for_the_last_training() -> None:
    budget = Budget(570.0, examines=False)
    assert budget.train_until == budget.examine_until
    first, collecting = budget.student_round(200.0)
    assert 200.0 < first < collecting < budget.train_until
    assert budget.train_until - collecting == pytest.approx(0.3 * (budget.train_until - 200.0))
    assert budget.training_seconds(200.0, None, first) == pytest.approx(first - 200.0)


def test_stages_add_up_to_the_time_since_the_start() -> None:
    time = Time()
    clock = Clock(time)
    time.now += 7.0
    clock.ends("motions")
    time.now += 5.0
    clock.ends("rollouts")
    assert clock.stages == {"motions": 7.0, "rollouts": 5.0}
    assert clock.seconds() == 12.0


def test_a_trial_for_which_there_is_no_time_scores_nothing() -> None:
    time = Time()

    def judge(policy: object) -> dict[str, float]:
        time.now += 10.0
        return {"score": 0.8, "upright": 1.0, "following": 0.8}

    timed = TimedJudge(judge, Clock(time), until=25.0)  # type: ignore[arg-type]
    scores = [timed(None)["score"] for _ in range(3)]  # type: ignore[arg-type]
    assert scores == [0.8, 0.8, 0.0]
    assert (timed.seconds, timed.left_out) == (10.0, 1)


def test_protocols_are_left_out_once_their_time_is_over() -> None:
    time = Time()
    chosen = ProtocolsInTime(Clock(time), until=60.0, pace=0.5)
    stand, waypoint = get_protocol("stand_perturb"), get_protocol("waypoint")
    assert chosen(stand) is None
    time.now += 30.0  # twice a second of its 15: slower than was thought
    assert chosen.pace == 0.5
    assert "about 40 s, and 30 s were left" in str(chosen(waypoint))
    assert chosen.pace == 2.0
    assert chosen(stand) is None
    time.now += 15.0
    assert "15 s were left" in str(chosen(stand))


def test_rows_take_the_widest_type_that_fits() -> None:
    assert row_type(100, 800, 20.0) == "float32"
    assert row_type(100, 799, 20.0) == "float16"
    with pytest.raises(ConfigError, match=r"at most 10\.0"):
        row_type(100, 200, 20.0)


def test_units_are_small_enough_for_all_cores_and_hold_the_hours() -> None:
    options = dataclasses.replace(default_options(None), cores=16)
    rollouts = options.preset().rollouts
    assert (rollouts.num_envs, rollouts.chunk_steps) == (64, 64 * 512)
    units = [units_for_hours(share * 20.0, options.preset()) for share in options.skill_shares.values()]
    assert sum(units) >= 4 * 16
    assert sum(units) * rollouts.chunk_steps >= 20.0 * 3600 * 50
    tiny = dataclasses.replace(options, hours=0.02, cores=2).preset().rollouts
    assert tiny.num_envs == 4
    synth = [dataclasses.replace(options, hours=h).preset().synth for h in (0.02, 2.0, 20.0)]
    assert [(s.locomotion_clips, s.locomotion_brisk_clips) for s in synth] == [(1, 1), (3, 3), (20, 12)]
    assert sum(options.skill_shares.values()) == pytest.approx(1.0)


def test_the_size_decides_the_defaults() -> None:
    quick, paper, other, small = (
        default_options(size).diffusion for size in ("quick", "paper", "256x4", "128x3")
    )
    assert [(c.embedding, c.layers) for c in (quick, paper, other)] == [(160, 4), (512, 6), (256, 4)]
    assert small.learning_rate == pytest.approx(2 * paper.learning_rate)
    assert quick.skill_weights == ()


@pytest.fixture
def policy_folder(tmp_path: Path) -> Path:
    """Folder of an untrained policy with recorded windows and a picture."""
    torch.manual_seed(0)
    folder = tmp_path / "policy"
    folder.mkdir()
    policy = DiffusionPolicy(
        DiffusionConfig(embedding=64, layers=2, dropout=0.0), g1_contract(ControlConfig())
    )
    policy.save(folder)
    rows = 0.3 * torch.randn(8, 21, ROW_WIDTH)
    rows[..., ROW_SLICES["root_quat_w"]] = torch.tensor([1.0, 0.0, 0.0, 0.0])
    RecordedWindows(rows, ROW_SLICES).save(folder)
    (folder / "training.json").write_text("{}")
    (folder / "loss.png").write_bytes(b"picture")
    return folder


def test_large_weights_are_halved_and_still_give_the_same_actions(policy_folder) -> None:
    size = (policy_folder / "model.safetensors").stat().st_size
    assert results.store_halved(policy_folder, size) is None
    before = DiffusionPolicy.load(policy_folder)
    error = results.store_halved(policy_folder, size - 1)
    assert error is not None
    assert 0 < error < 1e-2
    after = DiffusionPolicy.load(policy_folder)
    saved = size - (policy_folder / "model.safetensors").stat().st_size
    assert saved == pytest.approx(2 * before.num_parameters(), rel=0.01)
    assert torch.equal(before.state_normaliser.low, after.state_normaliser.low)
    assert after.denoiser.position.dtype == torch.float32


def test_results_are_few_files(policy_folder, tmp_path) -> None:
    out = tmp_path / "out"
    names = results.deliver(policy_folder, out)
    assert sorted(names) == sorted(path.name for path in out.iterdir())
    assert len(names) <= 8
    assert zipfile.ZipFile(out / "pictures.zip").read("loss.png") == b"picture"
    assert (out / "model.safetensors").read_bytes() == (policy_folder / "model.safetensors").read_bytes()


def test_weights_over_the_bound_come_in_parts_that_join(policy_folder, tmp_path) -> None:
    out, whole = tmp_path / "out", (policy_folder / "model.safetensors").read_bytes()
    names = results.deliver(policy_folder, out, most_bytes=len(whole) // 2 - 1)
    parts = [name for name in names if name.startswith("model")]
    assert len(parts) == 3
    assert max((out / name).stat().st_size for name in parts) <= len(whole) // 2
    assert b"".join((out / name).read_bytes() for name in parts) == whole
    inside = zipfile.ZipFile(out / "results.zip").namelist()
    assert {"config.json", "windows.safetensors", "training.json", "loss.png"} <= set(inside)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--size", "huge"), "'size': found 'huge'"),
        (("--hours", "0"), "'hours': found 0"),
        (("--protocols", "fly"), "'closed_loop.protocols': found 'fly'"),
        (("--shares", "synth__run=1"), "'shares'"),
        (("--diffusion.skill-weights", "synth__run=1"), "'diffusion.skill_weights'"),
        (("--size", "30x2"), "'diffusion.embedding': found 30"),
        (("--start", "shipped", "--size", "64x2"), "'start': found 'shipped'"),
    ],
)
def test_a_bad_option_is_one_line(tmp_path, monkeypatch, capsys, words, named) -> None:
    monkeypatch.setenv("OUT", str(tmp_path / "out"))
    assert main(words) == 1
    said = capsys.readouterr().err
    assert named in said
    assert len(said.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_results_have_to_go_somewhere(monkeypatch, capsys) -> None:
    monkeypatch.delenv("OUT", raising=False)
    assert main(()) == 1
    assert "'out': found None" in capsys.readouterr().err


@pytest.mark.slow
def test_one_command_from_motions_to_a_report(tmp_path) -> None:
    options = (
        "--total-minutes 1.5 --hours 0.005 --minutes 0.05 --size 32x1 --seeds 2 --protocols stand_perturb "
        "--cores 1 --shares synth__stand=1 synth__squat=1 --synth.seconds 3 "
        "--diffusion.batch-size 64 --diffusion.check-runs 2 --diffusion.precision float32"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.stage2_bare", *options.split()],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OUT": str(tmp_path / "out")},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    document, run = json.loads(done.stdout), json.loads((tmp_path / "out" / "run.json").read_text())
    assert document["protocols"] == run["protocols"]
    assert run["protocols"]["stand_perturb"]["n"] == 2
    assert run["rollouts"][0]["hours"] > 0.005
    assert run["training"][0]["steps"] > 0
    assert set(document["stages"]) == {
        "motions", "rollouts", "windows", "training", "protocols", "writing",
    }  # fmt: skip
    assert sum(document["stages"].values()) < 90
    on_cpu = "there is no GPU: the policy was trained on the CPU"
    assert (on_cpu in run["warnings"]) != torch.cuda.is_available()
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == set(document["files"])
    assert len(names) == 8
    pictures = zipfile.ZipFile(tmp_path / "out" / "pictures.zip").namelist()
    assert {"loss.png", "stand_perturb.png"} <= set(pictures)
    assert "stand_perturb" in (tmp_path / "out" / "report.md").read_text()
    policy = DiffusionPolicy.load(tmp_path / "out")
    assert policy.config.embedding == 32
    assert RecordedWindows.load(tmp_path / "out").rows.shape == (256, 21, 342)
