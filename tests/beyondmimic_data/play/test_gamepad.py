"""A gamepad steers the robot; a pipe stands for the kernel's device."""

import logging
import os
import time

import pytest

from beyondmimic_data.errors import ConfigError
from beyondmimic_data.play.gamepad import AXIS, BUTTON, EVENT, FULL, INITIAL, Gamepad, Sticks


@pytest.fixture
def device(tmp_path):
    os.mkfifo(tmp_path / "js0")
    return tmp_path / "js0"


def event(kind: int, number: int, value: int) -> bytes:
    return EVENT.pack(0, value, kind, number)


def changes(device, *parts: bytes) -> list[Sticks | str]:
    with Gamepad(device) as gamepad, device.open("wb", buffering=0) as writer:
        found: list[Sticks | str] = []
        for part in parts:
            writer.write(part)
            found += gamepad.read(1.0)
        return found


def test_sticks_are_shares_of_their_way_up_and_left_positive(device) -> None:
    (moved,) = changes(device, event(AXIS, 1, -FULL) + event(AXIS, 0, FULL) + event(AXIS, 3, -FULL // 2))
    assert isinstance(moved, Sticks)
    assert (moved.forward, moved.left) == pytest.approx((1.0, -1.0))
    assert moved.turn == pytest.approx((0.5 - 0.12) / 0.88, abs=1e-3)


def test_a_stick_that_rests_off_the_middle_is_no_command(device) -> None:
    assert changes(device, event(AXIS, 1, FULL // 10)) == [Sticks()]


def test_how_things_stand_at_first_is_no_command_either(device) -> None:
    first = event(AXIS | INITIAL, 1, 0) + event(BUTTON | INITIAL, 0, 1)
    assert changes(device, first) == []


def test_buttons_count_when_pressed_and_others_are_nothing(device) -> None:
    pressed = [event(BUTTON, number, value) for number, value in ((0, 1), (0, 0), (1, 1), (2, 1), (9, 1))]
    assert changes(device, *pressed) == ["stop", "reset", "push"]
    assert changes(device, event(AXIS, 7, FULL)) == []


def test_an_event_may_come_in_two_parts(device) -> None:
    whole = event(AXIS, 1, -FULL)
    assert changes(device, whole[:3], whole[3:]) == [Sticks(forward=1.0)]


def test_a_device_that_is_none_is_named(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"gamepad.*js9.*No such file"):
        Gamepad(tmp_path / "js9")


def test_it_steers_the_robot_and_stops_it_when_unplugged(make_session, device, caplog, free_port) -> None:
    pytest.importorskip("viser", reason="viser is not installed: extra play")
    from beyondmimic_data.play.viewer import Viewer

    viewer = Viewer(make_session(), port=free_port, gamepad=device)
    session = viewer._session
    try:
        with caplog.at_level(logging.INFO), Gamepad(device) as gamepad:
            with device.open("wb", buffering=0) as writer:
                writer.write(event(AXIS, 1, -FULL) + event(AXIS, 3, FULL))
                for change in gamepad.read(1.0):
                    viewer._follow_gamepad(change)
                assert (session.command.forward, session.command.turn) == (1.0, -1.0)
            viewer._steer_with(gamepad)  # nobody writes any more: as if it was unplugged
        assert (session.command.forward, session.command.turn) == (0.0, 0.0)
        assert "the gamepad is gone" in caplog.text
    finally:
        viewer.close()


def test_one_that_comes_later_is_found(make_session, tmp_path, monkeypatch, free_port) -> None:
    pytest.importorskip("viser", reason="viser is not installed: extra play")
    from beyondmimic_data.play import viewer as module

    monkeypatch.setattr(module, "GAMEPAD_RETRY_SECONDS", 0.05)
    viewer = module.Viewer(make_session(), port=free_port, gamepad=tmp_path / "js0")
    try:
        viewer.run(seconds=0.2)
        assert viewer._session.command.forward == 0.0
        viewer._stop.clear()
        os.mkfifo(tmp_path / "js0")
        keep = os.open(tmp_path / "js0", os.O_RDWR)
        os.write(keep, event(AXIS, 1, -FULL))
        viewer.run(seconds=1.0)
        deadline = time.monotonic() + 5.0
        while viewer._session.command.forward != 1.0 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert viewer._session.command.forward == 1.0
        os.close(keep)
    finally:
        viewer.close()
