import dataclasses

import pytest
from made_recordings import HZ, obey, record

from beyondmimic_data.config import get_preset
from beyondmimic_data.control.judge import JUDGE_SEED, ClosedLoopJudge, score
from beyondmimic_data.control.protocols.commands import one_after_another
from beyondmimic_data.control.protocols.joystick import COMMANDS
from beyondmimic_data.diffusion.windows import RecordedWindows


def test_who_obeys_and_stays_up_scores_one() -> None:
    assert score(obey(one_after_another(COMMANDS, 3.0, 2, HZ), 12.0))["score"] == pytest.approx(1.0)


def test_who_stands_still_follows_by_how_slow_the_commands_are() -> None:
    # Errors of 0.6, 0.4, 0.3 and 0.3 m/s, the worst of which is cut at 0.5.
    figures = score(record(12.0, 3))
    assert figures["upright"] == 1.0
    assert figures["following"] == pytest.approx(1 - (1.0 + 0.8 + 0.6 + 0.6) / 4, abs=1e-6)


def test_who_falls_follows_nothing_from_then_on() -> None:
    fallen = obey(one_after_another(COMMANDS, 3.0, 2, HZ), 12.0)
    fallen.head_height[round(4.5 * HZ) :, 0] = 0.1
    figures = score(fallen)
    assert figures["upright"] == pytest.approx((4.5 + 12) / 2 / 12, abs=0.01)
    assert figures["following"] == pytest.approx((1 + 0.5 * 3) / 4, abs=0.01)
    assert figures["score"] == pytest.approx(figures["upright"] * figures["following"])


def test_a_trial_is_played_on_seeds_of_its_own(policy, policy_folder, tmp_path, monkeypatch) -> None:
    preset = get_preset("test")
    judge = ClosedLoopJudge(RecordedWindows.load(policy_folder), preset, runs=2, latency_ms=(0.0, 0.0))
    assert judge.preset.closed_loop.seed == JUDGE_SEED != preset.closed_loop.seed
    first, again = judge(policy), judge(policy)
    assert first == again
    assert set(first) == {"score", "upright", "following"}
    assert 0 <= first["upright"] < 1
    assert dataclasses.replace(judge.preset, closed_loop=preset.closed_loop) == preset
