"""MuJoCo's warnings go to the log: by itself it writes them into MUJOCO_LOG.TXT wherever a process runs."""

import functools
import logging
import re
import threading

logger = logging.getLogger(__name__)


@functools.cache
def warnings_to_log() -> None:
    """Have this process log what MuJoCo warns of, from whatever thread, instead of writing a file.

    The first of a kind is a warning. A simulation that is unstable repeats it for every robot and step, and
    whoever steps counts those; the others are for debugging.
    """
    import mujoco

    seen: set[str] = set()
    lock = threading.Lock()

    def log(text: str) -> None:
        kind = re.split(r"\d", text, maxsplit=1)[0]
        with lock:
            level = logging.DEBUG if kind in seen else logging.WARNING
            seen.add(kind)
        logger.log(level, "MuJoCo: %s", text)

    mujoco.set_mju_user_warning(log)
