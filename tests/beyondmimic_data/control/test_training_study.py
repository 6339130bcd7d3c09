"""Ablations: which variants there are, what they share, and that an interrupted study goes on."""

import dataclasses

import pytest

from beyondmimic_data.config import get_preset
from beyondmimic_data.control import training_study
from beyondmimic_data.control.training_study import DataChoice, study_training, variants_of
from beyondmimic_data.errors import ConfigError

VARIATIONS = {
    "diffusion.emphasis": [4, 0],
    "closed_loop.planning.sampler": ["full"],
    "data.hours": [2],
}


@pytest.fixture
def preset(tiny_config):
    return dataclasses.replace(get_preset("test"), diffusion=dataclasses.replace(tiny_config, max_steps=2))


def test_there_is_one_variant_for_every_value_that_changes_something(preset) -> None:
    found = variants_of(preset, VARIATIONS)
    assert [variant.name for variant in found] == [
        "as configured",
        "diffusion.emphasis = 0",
        "closed_loop.planning.sampler = full",
        "data.hours = 2",
    ]
    assert found[1].preset.diffusion.emphasis == 0
    assert found[3].data == DataChoice(hours=2)


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("diffusion.emphasys", 0, "emphasys"),
        ("data.colour", 1, r"data\.colour"),
        ("data.noise_kind", "pink", "pink"),
        ("data.hours", 0, r"data\.hours"),
    ],
)
def test_what_cannot_be_varied_is_named(preset, field, value, named) -> None:
    with pytest.raises(ConfigError, match=named):
        variants_of(preset, {field: [value]})


@pytest.fixture
def played(monkeypatch):
    """Folder and sampler of every protocol that was played."""
    seen = []

    def evaluate(folder, preset, *, protocols, seeds, latency_ms):
        seen.append((folder.name, preset.closed_loop.planning.sampler))
        figures = dict.fromkeys(training_study.KEPT, 0.5) | {"n": seeds, "falls": 1}
        return {"protocols": {protocols[0]: {**figures, "description": "left out"}}}

    monkeypatch.setattr(training_study, "evaluate_closed_loop", evaluate)
    return seen


def test_trainings_are_shared_and_an_interrupted_study_goes_on(
    preset, windows, contract, tmp_path, played
) -> None:
    opened = []

    def windows_of(changed, data):
        opened.append((changed.diffusion.emphasis, data.hours))
        return windows

    def study():
        return study_training(
            windows_of,
            preset,
            VARIATIONS,
            contract,
            tmp_path,
            dataset="d1",
            protocols=["joystick"],
            seeds=4,
            latency_ms=(0.0, 40.0),
            progress=lambda _: None,
        )

    rows = study()
    assert opened == [(4.0, None), (0.0, None), (4.0, 2)], "the sampler needs no training of its own"
    assert [sampler for _, sampler in played] == ["plan_first", "plan_first", "full", "plan_first"]
    assert played[0][0] == played[2][0]
    assert len({folder for folder, _ in played}) == 3
    assert rows[0]["samples"] == 2 * preset.diffusion.batch_size
    assert study() == rows
    assert (len(opened), len(played)) == (3, 4), "nothing is done twice"
    page = (tmp_path / training_study.TABLE).read_text()
    assert "| diffusion.emphasis = 0 | 0." in page
    assert "50% [50%, 50%] | 1 of 4" in page
    assert (tmp_path / training_study.PICTURE).stat().st_size > 1000
