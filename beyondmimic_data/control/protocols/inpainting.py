"""Passing through recorded states that stand in the plan as keyframes (METHOD E11)."""

from collections.abc import Mapping

import numpy as np

from beyondmimic_data.control.closed_loop import Recording, Steering
from beyondmimic_data.control.protocols import starts
from beyondmimic_data.control.protocols.judging import mean_of
from beyondmimic_data.control.protocols.protocol import Judgement, Protocol, Setting, Task, register_protocol
from beyondmimic_data.diffusion.frames import Frames, concatenate
from beyondmimic_data.guidance.keyframes import KeyframePlan
from beyondmimic_data.sim.backend import RobotState

INTERVAL = 0.2
"""s between keyframes (METHOD 3.5)."""
SECONDS = 5.0
"""Length of a run; the policy is unguided after the last keyframe."""


def keyframe_steps(frames: int, current: int, control_hz: float) -> tuple[int, ...]:
    """Return the control steps of keyframes in windows of some frames: every 0.2 s, and the last frame."""
    interval, last = round(INTERVAL * control_hz), frames - 1 - current
    return tuple(sorted({*range(interval, last + 1, interval), last}))


def judge(recording: Recording) -> Judgement:
    """Succeed without a fall; errors at keyframes of the runs that stayed up."""
    up = ~recording.fell
    root, body = (np.array(recording.measured[name]) for name in ("root_error", "body_error"))
    given = np.isfinite(root).any(1)
    return up, {
        "keyframes": int(given.sum()),
        "root_error_m": mean_of(root[given][:, up].ravel()),
        "body_error_m": mean_of(body[given][:, up].ravel()),
        "root_error_by_keyframe_m": {
            f"{row / recording.control_hz:g} s": mean_of(root[row], up) for row in np.flatnonzero(given)
        },
    }


def make(setting: Setting) -> Task:
    """Return the task: the recorded future of each robot's own start."""
    policy, windows = setting.policy, setting.windows
    current = policy.current
    steps = keyframe_steps(windows.num_frames, current, setting.control_hz)
    frames = concatenate([windows.time(slice(current + s, current + s + 1)) for s in steps], dim=1)
    plan = KeyframePlan(frames.to(policy.device), steps)

    def steer(step: int, history: Frames) -> Steering:
        return Steering(keyframes=plan.at(policy, history.to(policy.device), step))

    def measure(row: int, state: RobotState) -> Mapping[str, np.ndarray]:
        if row not in steps:
            return {name: np.full(setting.n, np.nan) for name in ("root_error", "body_error")}
        index = steps.index(row)
        root = state.root_pos_w - frames.root_pos_w[:, index]
        body = state.body_pos_w - frames.body_pos_w[:, index] - root[:, None]
        return {
            "root_error": root.norm(dim=-1).numpy(),
            "body_error": body.norm(dim=-1).mean(-1).numpy(),
        }

    return Task(judge=judge, steer=steer, measure=measure)


register_protocol(
    Protocol(
        name="inpainting",
        description="5 s from a walking start. The states recorded 0.2 s after it and at the end of its "
        "recorded window (0.32 s) stand clean in the plan until their time has come; after that the policy "
        "is unguided. Recorded windows are 0.42 s long, so there are no later keyframes. Success: no fall. "
        "Errors at keyframes: of the root, and of all bodies relative to the root, mean over them.",
        seconds=SECONDS,
        start=starts.walking,
        start_name="walking",
        make=make,
        criteria={"keyframe_interval_s": INTERVAL},
    )
)
