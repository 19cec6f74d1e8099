"""How sure a difference of two means is when runs of one question belong together: a bootstrap over clusters.

Questions are drawn with replacement, each with all its runs, so that a question asked a hundred times is one piece of
evidence. Clusters with equal sums are interchangeable: when there are few kinds of them (right or wrong makes three),
only how often each kind is drawn is simulated, which has the same distribution and takes no longer for more clusters.
The order of the runs does not matter; the same data, seed and number of resamples give the same interval.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from random import Random
from statistics import NormalDist
from typing import Final, Literal, NamedTuple

from app.experiments.intervals import LEVEL, z_of
from app.experiments.paired import POWER

RESAMPLES: Final = 2_000
CLUSTERS_MIN: Final = 10  # of fewer, an interval would look surer than it is
DRAWS_MAX: Final = 10_000_000  # one second where every cluster is one pair, else three; above it `normal`

_DRAWS_A_KIND: Final = 200  # one binomial number takes about as long as so many plain draws
_FEW: Final = 24  # so many uniform numbers are compared one by one


class Cluster(NamedTuple):
    """All runs of one question: the sum of the measure and the number of runs, for each of the two variants."""

    one_sum: float
    one_n: int
    other_sum: float
    other_n: int


class Difference(NamedTuple):
    """The mean of the second variant minus that of the first, with its interval; None where a variant has no run.

    one_n and other_n are runs, clusters the questions they belong to, paired those that both variants answered. method
    `normal` is a linearised cluster-robust interval, `none` says that there are too few clusters for one. needed is how
    many clusters a difference as large as this takes to be found with 80 % power, more how many of them are missing.
    """

    one_n: int
    other_n: int
    clusters: int
    paired: int
    one_mean: float | None
    other_mean: float | None
    value: float | None
    low: float | None
    high: float | None
    method: Literal["bootstrap", "normal", "none"]
    resamples: int
    needed: int | None
    more: int | None


def clustered(one: Iterable[tuple[str, float]], other: Iterable[tuple[str, float]]) -> list[Cluster]:
    """The clusters of two variants' runs, each run given as its question's fingerprint and its measure."""
    sums: dict[str, list[float]] = {}
    for place, runs in ((0, one), (2, other)):
        for question, measure in runs:
            cluster = sums.setdefault(question, [0.0, 0, 0.0, 0])
            cluster[place] += measure
            cluster[place + 1] += 1
    return [Cluster(a, int(m), b, int(n)) for a, m, b, n in sums.values()]


def difference(
    clusters: Sequence[Cluster], *, resamples: int = RESAMPLES, seed: int = 0, level: float = LEVEL
) -> Difference:
    """The difference of the two variants' means with a percentile interval over resampled clusters."""
    one_sum, one_n, other_sum, other_n = (
        (sum(column) for column in zip(*clusters, strict=True)) if clusters else [0] * 4
    )
    counts = int(one_n), int(other_n), len(clusters), sum(bool(c.one_n and c.other_n) for c in clusters)
    one_mean, other_mean = (one_sum / one_n if one_n else None), (other_sum / other_n if other_n else None)
    if one_mean is None or other_mean is None:
        return Difference(*counts, one_mean, other_mean, None, None, None, "none", 0, None, None)
    value = other_mean - one_mean
    deviation = _deviation(clusters, one_mean, other_mean)
    low, high, method = _interval(clusters, (value, deviation), (resamples, seed), level)
    needed = _needed(value, deviation, level)
    more = None if needed is None else max(0, needed - len(clusters))
    drawn = resamples if method == "bootstrap" else 0
    return Difference(*counts, one_mean, other_mean, value, low, high, method, drawn, needed, more)


def _interval(
    clusters: Sequence[Cluster], seen: tuple[float, float], how: tuple[int, int], level: float
) -> tuple[float | None, float | None, Literal["bootstrap", "normal", "none"]]:
    """The interval and how it was found; seen is the difference and its deviation, how the resamples and the seed."""
    value, deviation = seen
    resamples, seed = how
    if len(clusters) < CLUSTERS_MIN:
        return None, None, "none"
    kinds = sorted(Counter(clusters).items())
    random = Random(seed)  # noqa: S311  # a simulation, not a secret
    if len(kinds) * _DRAWS_A_KIND <= len(clusters):
        totals = _by_kind(kinds, random, resamples)
    elif len(clusters) * resamples <= DRAWS_MAX:
        totals = _by_cluster(sorted(clusters), random, resamples)
    else:
        reach = z_of(level) * deviation / math.sqrt(len(clusters))
        return value - reach, value + reach, "normal"
    # A resample in which one of the variants has no run says nothing.
    found = sorted(other.real / other.imag - one.real / one.imag for one, other in totals if one.imag and other.imag)
    tail = int((1 - level) / 2 * len(found))
    return found[tail], found[-1 - tail], "bootstrap"


def _by_cluster(clusters: Sequence[Cluster], random: Random, resamples: int) -> Iterator[tuple[complex, complex]]:
    """The totals of resamples drawn one cluster after the other. A complex number is a sum and an n added in one go."""
    if all(c.one_n == c.other_n == 1 for c in clusters):
        gaps, n = [c.other_sum - c.one_sum for c in clusters], len(clusters)
        yield from ((1j * n, sum(random.choices(gaps, k=n)) + 1j * n) for _ in range(resamples))
        return
    one = [complex(c.one_sum, c.one_n) for c in clusters]
    other = [complex(c.other_sum, c.other_n) for c in clusters]
    places = range(len(clusters))
    for _ in range(resamples):
        drawn = itemgetter(*random.choices(places, k=len(clusters)))
        yield sum(drawn(one)), sum(drawn(other))


def _by_kind(kinds: Sequence[tuple[Cluster, int]], random: Random, resamples: int) -> Iterator[tuple[complex, complex]]:
    """The same totals where many clusters are equal: how often each kind is drawn is multinomial."""
    parts = [(complex(c.one_sum, c.one_n), complex(c.other_sum, c.other_n), count) for c, count in kinds]
    clusters = sum(count for _, count in kinds)
    for _ in range(resamples):
        one = other = 0j
        left, share = clusters, clusters
        for of_one, of_other, count in parts:
            times = _binomial(random, left, count / share)
            one, other = one + times * of_one, other + times * of_other
            left, share = left - times, share - count
            if not left:
                break
        yield one, other


def _binomial(random: Random, n: int, p: float) -> int:
    """How many of n uniform numbers lie below p; the middle one of them, a beta variate, halves n again and again."""
    if p >= 1:
        return n
    below = 0
    while n > _FEW:
        middle = n // 2 + 1
        at = random.betavariate(middle, n + 1 - middle)
        if at <= p:
            below, n, p = below + middle, n - middle, (p - at) / (1 - at)
        else:
            n, p = middle - 1, p / at
    return below + sum(random.random() < p for _ in range(n))


def _deviation(clusters: Sequence[Cluster], one_mean: float, other_mean: float) -> float:
    """The standard deviation of a cluster's influence on the difference, by linearising both ratios."""
    if len(clusters) < 2:
        return 0.0
    one_size = sum(c.one_n for c in clusters) / len(clusters)
    other_size = sum(c.other_n for c in clusters) / len(clusters)
    squares = sum(
        ((c.other_sum - other_mean * c.other_n) / other_size - (c.one_sum - one_mean * c.one_n) / one_size) ** 2
        for c in clusters
    )
    return math.sqrt(squares / (len(clusters) - 1))


def _needed(value: float, deviation: float, level: float) -> int | None:
    """The clusters that a difference of this size takes to be found; None when none was seen."""
    if not value:
        return None
    return math.ceil(((z_of(level) + NormalDist().inv_cdf(POWER)) * deviation / value) ** 2)
