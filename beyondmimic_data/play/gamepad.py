"""A gamepad on this machine, read from the kernel's joystick device: no browser and no package is needed.

An event has 8 bytes: time in ms, value, kind and number (the kernel's ``Documentation/input/joydev``). Axes
go from -32767 to 32767, up and left negative.
"""

import contextlib
import dataclasses
import logging
import os
import select
import struct
from collections.abc import Iterator
from pathlib import Path

from beyondmimic_data.errors import ConfigError

log = logging.getLogger(__name__)

DEVICE = Path("/dev/input/js0")
"""The first gamepad that was plugged in."""
EVENT = struct.Struct("IhBB")
BUTTON, AXIS, INITIAL = 0x01, 0x02, 0x80
"""Kinds of events; the last is set in those that tell how things stand when the device is opened."""
FULL = 32767
LEFT_X, LEFT_Y, RIGHT_X = 0, 1, 3
"""Axes of a pad with two sticks."""
BUTTONS = {0: "stop", 1: "reset", 2: "push"}
"""What a button asks for, by number: A, B and X of an Xbox pad."""
DEAD_SHARE = 0.12
"""Share of a stick's way that is no command: sticks do not come back to the very middle."""


@dataclasses.dataclass(frozen=True)
class Sticks:
    """How far the sticks are, -1 to 1; 0 within ``DEAD_SHARE`` of the middle."""

    forward: float = 0.0
    """Left stick, up."""
    left: float = 0.0
    """Left stick, to the left."""
    turn: float = 0.0
    """Right stick, to the left."""


class Gamepad:
    """A device that is open for reading."""

    def __init__(self, device: Path) -> None:
        """Open it.

        Raises:
            ConfigError: it cannot be opened.
        """
        try:
            self._file = os.open(device, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            raise ConfigError(
                "gamepad", str(device), f"a joystick device such as {DEVICE} ({error.strerror})"
            ) from error
        self._axes = {LEFT_X: 0.0, LEFT_Y: 0.0, RIGHT_X: 0.0}
        self._rest = b""

    def __enter__(self) -> "Gamepad":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def read(self, seconds: float) -> Iterator[Sticks | str]:
        """Wait at most so long for events; yields where sticks have got to and what buttons ask for.

        Raises:
            OSError: the device is gone.
        """
        if not select.select([self._file], [], [], seconds)[0]:
            return
        with contextlib.suppress(BlockingIOError):
            found = os.read(self._file, 64 * EVENT.size)
            if not found:
                raise OSError("the gamepad is gone")
            self._rest += found
        whole = len(self._rest) - len(self._rest) % EVENT.size
        events, self._rest = list(EVENT.iter_unpack(self._rest[:whole])), self._rest[whole:]
        moved = False
        for _, value, kind, number in events:
            if kind & ~INITIAL == AXIS and number in self._axes:
                self._axes[number] = max(-1.0, value / FULL)
                moved = moved or not kind & INITIAL
            elif kind == BUTTON and value and number in BUTTONS:
                yield BUTTONS[number]
        if moved:
            yield Sticks(*(_live(-self._axes[axis]) for axis in (LEFT_Y, LEFT_X, RIGHT_X)))


def _live(share: float) -> float:
    """Return a stick's way beyond the dead part, -1 to 1."""
    beyond = max(0.0, abs(share) - DEAD_SHARE) / (1 - DEAD_SHARE)
    return beyond if share > 0 else -beyond
