"""The command line: help, one JSON document on standard output, one line for what a user can mend."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import tyro

from beyondmimic_data.config import RandomisationConfig, TaskConfig, get_preset
from beyondmimic_data.errors import ConfigError, MotionError
from beyondmimic_data.overrides import differences
from beyondmimic_data.tracking.evaluate import gate_ranges
from pipelines import cli, policy_verbs, verbs
from pipelines import options as o

VERBS = (
    ["run"],
    ["train"],
    ["collect"],
    ["ui"],
    ["motions", "check"],
    ["motions", "synth"],
    ["motions", "gait"],
    ["data", "diff"],
    ["data", "export"],
    ["data", "push"],
    ["data", "pull"],
    ["data", "verify"],
    ["data", "gc"],
    ["chaos", "collect"],
    ["bench"],
    ["study", "learned-guidance"],
    ["evaluate", "tracking"],
    ["evaluate", "closed-loop"],
    ["play"],
    ["ship"],
)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("BEYONDMIMIC_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("BEYONDMIMIC_STATE", str(tmp_path / "state"))
    return tmp_path


def call(words: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    return int(ended.value.code or 0)


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_verb_explains_itself(verb, capsys):
    assert call([*verb, "--help"]) == 0
    out = capsys.readouterr().out
    assert "--json" in out
    assert f"beyondmimic {' '.join(verb)}" in out


def test_the_overview_lists_every_verb(capsys):
    assert call(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(" ".join(verb) in out for verb in VERBS)


@pytest.mark.parametrize("words", [[], ["rnu"], ["motions"], ["evaluate", "nothing"]])
def test_what_is_no_verb_ends_with_2_and_the_list(words, capsys):
    assert call(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "usage" in captured.err


def test_run_offers_every_number_of_the_preset_with_its_value(capsys):
    assert call(["run", "--preset", "test", "--help"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "--training.num-envs INT" in out
    assert f"(default: {get_preset('test').training.num_envs})" in out


def test_training_an_unknown_skill_says_which_there_are(home, capsys):
    assert call(["train", "--preset", "test", "--skills", "hop"]) == 1
    err = capsys.readouterr().err
    assert "'hop'" in err
    assert "synth__stand" in err


@pytest.mark.parametrize(
    ("words", "expected"), [(["retarget"], "--motions PATH"), (["physics", "--motions", "."], "no motions")]
)
def test_a_bench_says_whether_it_needs_motions(words, expected, capsys):
    assert call(["bench", *words]) == 1
    assert expected in capsys.readouterr().err


def test_options_change_the_preset_and_nothing_else():
    import tyro

    words = ["--preset", "test", "--ppo.gamma", "0.5", "--train-minutes", "7", "--diffusion.action-label"]
    words += ["action_noise_free"]
    preset = o.chosen_preset(tyro.cli(o.with_settings(o.Run, "test"), args=words))
    assert (preset.ppo.gamma, preset.training.minutes, preset.diffusion.action_label) == (
        0.5,
        7.0,
        "action_noise_free",
    )
    assert preset.rollouts == get_preset("test").rollouts
    assert preset.name == "test"


def test_an_unknown_preset_is_one_line_and_1(capsys):
    assert call(["run", "--preset", "fast"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("beyondmimic: ")
    assert "'fast'" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "error",
    [MotionError("a.csv", "fps", "nothing", "a rate"), ConfigError("skill", "x", "one that exists")],
)
def test_an_error_that_a_user_can_mend_is_one_line_and_1(error, home, monkeypatch, capsys):
    def fail(_):
        raise error

    monkeypatch.setattr(verbs, "bench", fail)
    assert call(["bench", "physics"]) == 1
    assert capsys.readouterr().err == f"beyondmimic: {error}\n"


def test_json_is_one_document_on_standard_output_whoever_prints():
    """A library, and a child process, that print to standard output must not spoil the document."""
    code = (
        "import os, sys\n"
        "from pipelines import cli, verbs\n"
        "def noisy(_):\n"
        "    print('from Python'); os.system('echo from a child')\n"
        "    return verbs.Result({'value': float('nan'), 'list': (1, 2)}, 'text')\n"
        "verbs.bench = noisy\n"
        "cli.main(sys.argv[1:])\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, "bench", "physics", "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        cwd=Path(cli.__file__).parents[1],
    )
    assert json.loads(result.stdout) == {"value": None, "list": [1, 2]}
    assert "from Python" in result.stderr
    assert "from a child" in result.stderr


def test_a_result_that_is_not_ok_ends_with_1(home, monkeypatch, capsys):
    monkeypatch.setattr(verbs, "motions_check", lambda _: verbs.Result([], "refused", ok=False))
    assert call(["motions", "check", "x.csv"]) == 1
    assert capsys.readouterr().out == "refused\n"


def test_evaluating_an_unknown_skill_says_which_there_are(home, capsys):
    assert call(["evaluate", "tracking", "--skill", "nobody"]) == 1
    assert "'nobody'" in capsys.readouterr().err


def test_evaluating_without_a_diffusion_policy_says_so(home, capsys):
    assert call(["evaluate", "closed-loop", "--protocol", "joystick"]) == 1
    assert "run the graph first" in capsys.readouterr().err


def test_evaluating_a_folder_without_a_policy_or_an_unknown_protocol_says_so(home, tmp_path, capsys):
    assert call(["evaluate", "closed-loop", "--protocol", "joystick", "--policy", str(tmp_path)]) == 1
    assert "`shipped`, or a folder that holds a diffusion policy" in capsys.readouterr().err
    assert call(["evaluate", "closed-loop", "--protocol", "moonwalk", "--policy", "shipped"]) == 1
    assert "one of commanded_walk, forest, inpainting, joystick" in capsys.readouterr().err


def test_distilling_without_a_dataset_says_what_to_run_first(home, capsys):
    assert call(["distill", "--preset", "test"]) == 1
    assert "run `collect` first" in capsys.readouterr().err


def test_figures_are_kept_for_the_shipped_policy_alone(home, monkeypatch, policy_without_runs, capsys):
    words = ["evaluate", "closed-loop", "--protocol", "joystick", "--record"]
    kept = {}
    monkeypatch.setattr(
        "beyondmimic_data.diffusion.shipped.record_evaluation", lambda name, entry: kept.update({name: entry})
    )
    assert call([*words, "--policy", str(policy_without_runs)]) == 1
    assert "--policy shipped" in capsys.readouterr().err
    assert kept == {}
    assert call([*words, "--policy", "shipped", "--seeds", "7", "--seed", "5"]) == 0
    entry = kept["joystick"]
    assert entry["command"].endswith("--policy shipped --protocol joystick --seeds 7 --seed 5")
    assert entry["success_rate"] == 0.5
    assert "success" not in entry


@pytest.fixture
def policy_without_runs(tmp_path, monkeypatch):
    """Folder that looks like a policy; protocols are not run."""
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    figures = {"success_rate": 0.5, "n": 7, "success": [True] * 7}
    monkeypatch.setattr(
        "beyondmimic_data.control.evaluate.evaluate_closed_loop",
        lambda *args, **kwargs: {"protocols": {"joystick": figures}},
    )
    return tmp_path


@pytest.mark.parametrize(
    ("rate", "code"), [("joystick=0.5", 0), ("joystick=0.51", 1), ("joystick=1.0", 1), ("stand_perturb=1", 0)]
)
def test_a_protocol_that_misses_its_rate_ends_with_1(home, policy_without_runs, capfd, rate, code):
    protocols = ["joystick", "stand_perturb"]
    overrides = {"closed_loop.min_success": [rate], "closed_loop.protocols": protocols}
    (home / "data").mkdir()
    (home / "data" / "workspace.json").write_text(json.dumps({"preset": "quick", "overrides": overrides}))
    words = ["evaluate", "closed-loop", "--protocol", "joystick", "--policy", str(policy_without_runs)]
    assert call([*words, "--json"]) == code
    document = json.loads(capfd.readouterr().out)
    assert document["success_rate"] == 0.5
    if rate.startswith("joystick"):
        assert document["required"] == float(rate.partition("=")[2])
        assert document["passed"] == (code == 0)
    else:
        assert not {"required", "passed"} & document.keys()


def test_a_protocol_that_has_no_start_ends_with_1(home, policy_without_runs, monkeypatch):
    left_out = {"protocols": {"joystick": {"skipped": "none is standing"}}}
    monkeypatch.setattr(
        "beyondmimic_data.control.evaluate.evaluate_closed_loop", lambda *args, **kwargs: left_out
    )
    words = ["evaluate", "closed-loop", "--protocol", "joystick", "--policy", str(policy_without_runs)]
    assert call(words) == 1


def test_a_shipped_policys_command_is_one_that_the_command_line_reads():
    changes = {
        "training.shipped_start": False,
        "training.minutes": 6.5,
        "training.push": False,
        "ppo.mirror": False,
        "ppo.hidden_dims": (64, 32),
        "randomisation.latency_ms": (0.0, 20.0),
    }
    words = " ".join(policy_verbs._option(name, value) for name, value in changes.items()).split()
    options = tyro.cli(o.with_settings(o.Run, "quick"), args=words)
    assert differences(get_preset("quick"), o.chosen_preset(options)) == changes


def test_a_policy_is_examined_as_method_says_however_hard_its_training_was():
    quick = get_preset("quick")
    harder = dataclasses.replace(
        quick,
        task=dataclasses.replace(quick.task, reset_position=(0.5, 0.5, 0.1), state_estimation=False),
        randomisation=dataclasses.replace(quick.randomisation, push_linear=(9.0, 9.0, 9.0), push=False),
    )
    gate = get_preset("paper").gate
    examined = policy_verbs._examined(SimpleNamespace(preset=harder), gate)
    ranges = gate_ranges(examined)
    assert ranges == dataclasses.replace(RandomisationConfig(), latency_ms=(0.0, 40.0))
    assert ranges.push
    assert examined.task == dataclasses.replace(TaskConfig(), state_estimation=False)
