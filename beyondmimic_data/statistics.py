"""Confidence intervals for success rates."""

import math


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
