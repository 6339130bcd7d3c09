"""Pilots: what turns a command or a goal into the steering of plans, for many robots at once."""

import dataclasses

import torch

from beyondmimic_data.config import GuidanceConfig
from beyondmimic_data.control.closed_loop import Steering
from beyondmimic_data.diffusion.frames import Frames
from beyondmimic_data.diffusion.representation import character_frame
from beyondmimic_data.diffusion.sampler import Cost, Guidance
from beyondmimic_data.guidance.costs import Joystick, Obstacle, Sum, Waypoint
from beyondmimic_data.guidance.pillar_field import PillarField

FORWARD_SPEED = 0.6
"""m/s, largest forward velocity on the way to a goal."""
BACKWARD_SPEED = 0.3
"""m/s, largest backward velocity on the way to a goal."""
SIDEWAYS_SPEED = 0.3
"""m/s, largest sideways velocity on the way to a goal."""
APPROACH_RATE = 0.8
"""1/s; m/s of velocity for each metre that is left to a goal."""
TURN_RATE = 0.8
"""rad/s, largest yaw rate on the way to a goal."""
BEARING_RATE = 1.5
"""1/s; rad/s of yaw rate for each radian that a goal lies off the heading."""
TURN_DISTANCE = 0.6
"""m; closer to a goal turning towards it fades out, as its bearing means less and less."""
STOP_RADIUS = 0.1
"""m; closer to a goal than this a robot is told to stand."""
NEAREST_PILLARS = 4
"""Pillars that a plan of 0.3 s minds; the others are out of reach."""


@dataclasses.dataclass(frozen=True)
class CommandTrack:
    """Joystick commands of N robots over S control steps; the last one stays."""

    velocity: torch.Tensor
    """(S, N, 2) m/s, forward and left of the robot's heading."""
    yaw_rate: torch.Tensor
    """(S, N) rad/s; 0 holds the heading."""

    def at(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return velocities (N, 2) and yaw rates (N,) of a control step."""
        index = min(step, len(self.velocity) - 1)
        return self.velocity[index], self.yaw_rate[index]


def command_guidance(
    velocity: torch.Tensor, yaw_rate: torch.Tensor, config: GuidanceConfig, also: Cost | None = None
) -> Guidance:
    """Return the guidance that makes plans follow a command: all arithmetic of commands is here.

    Args:
        velocity: (N, 2) m/s, forward and left of the heading.
        yaw_rate: (N,) rad/s; 0 holds the heading.
        config: gain, scale and bounds.
        also: another cost, added to the command's.
    """
    cost: Cost = Joystick(config.command_gain * velocity, config.command_gain * yaw_rate)
    return _guidance(cost, config, also)


def _guidance(cost: Cost, config: GuidanceConfig, also: Cost | None) -> Guidance:
    if also is not None:
        cost = Sum(((1.0, cost), (config.obstacle_weight, also)))
    return Guidance(cost, scale=config.scale, max_norm=config.max_norm, max_ratio=config.max_ratio)


class JoystickPilot:
    """Steers by the commands of a track."""

    def __init__(self, track: CommandTrack, guidance: GuidanceConfig, control_hz: float) -> None:
        """Take the commands of N robots, how plans are made to follow them, and control steps a second."""
        self.track, self.guidance, self.control_hz = track, guidance, control_hz

    def steer(self, step: int, history: Frames) -> Steering:
        """Return the steering of a control step."""
        velocity, yaw_rate = self.track.at(step)
        return Steering(
            command_guidance(velocity, yaw_rate, self.guidance), command=_command(velocity, yaw_rate)
        )


class WaypointPilot:
    """Steers to a goal, past pillars where there are any, and stops there."""

    def __init__(
        self,
        goal: torch.Tensor,
        guidance: GuidanceConfig,
        *,
        stop_radius: float = STOP_RADIUS,
        pillars: PillarField | None = None,
    ) -> None:
        """Take goals (N, 2) in m in the world, and how plans are steered there.

        Args:
            goal: one of each robot.
            guidance: gives the mode: the papers' cost, or a velocity as a joystick would command it.
            stop_radius: m; closer than this a robot is told to stand.
            pillars: upright obstacles of each robot.
        """
        self.goal, self.guidance, self.stop_radius, self.pillars = goal, guidance, stop_radius, pillars

    def steer(self, step: int, history: Frames) -> Steering:
        """Return the steering of a control step."""
        avoid = self._avoid(history)
        if self.guidance.waypoint_mode == "cost":
            return Steering(_guidance(Waypoint(self.goal), self.guidance, avoid))
        velocity, yaw_rate = self.command(history)
        guidance = command_guidance(velocity, yaw_rate, self.guidance, avoid)
        return Steering(guidance, command=_command(velocity, yaw_rate))

    def command(self, history: Frames) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the velocity (N, 2) in m/s towards the goal in the heading's axes, and the yaw rate (N,).

        The velocity is proportional to the way that is left, shortened to what the robot can do in that
        direction; it turns to face the goal.
        """
        current = history.num_frames - 1
        offset = character_frame(history, current).to_local(self.goal[:, None])[:, 0]
        distance = offset.norm(dim=-1)
        wanted = APPROACH_RATE * offset
        excess = torch.stack(
            [
                wanted[:, 0] / FORWARD_SPEED,
                -wanted[:, 0] / BACKWARD_SPEED,
                wanted[:, 1].abs() / SIDEWAYS_SPEED,
                torch.ones_like(distance),
            ]
        ).amax(0)
        bearing = torch.atan2(offset[:, 1], offset[:, 0])
        turning = (BEARING_RATE * bearing).clamp(-TURN_RATE, TURN_RATE)
        moving = (distance > self.stop_radius).to(offset)
        fading = (distance / TURN_DISTANCE).clamp_max(1.0)
        return wanted / excess[:, None] * moving[:, None], turning * fading * moving

    def _avoid(self, history: Frames) -> Cost | None:
        if self.pillars is None:
            return None
        return Obstacle((self.pillars.nearest(history.root_pos_w[:, -1, :2], NEAREST_PILLARS),))


def _command(velocity: torch.Tensor, yaw_rate: torch.Tensor) -> torch.Tensor:
    return torch.cat([velocity, yaw_rate[:, None]], -1)
