"""What verbs measure is in the UI afterwards."""

import dagster as dg
import pytest

from pipelines import home
from pipelines.cli import main
from pipelines.measured import Measured, publish


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("BEYONDMIMIC_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("BEYONDMIMIC_DATA", str(tmp_path / "data"))
    return tmp_path / "state"


def event_of(name: str) -> dg.AssetMaterialization:
    with home.open_instance() as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(name))
        assert event is not None
        assert instance.get_dynamic_partitions(name) == [event.asset_materialization.partition]
        return event.asset_materialization


def test_figures_table_and_picture_are_shown(state, tmp_path):
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "study.png")
    rows = [{"setting": "scale 1", "success": 0.5}, {"setting": "scale 2", "success": 0.75}]
    figures = {"n": 32, "success": 0.123456789, "unit": "share", "list": [1, 2], "nothing": None}
    figures |= {"second": {"falls": 1}, "latency": [{"ms": 0.0, "falls": 2}, {"ms": 20.0, "falls": 3}]}
    publish(Measured("closed_loop_study", "joystick", figures, rows, tmp_path / "study.png"))
    event = event_of("closed_loop_study")
    assert event.partition == "joystick"
    assert event.metadata.keys() == {"n", "success", "unit", "second", "latency", "table", "picture"}
    assert event.metadata["latency"].value == "| ms | falls |\n|---|---|\n| 0 | 2 |\n| 20 | 3 |"
    assert "| 1 |" in event.metadata["second"].value
    assert event.metadata["success"].value == 0.1235
    assert "| scale 2 | 0.75 |" in event.metadata["table"].value
    assert event.metadata["picture"].value.startswith("![study](data:image/png")


def test_a_verb_that_measures_leaves_an_event(state, monkeypatch, capfd):
    monkeypatch.setattr("pipelines.benches.run", lambda name: {"steps_per_second": 5000.0})
    with pytest.raises(SystemExit) as ended:
        main(["bench", "physics", "--json"])
    assert ended.value.code == 0
    assert "5000" in capfd.readouterr().out
    event = event_of("benchmark")
    assert event.partition == "physics"
    assert event.metadata["steps_per_second"].value == 5000.0


def test_a_state_folder_that_cannot_be_written_costs_the_event_alone(state, capfd, monkeypatch):
    state.write_text("a file in the way")
    monkeypatch.setattr("pipelines.benches.run", lambda name: {"steps_per_second": 5000.0})
    with pytest.raises(SystemExit) as ended:
        main(["bench", "physics", "--json"])
    assert ended.value.code == 0
    found = capfd.readouterr()
    assert "5000" in found.out
    assert "will not show these figures" in found.err
