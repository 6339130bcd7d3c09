"""Delayed commands: which joint target each environment applies at each physics step."""

from collections.abc import Iterator

import numpy as np

from beyondmimic_data.errors import ConfigError

HISTORY = 8
"""Control steps of commands kept for delayed application; bounds the latency to seven of them."""


class CommandDelay:
    """The last commands of N environments, each with a latency of its own."""

    def __init__(self, num_envs: int, decimation: int, rest: np.ndarray) -> None:
        """Start with every command at ``rest`` (J,) and no latency.

        Args:
            num_envs: number of environments N.
            decimation: physics steps a control step.
            rest: joint targets before the first command, rad.
        """
        self._decimation = decimation
        self._commands = np.tile(rest, (HISTORY, num_envs, 1))
        self._steps = np.zeros(num_envs, np.int64)
        self._envs = np.arange(num_envs)

    def set(self, ids: np.ndarray, steps: np.ndarray) -> None:
        """Set the latency of some environments in physics steps.

        Raises:
            ConfigError: a latency is longer than the kept history of commands.
        """
        longest = (HISTORY - 1) * self._decimation
        if steps.max(initial=0) > longest:
            raise ConfigError(
                "randomisation.latency_ms",
                f"{steps.max()} physics steps",
                f"at most {longest}, the {HISTORY - 1} control steps whose commands are kept",
            )
        self._steps[ids] = steps

    def restart(self, ids: np.ndarray, joint_pos: np.ndarray) -> None:
        """Forget the pending commands of some environments: they become the joint angles (n, J)."""
        self._commands[:, ids] = joint_pos

    def applied(self, targets: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield runs of physics steps and the targets (N, J) that each environment applies during them.

        An environment with a latency of d physics steps applies at physics step s the target commanded d
        steps earlier. The runs add up to one control step.
        """
        self._commands = np.roll(self._commands, 1, axis=0)
        self._commands[0] = targets
        if not self._steps.any():
            yield self._decimation, targets
            return
        for substep in range(self._decimation):
            age = -((substep - self._steps) // self._decimation)
            yield 1, self._commands[age, self._envs]
