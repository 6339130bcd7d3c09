"""The judge of a training: tries a policy in closed loop on seeds of its own, and gives one number."""

import dataclasses

import numpy as np

from beyondmimic_data.config import Preset, Range
from beyondmimic_data.control.closed_loop import Recording
from beyondmimic_data.control.evaluate import Run, run_protocol
from beyondmimic_data.control.protocols.joystick import COMMAND_SECONDS, COMMANDS, SETTLING_SECONDS
from beyondmimic_data.control.protocols.perturb import pusher
from beyondmimic_data.control.protocols.protocol import Protocol, Setting, Task, get_protocol
from beyondmimic_data.diffusion.policy import DiffusionPolicy
from beyondmimic_data.diffusion.windows import RecordedWindows

JUDGE_SEED = 1_000_000
"""Seeds of trials; those of reports begin at ``ClosedLoopConfig.seed``."""
WORST_ERROR = 0.5
"""m/s, error of the mean velocity that counts as not following at all."""


def pushed_joystick() -> Protocol:
    """Return the joystick protocol with pushes once a second."""
    joystick = get_protocol("joystick")

    def make(setting: Setting) -> Task:
        return dataclasses.replace(
            joystick.make(setting), push=pusher(setting.n, setting.control_hz, setting.seed)
        )

    return dataclasses.replace(joystick, name="trial", make=make)


class ClosedLoopJudge:
    """Plays the joystick protocol, pushed, with a few robots."""

    def __init__(self, windows: RecordedWindows, preset: Preset, *, runs: int, latency_ms: Range) -> None:
        """Keep what every trial begins from.

        Args:
            windows: recorded windows, for starts.
            preset: control rate, planning and guidance.
            runs: robots.
            latency_ms: range of the delay after the policy.
        """
        closed_loop = dataclasses.replace(preset.closed_loop, seed=JUDGE_SEED)
        self.preset = dataclasses.replace(preset, closed_loop=closed_loop)
        self.windows, self.runs, self.latency_ms = windows, runs, latency_ms

    def __call__(self, policy: DiffusionPolicy) -> dict[str, float]:
        """Return ``score`` in 0 to 1 and its factors.

        ``upright`` is the share of the time that robots were up; ``following`` is 1 where the mean velocity
        of every command's last seconds was the commanded one, 0 from ``WORST_ERROR`` on. The score is their
        product.
        """
        done = run_protocol(
            self.windows,
            policy,
            pushed_joystick(),
            self.preset,
            seeds=self.runs,
            latency_ms=self.latency_ms,
        )
        if not isinstance(done, Run):
            return {"score": 0.0, "upright": 0.0, "following": 0.0}
        return score(done.recording)


def score(recording: Recording) -> dict[str, float]:
    """Return the figures of a trial; see ``ClosedLoopJudge``."""
    upright = float((recording.seconds_upright / (len(COMMANDS) * COMMAND_SECONDS)).clip(0, 1).mean())
    hz, errors = recording.control_hz, []
    for index, command in enumerate(COMMANDS):
        first = round((index * COMMAND_SECONDS + SETTLING_SECONDS) * hz)
        last = round((index + 1) * COMMAND_SECONDS * hz)
        settled = recording.root_lin_vel[first : last + 1, :, :2]
        up = recording.seconds_upright >= last / hz
        missed = np.ones(len(up))
        if len(settled):
            off = np.linalg.norm(settled.mean(0) - np.array(command.velocity), axis=-1)
            missed = np.minimum(off / WORST_ERROR, 1.0)
        errors.append(np.where(up, missed, 1.0))
    following = 1.0 - float(np.mean(errors))
    return {"score": upright * following, "upright": upright, "following": following}
