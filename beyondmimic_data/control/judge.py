"""The judge of a training: tries a policy in closed loop on seeds of its own, and gives one number."""

import numpy as np

from beyondmimic_data.config import Preset, Range
from beyondmimic_data.control.closed_loop import ClosedLoop, Recording, run
from beyondmimic_data.control.evaluate import draw_starts
from beyondmimic_data.control.protocols import PROTOCOLS, SETTLING_SECONDS, Protocol, commander, pusher
from beyondmimic_data.diffusion.policy import DiffusionPolicy
from beyondmimic_data.diffusion.windows import RecordedWindows

JUDGE_SEED = 1_000_000
"""Seeds of trials; those of reports begin at ``ClosedLoopConfig.seed``."""
WORST_ERROR = 0.5
"""m/s, error of the mean velocity that counts as not following at all."""


class ClosedLoopJudge:
    """Plays the joystick protocol, pushed, with a few robots."""

    def __init__(self, windows: RecordedWindows, preset: Preset, *, runs: int, latency_ms: Range) -> None:
        """Keep what every trial begins from.

        Args:
            windows: recorded windows, for starts.
            preset: control rate, sampling and guidance.
            runs: robots.
            latency_ms: range of the delay after the policy.
        """
        self.windows, self.preset, self.runs, self.latency_ms = windows, preset, runs, latency_ms

    def __call__(self, policy: DiffusionPolicy) -> dict[str, float]:
        """Return ``score`` in 0 to 1 and its factors.

        ``upright`` is the share of the time that robots were up; ``following`` is 1 where the mean velocity
        of every command's last seconds was the commanded one, 0 from ``WORST_ERROR`` on. The score is their
        product.
        """
        protocol, config = PROTOCOLS["joystick"], self.preset.closed_loop
        starts = draw_starts(self.windows, policy, protocol, self.runs, JUDGE_SEED)
        if starts is None:
            return {"score": 0.0, "upright": 0.0, "following": 0.0}
        loop = ClosedLoop(
            policy,
            starts,
            self.preset.control,
            sampler=config.sampler,
            plan_first=config.plan_first,
            latency_ms=self.latency_ms,
            seed=JUDGE_SEED,
        )
        hz = self.preset.control.control_hz
        steer = commander(protocol.commands, hz, config.guidance_scale)
        push = pusher(self.runs, hz, JUDGE_SEED)
        recording = run(loop, round(protocol.seconds * hz), steer=steer, push=push, what="trial")
        return score(protocol, recording)


def score(protocol: Protocol, recording: Recording) -> dict[str, float]:
    """Return the figures of a trial; see ``ClosedLoopJudge``."""
    upright = float((recording.seconds_upright / protocol.seconds).clip(0, 1).mean())
    hz, first, errors = recording.control_hz, 0, []
    for command in protocol.commands:
        last = first + round(command.seconds * hz)
        settled = recording.root_lin_vel[first + round(SETTLING_SECONDS * hz) : last + 1, :, :2]
        up = recording.seconds_upright >= last / hz
        missed = np.ones(len(up))
        if len(settled):
            off = np.linalg.norm(settled.mean(0) - np.array(command.velocity), axis=-1)
            missed = np.minimum(off / WORST_ERROR, 1.0)
        errors.append(np.where(up, missed, 1.0))
        first = last
    following = 1.0 - float(np.mean(errors))
    return {"score": upright * following, "upright": upright, "following": following}
