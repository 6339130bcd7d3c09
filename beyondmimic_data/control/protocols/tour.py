"""What a person would try first: the joystick's commands, then round two pillars to a point."""

from collections.abc import Mapping

import numpy as np
import torch

from beyondmimic_data.control.closed_loop import Recording, Steering
from beyondmimic_data.control.pilot import JoystickPilot, WaypointPilot
from beyondmimic_data.control.protocols import joystick, starts
from beyondmimic_data.control.protocols.commands import one_after_another
from beyondmimic_data.control.protocols.forest import BODY_RADIUS, PILLAR_RADIUS, REACHED
from beyondmimic_data.control.protocols.protocol import Judgement, Protocol, Setting, Task, register_protocol
from beyondmimic_data.control.protocols.waypoint import distance_to, first_time
from beyondmimic_data.diffusion.frames import Frames
from beyondmimic_data.diffusion.representation import character_frame
from beyondmimic_data.guidance.pillar_field import PillarField
from beyondmimic_data.sim.backend import RobotState

PILLARS = ((1.8, 0.15), (3.4, -0.15))
"""m, axes of the pillars, ahead and left of where the joystick's commands end."""
GOAL = (5.0, 0.0)
"""m, there too."""
WALK_SECONDS = 16.0
"""s for the way to the goal."""
COMMANDED_SECONDS = len(joystick.COMMANDS) * joystick.COMMAND_SECONDS


class TourPilot:
    """Steers by the joystick's commands, then to a goal that it lays out, with pillars, where these end."""

    def __init__(self, setting: Setting) -> None:
        """Prepare both parts; where goal and pillars are is known when the second begins."""
        self.setting = setting
        self.switch = round(COMMANDED_SECONDS * setting.control_hz)
        track = one_after_another(joystick.COMMANDS, joystick.COMMAND_SECONDS, setting.n, setting.control_hz)
        self._joystick = JoystickPilot(track, setting.guidance, setting.control_hz)
        self._waypoint: WaypointPilot | None = None
        self.goal = torch.full((setting.n, 2), torch.nan)
        """(N, 2) m in the world, not a number before the second part."""
        self.pillars = PillarField(torch.full((setting.n, len(PILLARS), 2), torch.inf), PILLAR_RADIUS)
        """Infinitely far away before the second part."""

    def steer(self, step: int, history: Frames) -> Steering:
        """Return the steering of a control step."""
        if step < self.switch:
            return self._joystick.steer(step, history)
        if self._waypoint is None:
            frame = character_frame(history, history.num_frames - 1)
            n = self.setting.n
            self.goal.copy_(frame.to_world(torch.tensor([GOAL]).expand(n, 1, 2))[:, 0])
            self.pillars.centre.copy_(frame.to_world(torch.tensor([PILLARS]).expand(n, -1, 2)))
            self._waypoint = WaypointPilot(
                self.goal, self.setting.guidance, self.setting.control_hz, pillars=self.pillars
            )
        return self._waypoint.steer(step - self.switch, history)


def judge(pilot: TourPilot, recording: Recording) -> Judgement:
    """Succeed where every command was followed, and the goal reached without a collision or a fall."""
    followed, figures = joystick.judge(recording)
    reached = first_time(distance_to(pilot.goal, recording) < REACHED, 1, recording.control_hz)
    clearance = recording.measured["clearance"].min(0)
    collided = ~(clearance >= 0)
    success = followed & np.isfinite(reached) & ~collided & ~recording.fell
    return success, {
        **figures,
        "followed": int(followed.sum()),
        "reached": int(np.isfinite(reached).sum()),
        "collisions": int(collided.sum()),
    }


def make(setting: Setting) -> Task:
    """Return the task: the same commands for all, then a goal and pillars before each robot."""
    pilot = TourPilot(setting)

    def measure(row: int, state: RobotState) -> Mapping[str, np.ndarray]:
        return {"clearance": pilot.pillars.distance(state.body_pos_w).amin(-1).numpy() - BODY_RADIUS}

    return Task(
        judge=lambda recording: judge(pilot, recording),
        steer=pilot.steer,
        measure=measure,
        goal=pilot.goal,
        pillars=pilot.pillars,
    )


register_protocol(
    Protocol(
        name="tour",
        description="The joystick protocol's commands, then to a goal 5 m ahead past two pillars of 0.2 m "
        "radius that stand in the straight way, within 16 s. Success: every command followed as there, the "
        "goal reached within 0.5 m, no body within 0.05 m of a pillar, no fall.",
        seconds=COMMANDED_SECONDS + WALK_SECONDS,
        start=starts.upright,
        start_name="upright",
        make=make,
        criteria={"reached_m": REACHED, "body_radius_m": BODY_RADIUS},
    )
)
