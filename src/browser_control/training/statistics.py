"""Intervals and tests for success rates."""

from math import comb, sqrt

Z95 = 1.959963984540054


def wilson(successes: int, trials: int, z: float = Z95) -> tuple[float, float]:
    """The score interval of a proportion (Wilson 1927); (0, 1) where nothing was tried."""
    if trials == 0:
        return 0.0, 1.0
    rate = successes / trials
    centre = (rate + z * z / (2 * trials)) / (1 + z * z / trials)
    spread = z * sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials)) / (1 + z * z / trials)
    return max(0.0, centre - spread), min(1.0, centre + spread)


def mcnemar(gained: int, lost: int) -> float:
    """Two-sided exact p-value that two policies judged on the same episodes are equally good (McNemar 1947).

    Args:
        gained: episodes that only the second solved.
        lost: episodes that only the first solved.
    """
    trials = gained + lost
    if trials == 0:
        return 1.0
    tail = sum(comb(trials, count) for count in range(min(gained, lost) + 1))
    return min(1.0, float(2 * tail / 2**trials))  # of whole numbers: a float holds no 2**1024
