import pytest
from made_recordings import HZ, obey, record

from beyondmimic_data.control.protocols.commands import one_after_another
from beyondmimic_data.control.protocols.joystick import COMMANDS, judge


def obedient(n: int):
    """Robots that do exactly what the joystick says."""
    return obey(one_after_another(COMMANDS, 3.0, n, HZ), 12.0)


def test_doing_what_the_joystick_says_succeeds() -> None:
    success, figures = judge(obedient(3))
    assert success.all()
    assert figures["commands"]["forward"]["velocity_error_m_s"] == pytest.approx(0.0, abs=1e-6)
    assert figures["commands"]["left"]["turned_rad"] == pytest.approx(1.6)
    assert figures["commands"]["right"]["turned_rad"] == pytest.approx(-1.6)


def test_standing_still_or_walking_straight_does_not_follow() -> None:
    still, figures = judge(record(12.0, 2))
    assert not still.any()
    assert [c["following"] for c in figures["commands"].values()] == [0.0] * 4
    straight = obedient(2)
    straight.yaw[:] = 0
    success, figures = judge(straight)
    assert not success.any()
    assert [c["following"] for c in figures["commands"].values()] == [1.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize(("share", "success"), [(0.49, False), (0.51, True), (-1.0, False)])
def test_half_of_the_turn_is_the_border(share, success) -> None:
    recording = obedient(1)
    recording.yaw[:] *= share
    assert judge(recording)[0].tolist() == [success]


def test_a_tolerable_error_and_a_settling_time_are_granted() -> None:
    slow = obedient(1)
    slow.root_lin_vel[:, 0, 0] += 0.2
    slow.root_lin_vel[:40, 0, 0] = -3.0
    assert judge(slow)[0].all()
    slow.root_lin_vel[:, 0, 0] += 0.1
    assert not judge(slow)[0].any()


def test_success_grows_with_the_tolerance() -> None:
    off = obedient(2)
    off.root_lin_vel[:, 0, 1] += 0.12
    off.root_lin_vel[:, 1, 1] += 0.32
    assert judge(off)[1]["success_by_tolerance"] == {
        "0.1": 0.0,
        "0.15": 0.5,
        "0.2": 0.5,
        "0.25": 0.5,
        "0.3": 0.5,
        "0.35": 1.0,
        "0.4": 1.0,
    }


def test_a_run_that_ended_early_follows_nothing_more() -> None:
    short = record(4.0, 2)
    short.head_height[-1] = 0.1
    success, figures = judge(short)
    assert not success.any()
    assert list(figures["commands"]) == ["forward"]


def test_commands_follow_one_another() -> None:
    track = one_after_another(COMMANDS, 3.0, 2, HZ)
    given = [track.at(t) for t in (0, 149, 150, 300, 450, 599, 700)]
    speeds = [velocity[1, 0].item() for velocity, _ in given]
    assert speeds == pytest.approx([0.6, 0.6, -0.4, 0.3, 0.3, 0.3, 0.3])
    assert [rate[0].item() for _, rate in given] == pytest.approx([0, 0, 0, 0.8, -0.8, -0.8, -0.8])
