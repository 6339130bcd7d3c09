"""Pilots: what turns a command or a goal into the steering of plans, for many robots at once."""

import dataclasses
import math

import torch

from beyondmimic_data import rotations
from beyondmimic_data.config import GuidanceConfig
from beyondmimic_data.control.closed_loop import Steering
from beyondmimic_data.control.settings import GuidanceSettings
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
"""Pillars that a plan minds; the others are out of reach."""
SLOW = 0.2
"""m/s; a slower command teaches little of how commands are followed."""
ACROSS_LIMIT = 0.2
"""m/s, bound of the correction across a command, along each axis."""
FORGET_SECONDS = 2.0
"""s in which a correction across a command fades."""
LOOK_AHEAD = 1.8
"""m, how far a way has to be free of pillars."""
CLEARANCE = 0.45
"""m from a root to a pillar's surface that counts as free: half a robot with its arms, and some sway."""
WAYS = 61
"""Directions compared, within a right angle of the goal's."""
CLEARANCE_WEIGHT = 4.0
"""rad of detour that the whole clearance is worth."""
HEADING_WEIGHT = 0.1
"""Preference for the way the robot faces: it keeps to one side of a pillar that stands in the middle."""


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


def joystick_guidance(
    velocity: torch.Tensor,
    yaw_rate: torch.Tensor,
    config: GuidanceConfig,
    also: Cost | None = None,
    settings: GuidanceSettings | None = None,
) -> Guidance:
    """Return the guidance that asks plans for a velocity.

    Args:
        velocity: (N, 2) m/s, forward and left of the heading.
        yaw_rate: (N,) rad/s.
        config: scale and bounds.
        also: another cost, added to the command's.
        settings: scale and bound instead of the configuration's.
    """
    cost = Joystick(velocity, yaw_rate, sway_weight=config.sway_weight)
    return _guidance(cost, config, also, settings)


def _guidance(
    cost: Cost, config: GuidanceConfig, also: Cost | None, settings: GuidanceSettings | None = None
) -> Guidance:
    if also is not None:
        cost = Sum(((1.0, cost), (config.obstacle_weight, also)))
    chosen = settings or GuidanceSettings.of(config)
    return Guidance(
        cost,
        scale=chosen.scale,
        max_norm=chosen.max_norm,
        max_ratio=config.max_ratio,
        until_level=config.until_level,
    )


@dataclasses.dataclass(frozen=True)
class Request:
    """What N robots are commanded, and what feedback adds to it."""

    velocity: torch.Tensor
    """(N, 2) m/s commanded, forward and left of the heading."""
    yaw_rate: torch.Tensor
    """(N,) rad/s commanded."""
    more_velocity: torch.Tensor
    """(N, 2) m/s."""
    more_yaw_rate: torch.Tensor
    """(N,) rad/s."""
    bounds: GuidanceConfig
    """Has the ranges of what is ever asked."""

    def asked(self, settings: GuidanceSettings) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what to ask plans for: velocities (N, 2) in m/s and yaw rates (N,) in rad/s."""
        gain = torch.as_tensor(settings.velocity_gain, dtype=self.velocity.dtype).reshape(-1, 1)
        velocity = gain * self.velocity + self.more_velocity
        yaw_rate = settings.yaw_rate_gain * self.yaw_rate + self.more_yaw_rate
        forward, left = (
            velocity[:, 0].clamp(*self.bounds.forward),
            velocity[:, 1].clamp(*self.bounds.sideways),
        )
        return torch.stack([forward, left], -1), yaw_rate.clamp(*self.bounds.turn)


class CommandFollower:
    """Asks plans for more or less than is commanded, until the robot does what is.

    Guidance alone leaves an error, as a plan is a compromise between the cost and what the policy would do
    anyway. So the velocity's error is integrated, and the yaw rate is corrected by the heading's lag. This is
    the one place with the arithmetic of commands.
    """

    def __init__(self, config: GuidanceConfig, control_hz: float) -> None:
        """Begin without memory; the first call learns how many robots there are."""
        self.config, self.dt = config, 1.0 / control_hz
        self._share, self._across = torch.zeros(0, 1), torch.zeros(0, 2)
        self._heading = torch.zeros(0)
        self._velocity, self._yaw_rate = torch.zeros(0, 2), torch.zeros(0)

    def __call__(
        self, velocity: torch.Tensor, yaw_rate: torch.Tensor, history: Frames
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what to ask plans for: velocities (N, 2) in m/s and yaw rates (N,) in rad/s."""
        return self.request(velocity, yaw_rate, history).asked(GuidanceSettings.of(self.config))

    def steering(
        self, velocity: torch.Tensor, yaw_rate: torch.Tensor, history: Frames, also: Cost | None = None
    ) -> Steering:
        """Return the steering that follows a command, with the cost of something else beside it."""
        request = self.request(velocity, yaw_rate, history)

        def adjusted(settings: GuidanceSettings) -> Guidance:
            return joystick_guidance(*request.asked(settings), self.config, also, settings)

        command = torch.cat([velocity, yaw_rate[:, None]], -1)
        return Steering(adjusted(GuidanceSettings.of(self.config)), command=command, adjusted=adjusted)

    def forget(self, ids: torch.Tensor) -> None:
        """Begin anew with some robots."""
        self._share, self._across = (x.index_fill(0, ids, 0.0) for x in (self._share, self._across))
        self._heading = self._heading.index_fill(0, ids, torch.nan)

    def request(self, velocity: torch.Tensor, yaw_rate: torch.Tensor, history: Frames) -> Request:
        """Return a command with what the last control steps have shown that it lacks.

        Args:
            velocity: (N, 2) m/s commanded, forward and left of the heading.
            yaw_rate: (N,) rad/s commanded; 0 holds the heading.
            history: past and current states (N, past + 1, ...).
        """
        config = self.config
        yaw = rotations.yaw(history.root_quat_w[:, -1])
        turned = rotations.rotate_inverse(rotations.from_yaw(yaw), history.root_lin_vel_w[:, -1])
        turn_rate = history.root_ang_vel_w[:, -1, 2]
        if len(self._heading) != len(yaw):
            self._share, self._across = torch.zeros(len(yaw), 1), torch.zeros(len(yaw), 2)
            self._heading = yaw.clone()
            self._velocity, self._yaw_rate = turned[:, :2].clone(), turn_rate.clone()
        forgotten = self._heading.isnan()
        self._heading = torch.where(forgotten, yaw, self._heading)
        self._velocity = torch.where(forgotten[:, None], turned[:, :2], self._velocity)
        self._yaw_rate = torch.where(forgotten, turn_rate, self._yaw_rate)
        velocity, yaw_rate = self._ramped(velocity, yaw_rate)
        wanted = self._heading + yaw_rate * self.dt
        lag = torch.remainder(wanted - yaw + math.pi, 2 * math.pi) - math.pi
        lag = lag.clamp(-config.heading_limit, config.heading_limit)
        self._heading = yaw + lag
        more = self._correction(velocity, velocity - turned[:, :2])
        return Request(velocity, yaw_rate, more, config.heading_gain * lag, config)

    def _correction(self, velocity: torch.Tensor, error: torch.Tensor) -> torch.Tensor:
        """Integrate the error (N, 2), and return what to ask for beside the command (N, 2), m/s.

        Along the command a share of it is learned, so that the correction turns and stops with the command: a
        velocity that was learned would go on after a reversal. Across it there is no command to take a share
        of.
        """
        config, speed = self.config, velocity.norm(dim=-1, keepdim=True)
        along = velocity / speed.clamp_min(1e-6)
        ahead = (error * along).sum(-1, keepdim=True)
        step = config.integral_gain * self.dt
        share = self._share + step * ahead / speed.clamp_min(SLOW)
        self._share = torch.where(speed > SLOW / 2, share, self._share)
        self._share = self._share.clamp(-config.integral_limit, config.integral_limit)
        self._across = self._across + step * (error - ahead * along) * (speed > SLOW / 2)
        self._across = self._across.clamp(-ACROSS_LIMIT, ACROSS_LIMIT) * (1 - self.dt / FORGET_SECONDS)
        return self._share * velocity + self._across

    def _ramped(self, velocity: torch.Tensor, yaw_rate: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the command as it is asked for now: it follows a jump with bounded acceleration."""
        change = velocity - self._velocity
        size = change.norm(dim=-1, keepdim=True)
        step = self.config.acceleration * self.dt
        self._velocity = self._velocity + change * (step / size.clamp_min(step))
        turn = self.config.turn_acceleration * self.dt
        self._yaw_rate = self._yaw_rate + (yaw_rate - self._yaw_rate).clamp(-turn, turn)
        return self._velocity, self._yaw_rate


def way_round(offset: torch.Tensor, pillars: torch.Tensor, radius: float) -> torch.Tensor:
    """Turn the way to a goal to the best free direction: little detour, much clearance.

    Args:
        offset: (N, 2) m, the goal in the heading's axes.
        pillars: (N, P, 2) m, axes of pillars there.
        radius: m, of the pillars.

    Returns:
        Offsets (N, 2) as long as before.
    """
    distance = offset.norm(dim=-1)
    turns = torch.linspace(-math.pi / 2, math.pi / 2, WAYS).to(offset)
    angle = torch.atan2(offset[:, 1], offset[:, 0])[:, None] + turns
    ways = torch.stack([torch.cos(angle), torch.sin(angle)], -1)
    along = (ways @ pillars.mT).clamp_min(0).minimum(distance.clamp_max(LOOK_AHEAD)[:, None, None])
    gap = (pillars[:, None] - along[..., None] * ways[:, :, None]).norm(dim=-1).amin(-1) - radius
    shortfall = (1 - gap / CLEARANCE).clamp_min(0)
    off_heading = torch.atan2(torch.sin(angle), torch.cos(angle)).abs()
    best = (turns.abs() + CLEARANCE_WEIGHT * shortfall + HEADING_WEIGHT * off_heading).argmin(-1)
    return distance[:, None] * ways[torch.arange(len(ways)), best]


class JoystickPilot:
    """Steers by the commands of a track."""

    def __init__(self, track: CommandTrack, guidance: GuidanceConfig, control_hz: float) -> None:
        """Take the commands of N robots, how plans are made to follow them, and control steps a second."""
        self.track = track
        self._follow = CommandFollower(guidance, control_hz)

    def steer(self, step: int, history: Frames) -> Steering:
        """Return the steering of a control step."""
        return self._follow.steering(*self.track.at(step), history)

    def forget(self, ids: torch.Tensor) -> None:
        """Begin anew with some robots."""
        self._follow.forget(ids)


class WaypointPilot:
    """Steers to a goal, past pillars where there are any, and stops there."""

    def __init__(
        self,
        goal: torch.Tensor,
        guidance: GuidanceConfig,
        control_hz: float,
        *,
        stop_radius: float = STOP_RADIUS,
        pillars: PillarField | None = None,
    ) -> None:
        """Take goals (N, 2) in m in the world, and how plans are steered there.

        Args:
            goal: one of each robot.
            guidance: gives the mode: the papers' cost, or a velocity as a joystick would command it.
            control_hz: control steps a second.
            stop_radius: m; closer than this a robot is told to stand.
            pillars: upright obstacles of each robot.
        """
        self.goal, self.guidance, self.stop_radius, self.pillars = goal, guidance, stop_radius, pillars
        self._follow = CommandFollower(guidance, control_hz)

    def steer(self, step: int, history: Frames) -> Steering:
        """Return the steering of a control step."""
        avoid = self._avoid(history)
        if self.guidance.waypoint_mode == "cost":
            return Steering(_guidance(Waypoint(self.goal), self.guidance, avoid))
        return self._follow.steering(*self.command(history), history, avoid)

    def command(self, history: Frames) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the velocity (N, 2) in m/s towards the goal in the heading's axes, and the yaw rate (N,).

        The velocity is proportional to the way that is left, shortened to what the robot can do in that
        direction; it turns to face where it goes, which is the goal or a way round pillars.
        """
        frame = character_frame(history, history.num_frames - 1)
        offset = frame.to_local(self.goal[:, None])[:, 0]
        distance = offset.norm(dim=-1)
        if self.pillars is not None:
            near = self.pillars.nearest(frame.xy, NEAREST_PILLARS)
            offset = way_round(offset, frame.to_local(near.centre), near.radius)
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
        if self.pillars is None or self.guidance.obstacle_weight == 0:
            return None
        return Obstacle((self.pillars.nearest(history.root_pos_w[:, -1, :2], NEAREST_PILLARS),))
