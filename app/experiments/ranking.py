"""How well a score tells bad cases from good ones: the area under the receiver operating characteristic."""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from app.experiments.intervals import LEVEL, z_of

# What a verdict of agreement says about the fast answer being wrong.
DOUBT: Final[Mapping[str, float]] = {"agree": 0.0, "unknown": 0.5, "disagree": 1.0}


class Auroc(NamedTuple):
    """The probability that a bad case scores higher than a good one, a tie counting half; None without both kinds.

    low and high are DeLong's interval, None where the data leave it no variance.
    """

    n: int
    positives: int
    negatives: int
    value: float | None
    low: float | None
    high: float | None


def auroc(cases: Iterable[tuple[float, bool]], level: float = LEVEL) -> Auroc:
    """The area for cases given as their score and whether they are positive (bad)."""
    counts: dict[float, list[int]] = {}
    for score, positive in cases:
        counts.setdefault(score, [0, 0])[1 if positive else 0] += 1
    return auroc_counts(((score, pair[1], pair[0]) for score, pair in counts.items()), level)


def auroc_counts(rows: Iterable[tuple[float, int, int]], level: float = LEVEL) -> Auroc:
    """The same from counts: at a score so many positives and so many negatives; each score comes once."""
    ordered = sorted(rows)
    positives, negatives = sum(row[1] for row in ordered), sum(row[2] for row in ordered)
    n = positives + negatives
    if not positives or not negatives:
        return Auroc(n, positives, negatives, None, None, None)
    below_positives = below_negatives = 0
    total = square_positives = square_negatives = 0.0
    for _, bad, good in ordered:
        beaten = (below_negatives + good / 2) / negatives  # share of the negatives that this score beats
        beating = (positives - below_positives - bad / 2) / positives  # share of the positives that beat it
        total += bad * beaten
        square_positives += bad * beaten * beaten
        square_negatives += good * beating * beating
        below_positives, below_negatives = below_positives + bad, below_negatives + good
    value = total / positives
    variance = _variance(square_positives, value, positives) + _variance(square_negatives, value, negatives)
    if variance <= 0:
        return Auroc(n, positives, negatives, value, None, None)
    reach = z_of(level) * variance**0.5
    return Auroc(n, positives, negatives, value, max(0.0, value - reach), min(1.0, value + reach))


def _variance(squares: float, mean: float, n: int) -> float:
    """The variance of a mean, from the sum of squares."""
    return max(0.0, squares - n * mean * mean) / (n - 1) / n if n > 1 else 0.0
