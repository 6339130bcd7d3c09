"""Skills that wait for cores: in order, as many at once as have room, none lost to another's failure."""

import contextlib
import threading
import time
from types import SimpleNamespace

from beyondmimic_data.config import get_preset
from pipelines.run_graph import Outcome, _side_by_side


def test_a_hundred_skills_take_their_turns_on_two_cores():
    sessions, started, running, most = [], [], set(), [0]
    lock = threading.Lock()

    def run(graph, key):
        with lock:
            started.append(key)
            running.add(key)
            most[0] = max(most[0], len(running))
        time.sleep(0.002)
        with lock:
            running.discard(key)
        return Outcome(key != "skill_017", None if key != "skill_017" else "its clip floats")

    cluster = SimpleNamespace(
        session=lambda: contextlib.nullcontext(sessions.append(1)), workers=lambda cpus: int(2 / cpus)
    )
    graph = SimpleNamespace(workspace=SimpleNamespace(preset=get_preset("quick")), cluster=cluster)
    keys = [f"skill_{number:03d}" for number in range(100)]
    outcomes = _side_by_side(graph, keys, run, lambda workspace, key: False)
    assert list(outcomes) == keys
    assert [key for key, outcome in outcomes.items() if not outcome.ok] == ["skill_017"]
    assert most[0] == 2
    assert sessions == [1]
    # Two threads begin side by side: each is at most one place away from its turn.
    assert sorted(started) == keys
    assert max(abs(started.index(key) - place) for place, key in enumerate(keys)) <= 1
    assert not running
