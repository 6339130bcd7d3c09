"""Confidence intervals for success rates and their differences, and for means."""

import math

import numpy as np


def wilson_interval(successes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Return the Wilson score interval of a success rate.

    Args:
        successes: trials that succeeded.
        n: trials, at least one.
        z: quantile of the normal distribution; 1.96 gives 95 %.

    Returns:
        Lower and upper bound, both in [0, 1].

    Raises:
        ValueError: ``n`` is not positive, or ``successes`` is not in [0, n].
    """
    if n <= 0:
        raise ValueError(f"a success rate needs at least one trial, found n = {n}")
    if not 0 <= successes <= n:
        raise ValueError(f"successes must be in [0, {n}], found {successes}")
    rate = successes / n
    denominator = 1 + z * z / n
    centre = (rate + z * z / (2 * n)) / denominator
    half = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)) / denominator
    return max(0.0, centre - half), min(1.0, centre + half)


def difference_interval(first: tuple[int, int], second: tuple[int, int]) -> tuple[float, float]:
    """Return an interval for how much higher the first of two independent success rates is.

    The hybrid of two Wilson intervals (Newcombe 1998, method 10).

    Args:
        first: successes and trials, at least one.
        second: the same of the other.

    Returns:
        Lower and upper bound, both in [-1, 1].

    Raises:
        ValueError: counts that are none.
    """
    (p, (p_low, p_high)), (q, (q_low, q_high)) = (
        (successes / max(n, 1), wilson_interval(successes, n)) for successes, n in (first, second)
    )
    return p - q - math.hypot(p - p_low, q_high - q), p - q + math.hypot(p_high - p, q - q_low)


def paired_difference_interval(
    only_first: int, only_second: int, n: int, z: float = 1.96
) -> tuple[float, float]:
    """Return an interval for how much higher the first of two success rates on the same trials is.

    The Wald interval with half a trial added to each cell of the 2 by 2 table (Agresti and Min 2005).

    Args:
        only_first: trials that succeeded only the first time.
        only_second: trials that succeeded only the second time.
        n: trials, at least one.
        z: quantile of the normal distribution; 1.96 gives 95 %.

    Returns:
        Lower and upper bound, both in [-1, 1].

    Raises:
        ValueError: counts that do not fit into ``n``.
    """
    if n <= 0 or min(only_first, only_second) < 0 or only_first + only_second > n:
        raise ValueError(f"{only_first} and {only_second} of {n} trials are no paired counts")
    first, second, total = only_first + 0.5, only_second + 0.5, n + 2
    difference = (first - second) / total
    half = z * math.sqrt((first + second) - (first - second) ** 2 / total) / total
    return max(-1.0, difference - half), min(1.0, difference + half)


def paired_loss(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """Return how much success is lost from the first to the second playing of the same trials.

    Args:
        first: (n,) bool, which trials succeeded.
        second: (n,) the same of the second playing.

    Returns:
        ``loss`` of the success rate, ``loss_low`` and ``loss_high`` its 95 % interval, and ``n``.
    """
    first, second = np.asarray(first, bool), np.asarray(second, bool)
    n, lost, won = len(first), int((first & ~second).sum()), int((~first & second).sum())
    low, high = paired_difference_interval(lost, won, n)
    return {"loss": (lost - won) / n, "loss_low": low, "loss_high": high, "n": n}


def mean_interval(values: np.ndarray, z: float = 1.96) -> tuple[float, float]:
    """Return a normal interval for the mean of values (n,).

    Args:
        values: at least two.
        z: quantile of the normal distribution; 1.96 gives 95 %.

    Raises:
        ValueError: there are fewer.
    """
    if len(values) < 2:
        raise ValueError(f"an interval of a mean needs at least two values, found {len(values)}")
    half = z * float(values.std(ddof=1)) / math.sqrt(len(values))
    return float(values.mean()) - half, float(values.mean()) + half
