"""What the UI shows of a closed-loop report beside the last policy's."""

import dataclasses

import pytest

from assets.closed_loop_report import KIND, _compared, earlier_report
from assets.workspace import open_workspace
from storage.artifacts import Artifact


@pytest.fixture
def workspace(tmp_path):
    return open_workspace(root=tmp_path)


def report_of(workspace, policy: str, recipe: str, successes: int) -> Artifact:
    figures = {"success_rate": successes / 10, "n": 10}
    with workspace.store.build(KIND, "all", recipe) as build:
        (build.path / "report.md").write_text(recipe)
        build.meta |= {
            "parents": [{"kind": "diffusion", "version": policy}],
            "protocols": {"joystick": figures, "forest": {"skipped": "no start"}},
        }
    found = workspace.store.find(KIND, "all", recipe)
    assert found is not None
    return found


def test_the_last_policy_is_compared_with_not_another_report_of_this_one(workspace) -> None:
    first = report_of(workspace, "old", "1", 4)
    again = report_of(workspace, "new", "2", 8)
    newest = report_of(workspace, "new", "3", 9)
    assert earlier_report(workspace, newest) == first
    assert earlier_report(workspace, again) == first
    assert earlier_report(workspace, first) is None
    shown = _compared(newest, first)
    text = shown["compared_with_last_policy"].value
    assert "| joystick | 90%, n = 10 | 40%, n = 10 | +50 | +8 to +75 |" in text
    assert "forest" not in text
    assert shown["last_policy_report"].value == str(first.path)


def test_a_first_report_says_that_there_is_nothing_to_compare_with(workspace) -> None:
    assert _compared(report_of(workspace, "new", "1", 5), None) == {
        "compared_with_last_policy": "no other policy has a report yet"
    }


def test_a_protocol_that_the_last_report_lacked_is_left_out(workspace) -> None:
    first, second = report_of(workspace, "old", "1", 4), report_of(workspace, "new", "2", 8)
    lacking = dataclasses.replace(first, meta={**first.meta, "protocols": {}})
    assert _compared(second, lacking)["compared_with_last_policy"].value == "nothing"
