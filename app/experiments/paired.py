"""Two ways to answer the same questions, right or wrong: McNemar's test, and how many more pairs it would need.

Only the discordant pairs tell: those where one of the two was right and the other wrong.
"""

import math
from statistics import NormalDist
from typing import Final, NamedTuple

from app.experiments.intervals import LEVEL, z_of

POWER: Final = 0.8
_NEGLIGIBLE: Final = 1e-18  # of the first term of a sum; what follows cannot change the result


class McNemar(NamedTuple):
    """n pairs, in one_only of them only the first was right, in other_only only the second.

    p_exact is the two-sided exact p-value, p_mid the mid-p value, which is less conservative and recommended.
    """

    n: int
    one_only: int
    other_only: int
    p_exact: float
    p_mid: float


class Need(NamedTuple):
    """How many pairs a difference as large as the one seen takes to be found; more is how many are still missing.

    Both are None when no difference was seen: then no number of pairs follows from the data.
    """

    n: int
    pairs: int | None
    more: int | None
    power: float
    level: float


def mcnemar(one_only: int, other_only: int, n: int) -> McNemar:
    """Whether the discordant pairs fall to one side more often than a fair coin would."""
    discordant = one_only + other_only
    if min(one_only, other_only) < 0 or discordant > n:
        raise ValueError(f"{one_only} and {other_only} are no discordant pairs of {n}")
    tail, point = _fair_coin(min(one_only, other_only), discordant)
    return McNemar(n, one_only, other_only, min(1.0, 2 * tail), min(1.0, 2 * tail - point))


def pairs_needed(one_only: int, other_only: int, n: int, power: float = POWER, level: float = LEVEL) -> Need:
    """The pairs that McNemar's test takes at this level and power (Connor 1987), if the shares seen are the truth."""
    gap = abs(one_only - other_only) / n if n else 0.0
    if not gap:
        return Need(n, None, None, power, level)
    discordant = (one_only + other_only) / n
    spread = z_of(level) * math.sqrt(discordant)
    spread += NormalDist().inv_cdf(power) * math.sqrt(max(0.0, discordant - gap * gap))
    pairs = math.ceil((spread / gap) ** 2)
    return Need(n, pairs, max(0, pairs - n), power, level)


def _fair_coin(heads: int, throws: int) -> tuple[float, float]:
    """The probability of at most so many heads, and of exactly so many."""
    log_point = math.lgamma(throws + 1) - math.lgamma(heads + 1) - math.lgamma(throws - heads + 1)
    point = math.exp(log_point - throws * math.log(2))
    tail, term = 1.0, 1.0
    for k in range(heads, 0, -1):
        term *= k / (throws - k + 1)
        tail += term
        if term < _NEGLIGIBLE * tail:
            break
    return point * tail, point
