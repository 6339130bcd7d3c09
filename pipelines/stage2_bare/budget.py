"""How the minutes of a run are dealt out: what is late takes from what follows, never from the writing."""

import dataclasses
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from beyondmimic_data.errors import BeyondMimicError

if TYPE_CHECKING:
    from beyondmimic_data.control.judge import ClosedLoopJudge
    from beyondmimic_data.control.protocols.protocol import Protocol
    from beyondmimic_data.diffusion.policy import DiffusionPolicy

log = logging.getLogger("beyondmimic.stage2_bare")

COLLECTING = 0.45
"""Share of the time after which no further unit is begun."""
EXAMINING = 0.2
"""Share kept for protocols, and for the last trial, which comes when training is over."""
FIRST_TRAINING, STUDENT_ROLLOUTS = 0.5, 0.2
"""Shares of the time from the first training's start to the last one's end, where the student's rollouts come
in between: for the first training, and for collecting."""
WRITING = 0.04
"""Share kept for writing results, at least ``LEAST_WRITING`` seconds."""
LEAST_WRITING = 5.0
LEAST_TRAINING = 3.0
"""s of training under which there is no point in it."""


@dataclasses.dataclass(frozen=True)
class Budget:
    """Deadlines of the stages, in seconds since the start."""

    total: float
    """s for everything."""
    examines: bool = True
    """Whether there are protocols or trials to keep time for."""

    @property
    def collect_until(self) -> float:
        """When the last unit may begin."""
        return COLLECTING * self.total

    @property
    def examine_until(self) -> float:
        """When writing begins at the latest."""
        return self.total - max(WRITING * self.total, LEAST_WRITING)

    @property
    def train_until(self) -> float:
        """When training ends at the latest."""
        return self.examine_until - (EXAMINING * self.total if self.examines else 0.0)

    def student_round(self, now: float) -> tuple[float, float]:
        """Return when a first training ends that begins ``now``, and when the student's last unit begins."""
        left = self.train_until - now
        first = now + FIRST_TRAINING * left
        return first, first + STUDENT_ROLLOUTS * left

    def training_seconds(self, now: float, asked: float | None, until: float | None = None) -> float:
        """Return how long training may take that begins ``now``; ``asked`` bounds it, and ``until`` its end.

        Raises:
            BeyondMimicError: too little is left.
        """
        left = (self.train_until if until is None else until) - now
        if left < LEAST_TRAINING:
            raise BeyondMimicError(
                f"{left:.0f} s are left for training of {self.total:.0f} s in all; ask for fewer hours of "
                "rollouts or more total_minutes"
            )
        return left if asked is None else min(asked, left)


class Clock:
    """Seconds since the start, and how long each stage took."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """Start now."""
        self._now = now
        self.began = self._stage_began = now()
        self.stages: dict[str, float] = {}

    def seconds(self) -> float:
        """Return the seconds since the start."""
        return self._now() - self.began

    def ends(self, stage: str) -> None:
        """Note the end of a stage, which began at the end of the last one."""
        now = self._now()
        self.stages[stage] = round(self.stages.get(stage, 0.0) + now - self._stage_began, 1)
        self._stage_began = now
        log.info("%s took %.1f s; %.0f s since the start", stage, self.stages[stage], now - self.began)


class TimedJudge:
    """A judge of training that gives no trial for which there is no time left."""

    def __init__(self, judge: "ClosedLoopJudge", clock: Clock, until: float) -> None:
        """Wrap a judge; ``until`` counts from the clock's start."""
        self._judge, self._clock, self._until = judge, clock, until
        self.seconds = 0.0
        """Longest trial so far."""
        self.left_out = 0
        """Trials for which there was no time."""

    def __call__(self, policy: "DiffusionPolicy") -> dict[str, float]:
        """Try a policy; one that there is no time for scores 0, so that tried weights are kept."""
        began = self._clock.seconds()
        if began + self.seconds > self._until:
            self.left_out += 1
            log.warning("no time for a trial of %.0f s; it counts as 0", self.seconds)
            return {"score": 0.0, "upright": 0.0, "following": 0.0}
        figures = self._judge(policy)
        self.seconds = max(self.seconds, self._clock.seconds() - began)
        log.info("trial: %s", ", ".join(f"{name} {value:.2f}" for name, value in figures.items()))
        return figures


class ProtocolsInTime:
    """Tells which protocols there is time for, from the time that those before took."""

    def __init__(self, clock: Clock, until: float, pace: float) -> None:
        """Begin with ``pace``, wall-clock seconds a second of a protocol; ``until`` is the clock's."""
        self._clock, self._until, self.pace = clock, until, pace
        self._running: Protocol | None = None
        self._began = 0.0

    def __call__(self, protocol: "Protocol") -> str | None:
        """Return why a protocol that comes next is left out, or ``None`` if there is time."""
        now = self._clock.seconds()
        if self._running is not None:
            self.pace = max(self.pace, (now - self._began) / self._running.seconds)
            self._running = None
        needed, left = self.pace * protocol.seconds, self._until - now
        if needed > left:
            return f"it takes about {needed:.0f} s, and {max(left, 0.0):.0f} s were left"
        self._running, self._began = protocol, now
        return None
