import pytest

from beyondmimic_data.config import get_preset
from beyondmimic_data.control import study as study_module
from beyondmimic_data.control.study import columns, parse_variations, plot_study, study
from beyondmimic_data.errors import ConfigError


def test_values_are_read_as_numbers_where_they_are() -> None:
    found = parse_variations(["guidance.scale=1,2.5", "planning.sampler=rolling,full"])
    assert found == {"guidance.scale": [1, 2.5], "planning.sampler": ["rolling", "full"]}
    with pytest.raises(ConfigError, match="vary"):
        parse_variations(["guidance.scale"])


@pytest.fixture
def played(monkeypatch):
    """Settings that a protocol was played with; whose scale is 2 succeeds."""
    seen = []

    def evaluate(folder, preset, *, protocols, seeds):
        seen.append(preset.closed_loop)
        rate = float(preset.closed_loop.guidance.scale == 2)
        figures = {"success_rate": rate, "wilson_low": 0.0, "wilson_high": 1.0, "n": seeds, "falls": 1}
        return {"protocols": {protocols[0]: {**figures, "description": "left out of rows"}}}

    monkeypatch.setattr(study_module, "evaluate_closed_loop", evaluate)
    return seen


def test_every_combination_is_played_and_has_a_row(played, tmp_path) -> None:
    variations = {"guidance.scale": [1, 2], "planning.state_calls": [2, 3, 4]}
    lines: list[str] = []
    rows = study(tmp_path, get_preset("quick"), "joystick", variations, seeds=8, progress=lines.append)
    assert [(c.guidance.scale, c.planning.state_calls) for c in played] == [
        (s, c) for s in (1.0, 2.0) for c in (2, 3, 4)
    ]
    assert [row["success_rate"] for row in rows] == [0, 0, 0, 1, 1, 1]
    assert len(lines) == 6
    assert columns(rows, variations)[:3] == ["guidance.scale", "planning.state_calls", "success_rate"]
    assert "plan_ms_p50" not in columns(rows, variations)
    plot_study(rows, variations, tmp_path / "study.png")
    assert (tmp_path / "study.png").stat().st_size > 1000


def test_a_setting_that_does_not_exist_is_named(played, tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"closed_loop\.guidance\.scael"):
        study(
            tmp_path,
            get_preset("quick"),
            "joystick",
            {"guidance.scael": [1]},
            seeds=1,
            progress=lambda _: None,
        )
