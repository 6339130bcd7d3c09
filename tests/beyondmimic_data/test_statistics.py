import numpy as np
import pytest

from beyondmimic_data.statistics import (
    difference_interval,
    mean_interval,
    paired_difference_interval,
    paired_loss,
    wilson_interval,
)


# The intervals that the paper's 50 runs allow: 100 %, 80 %, 72 % and 0 % of them.
@pytest.mark.parametrize(
    ("successes", "low", "high"), [(50, 0.929, 1.0), (40, 0.670, 0.888), (36, 0.583, 0.825), (0, 0.0, 0.071)]
)
def test_known_intervals_of_fifty_runs(successes: int, low: float, high: float) -> None:
    assert wilson_interval(successes, 50) == pytest.approx((low, high), abs=5e-4)


def test_interval_contains_the_rate_and_shrinks_with_more_trials() -> None:
    low, high = wilson_interval(9, 10)
    lower, higher = wilson_interval(900, 1000)
    assert low < lower < 0.9 < higher < high


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (3, 2), (-1, 5)])
def test_impossible_counts_are_refused(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="found"):
        wilson_interval(successes, n)


def test_paired_differences():
    low, high = paired_difference_interval(10, 4, 200)
    assert low < 0.03 < high
    assert high - low == pytest.approx(0.077, abs=0.003)  # 2 * 1.96 * sqrt(15 - 36 / 202) / 202
    assert paired_difference_interval(0, 0, 50) == pytest.approx((-0.0377, 0.0377), abs=1e-3)
    with pytest.raises(ValueError, match="no paired counts"):
        paired_difference_interval(8, 5, 10)


def test_what_is_lost_is_counted_in_pairs():
    first = np.array([True] * 6 + [False] * 4)
    second = np.array([True] * 3 + [False] * 6 + [True])
    found = paired_loss(first, second)
    low, high = paired_difference_interval(3, 1, 10)
    assert found == {"loss": pytest.approx(0.2), "loss_low": low, "loss_high": high, "n": 10}


def test_interval_of_a_mean():
    assert mean_interval(np.array([1.0, 3.0])) == pytest.approx((2 - 1.96, 2 + 1.96))
    with pytest.raises(ValueError, match="found 1"):
        mean_interval(np.array([1.0]))


def test_the_difference_of_two_rates_has_newcombes_interval():
    # Newcombe 1998, table II, example (a): 56 of 70 and 48 of 80.
    assert difference_interval((56, 70), (48, 80)) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    low, high = difference_interval((48, 80), (56, 70))
    assert (low, high) == pytest.approx((-0.3339, -0.0524), abs=5e-5)
    assert difference_interval((10, 10), (0, 10))[1] == pytest.approx(1.0)
    with pytest.raises(ValueError, match="at least one trial"):
        difference_interval((0, 0), (1, 2))
