import dataclasses

import numpy as np
import pytest
import torch
from made_recordings import HZ, obey

from beyondmimic_data.control.protocols import get_protocol
from beyondmimic_data.control.protocols.commands import one_after_another
from beyondmimic_data.control.protocols.joystick import COMMANDS
from beyondmimic_data.control.protocols.tour import GOAL, TourPilot, judge
from beyondmimic_data.diffusion.representation import character_frame
from beyondmimic_data.guidance.costs import Joystick


@pytest.fixture
def pilot(setting) -> TourPilot:
    return TourPilot(setting(2))


def toured(pilot: TourPilot, clearance: float = 0.3):
    """A recording of robots that obey the joystick, and are at their goals in the end."""
    recording = obey(one_after_another(COMMANDS, 3.0, 2, HZ), 28.0)
    recording.qpos[-1, :, :2] = pilot.goal.numpy()
    return dataclasses.replace(recording, measured={"clearance": np.full(recording.yaw.shape, clearance)})


def test_goal_and_pillars_are_laid_out_where_the_commands_end(pilot) -> None:
    history = pilot.setting.windows.time(slice(0, 5))
    steering = pilot.steer(0, history)
    assert isinstance(steering.guidance.cost, Joystick)
    assert torch.isnan(pilot.goal).all()
    assert (pilot.pillars.distance(history.root_pos_w) > 1e6).all()
    pilot.steer(pilot.switch, history)
    frame = character_frame(history, 4)
    torch.testing.assert_close(
        frame.to_local(pilot.goal[:, None])[:, 0], torch.tensor([GOAL, GOAL]), atol=1e-5, rtol=0
    )
    before = pilot.goal.clone()
    pilot.steer(pilot.switch + 1, pilot.setting.windows.time(slice(1, 6)))
    assert torch.equal(pilot.goal, before)


def test_following_and_arriving_without_a_touch_succeeds(pilot) -> None:
    pilot.steer(pilot.switch, pilot.setting.windows.time(slice(0, 5)))
    success, figures = judge(pilot, toured(pilot))
    assert success.all()
    assert (figures["followed"], figures["reached"], figures["collisions"]) == (2, 2, 0)
    assert not judge(pilot, toured(pilot, clearance=-0.01))[0].any()
    lost = toured(pilot)
    lost.qpos[-1, 0, 0] += 0.6
    assert judge(pilot, lost)[0].tolist() == [False, True]
    deaf = toured(pilot)
    deaf.root_lin_vel[:, 1, 0] = 0.0
    assert judge(pilot, deaf)[0].tolist() == [True, False]


def test_a_run_that_ends_before_the_goal_was_laid_out_fails(pilot) -> None:
    recording = toured(pilot)
    assert not judge(pilot, recording)[0].any()


def test_the_protocol_is_as_long_as_both_parts() -> None:
    assert get_protocol("tour").seconds == 28.0
