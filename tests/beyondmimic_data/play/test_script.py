import pickle

import pytest

from beyondmimic_data.errors import ScriptError
from beyondmimic_data.play.command import Command, Pillar
from beyondmimic_data.play.script import Shove, Stage, load_script


@pytest.fixture
def load(tmp_path):
    def write_and_load(text: str):
        path = tmp_path / "commands.toml"
        path.write_text(text)
        return load_script(path)

    return write_and_load


def test_commands_pillars_and_pushes_are_read_as_written(load) -> None:
    script = load(
        """
        [[commands]]
        seconds = 3
        forward = 0.6
        turn = -0.5

        [[commands]]
        seconds = 7.5
        waypoint = [3, 1.0]

        [[pillars]]
        x = 1.5
        y = 0.4

        [[pillars]]
        x = 2
        y = -1
        radius = 0.3

        [[pushes]]
        at = 4.0
        velocity = [0.0, 0.5]
        """
    )
    pillars = (Pillar(1.5, 0.4, 0.2), Pillar(2.0, -1.0, 0.3))
    assert script.stages == (
        Stage(3.0, Command(forward=0.6, left=0.0, turn=-0.5, pillars=pillars)),
        Stage(7.5, Command(waypoint=(3.0, 1.0), pillars=pillars)),
    )
    assert script.pushes == (Shove(4.0, (0.0, 0.5)),)
    assert script.seconds == 10.5


@pytest.mark.parametrize(
    ("text", "field", "found"),
    [
        ("[[commands]\n", "TOML", "Expected"),
        ("", "commands", "none"),
        ("commands = 3", "commands", "int"),
        ("[[command]]\nseconds = 1", "top level.command", "an unknown key"),
        ("[[commands]]\nforward = 0.5", "commands[0].seconds", "nothing"),
        ("[[commands]]\nseconds = 0", "commands[0].seconds", "0"),
        ("[[commands]]\nseconds = nan", "commands[0].seconds", "nan"),
        ("[[commands]]\nseconds = 1\nforwards = 0.5", "commands[0].forwards", "an unknown key"),
        ("[[commands]]\nseconds = 1\nforward = true", "commands[0].forward", "True"),
        ("[[commands]]\nseconds = 1\nwaypoint = [1.0]", "commands[0].waypoint", "[1.0]"),
        (
            "[[commands]]\nseconds = 1\nwaypoint = [1, 2]\nturn = 0",
            "commands[0].turn",
            "a velocity beside a waypoint",
        ),
        ("[[commands]]\nseconds = 1\n[[pillars]]\nx = 1", "pillars[0].y", "nothing"),
        ("[[commands]]\nseconds = 1\n[[pillars]]\nx = 1\ny = 1\nradius = -1", "pillars[0].radius", "-1"),
        ("[[commands]]\nseconds = 1\n[[pushes]]\nat = 1\nvelocity = [0, 1]", "pushes[0].at", "1 s"),
        ("[[commands]]\nseconds = 1\n[[pushes]]\nat = -1\nvelocity = [0, 1]", "pushes[0].at", "-1"),
        ("[[commands]]\nseconds = 1\n[[pushes]]\nat = 0", "pushes[0].velocity", "nothing"),
    ],
)
def test_a_bad_script_is_one_error_that_names_file_field_found_and_expected(
    load, text: str, field: str, found: str
) -> None:
    with pytest.raises(ScriptError) as caught:
        load(text)
    message = str(caught.value)
    assert caught.value.field == field
    assert "commands.toml" in message
    assert f"{field}: found {found}" in message
    assert ", expected " in message


def test_a_script_that_is_not_there_is_named(tmp_path) -> None:
    with pytest.raises(ScriptError, match=r"absent\.toml: TOML: found"):
        load_script(tmp_path / "absent.toml")


def test_the_error_survives_a_process_border() -> None:
    error = ScriptError("a.toml", "commands", "none", "one")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
