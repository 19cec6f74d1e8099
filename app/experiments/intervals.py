"""A share with its n and its uncertainty: Wilson's score interval, which stays inside 0 to 1 even for small n."""

import math
from statistics import NormalDist
from typing import Final, NamedTuple

LEVEL: Final = 0.95


class Share(NamedTuple):
    """hits of n, and where the true share probably lies; share, low and high are None when n is 0."""

    n: int
    hits: int
    share: float | None
    low: float | None
    high: float | None


def z_of(level: float = LEVEL) -> float:
    """How many standard errors a two-sided interval of this level reaches: 1.96 for 0.95."""
    return NormalDist().inv_cdf((1 + level) / 2)


def wilson(hits: int, n: int, level: float = LEVEL) -> Share:
    """The share hits of n with Wilson's score interval, without continuity correction. hits must be from 0 to n."""
    if not 0 <= hits <= n:
        raise ValueError(f"{hits} of {n} is no share")
    if n == 0:
        return Share(0, 0, None, None, None)
    z, share = z_of(level), hits / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At the ends the exact bound is 0 or 1; rounding must not put it beside them.
    low = 0.0 if hits == 0 else middle - reach
    high = 1.0 if hits == n else middle + reach
    return Share(n, hits, share, low, high)
