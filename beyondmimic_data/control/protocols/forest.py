"""Through a forest of pillars to a point (METHOD E10)."""

from collections.abc import Mapping

import numpy as np
import torch

from beyondmimic_data.control.closed_loop import Recording
from beyondmimic_data.control.pilot import WaypointPilot
from beyondmimic_data.control.protocols import starts
from beyondmimic_data.control.protocols.judging import mean_of
from beyondmimic_data.control.protocols.protocol import Judgement, Protocol, Setting, Task, register_protocol
from beyondmimic_data.control.protocols.waypoint import distance_to, first_time
from beyondmimic_data.guidance.pillar_field import PillarField
from beyondmimic_data.sim.backend import RobotState

GOAL_DISTANCE = 6.0
"""m, goal straight ahead of the start."""
REACHED = 0.5
"""m from the goal that counts as there."""
PILLAR_RADIUS = 0.2
"""m."""
PILLARS = 6
"""Pillars of each robot."""
FIELD_AHEAD, FIELD_ASIDE = (1.4, 4.8), (-1.6, 1.6)
"""m, where their axes stand, ahead and left of the start."""
IN_THE_WAY = 0.3
"""m; the first pillar stands closer than this to the straight line to the goal."""
GAP = 1.0
"""m between the surfaces of any two pillars; a robot with its arms is 0.6 m wide, so there is a way."""
BODY_RADIUS = 0.05
"""m; a body's origin closer than this to a pillar's surface collides."""
DRAWS = 200
"""Places tried before a forest is begun anew."""


def draw_pillars(rng: np.random.Generator) -> np.ndarray:
    """Return axes (P, 2) of pillars in a start's frame, m: one in the way, all apart from each other."""
    while True:
        ahead, aside = rng.uniform(*FIELD_AHEAD, DRAWS), rng.uniform(*FIELD_ASIDE, DRAWS)
        aside[0] = rng.uniform(-IN_THE_WAY, IN_THE_WAY)
        kept: list[np.ndarray] = []
        for place in np.stack([ahead, aside], -1):
            if all(np.linalg.norm(place - other) >= GAP + 2 * PILLAR_RADIUS for other in kept):
                kept.append(place)
            if len(kept) == PILLARS:
                return np.stack(kept)


def judge(goal: torch.Tensor, recording: Recording) -> Judgement:
    """Succeed at the goal without a collision on the way and without a fall."""
    reached = first_time(distance_to(goal, recording) < REACHED, 1, recording.control_hz)
    on_the_way = np.arange(len(recording.qpos))[:, None] / recording.control_hz <= reached
    clearance = np.where(on_the_way, recording.measured["clearance"], np.inf).min(0)
    collided = ~(clearance >= 0)
    success = np.isfinite(reached) & ~collided & ~recording.fell
    return success, {
        "collisions": int(collided.sum()),
        "reached": int(np.isfinite(reached).sum()),
        "mean_seconds_to_goal": mean_of(reached, success),
        "mean_clearance_m": mean_of(clearance, ~recording.fell),
    }


def make(setting: Setting) -> Task:
    """Return the task: a forest of its own for each robot."""
    rng = setting.rng()
    local = np.stack([draw_pillars(rng) for _ in range(setting.n)]).astype(np.float32)
    pillars = PillarField(setting.frame.to_world(torch.from_numpy(local)), PILLAR_RADIUS)
    ahead = torch.tensor([GOAL_DISTANCE, 0.0]).expand(setting.n, 1, 2)
    goal = setting.frame.to_world(ahead)[:, 0]

    def measure(row: int, state: RobotState) -> Mapping[str, np.ndarray]:
        return {"clearance": pillars.distance(state.body_pos_w).amin(-1).numpy() - BODY_RADIUS}

    return Task(
        judge=lambda recording: judge(goal, recording),
        steer=WaypointPilot(goal, setting.guidance, setting.control_hz, pillars=pillars).steer,
        measure=measure,
        goal=goal,
        pillars=pillars,
    )


register_protocol(
    Protocol(
        name="forest",
        description=f"A goal 6 m ahead behind {PILLARS} pillars of 0.2 m radius, other ones for each run, at "
        "least 1 m apart, the first in the straight way. The pillars are not in the simulation: a robot "
        "collides when the origin of any of its 30 bodies is less than 0.05 m from a surface or inside. "
        "Success: within 30 s the root is within 0.5 m of the goal without a collision until then, and there "
        "is no fall.",
        seconds=30.0,
        start=starts.upright,
        start_name="upright",
        make=make,
        criteria={"reached_m": REACHED, "body_radius_m": BODY_RADIUS},
    )
)
