import numpy as np
import pytest
from made_recordings import HZ, record

from beyondmimic_data.control.protocols import PROTOCOLS
from beyondmimic_data.control.protocols.perturb import pusher, stays_up
from beyondmimic_data.control.protocols.protocol import Task, summarise

STAND, TASK = PROTOCOLS["stand_perturb"], Task(judge=stays_up)


def test_falls_decide_standing_and_the_interval_is_wilson_s() -> None:
    fallen = record(15.0, 10)
    fallen.head_height[100:, :2] = 0.1
    result = summarise(STAND, TASK, fallen)
    assert result["success_rate"] == 0.8
    assert (result["wilson_low"], result["wilson_high"]) == pytest.approx((0.490, 0.943), abs=1e-3)
    assert result["falls"] == 2
    assert result["mean_seconds_upright"] == pytest.approx((2 * 99 / HZ + 8 * 15) / 10)
    assert result["success"] == [False] * 2 + [True] * 8
    assert result["criteria"]["fallen_head_height_m"] == 0.2


def test_a_robot_whose_simulation_broke_has_fallen() -> None:
    broken = record(15.0, 2)
    broken.head_height[50:, 1] = np.nan
    assert summarise(STAND, TASK, broken)["success"] == [True, False]


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.5), (0.5, 1.0), (1.0, 1.5)])
def test_pushes_come_once_a_second_in_every_direction(low, high) -> None:
    push = pusher(2000, HZ, 4, (low, high))
    given = [t for t in range(201) if push(t) is not None]
    assert given == [50, 100, 150, 200]
    first = push(50)
    assert first is not None
    speed = np.linalg.norm(first, axis=-1)
    assert low <= speed.min() < low + 0.01
    assert high - 0.01 < speed.max() <= high
    assert float(speed.mean()) == pytest.approx((low + high) / 2, abs=0.01)
    assert np.abs(first[:, :2].mean(0)).max() < 0.06
    assert (first[:, 2] == 0).all()
    np.testing.assert_array_equal(push(50), first)
    assert not np.array_equal(push(100), first)


def test_harder_protocols_push_harder(setting) -> None:
    sizes = []
    for suffix in ("", "_hard", "_harder"):
        push = PROTOCOLS[f"walk_perturb{suffix}"].make(setting(500)).push
        assert push is not None
        sizes.append(float(np.linalg.norm(push(50), axis=-1).mean()))
    assert sizes == pytest.approx([0.25, 0.75, 1.25], abs=0.03)
