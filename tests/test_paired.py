"""McNemar's test, the pairs it needs, and the bootstrap over clusters."""

import math
from random import Random
from statistics import mean, pstdev

import pytest
from cells import rows

from app.experiments import bootstrap
from app.experiments.bootstrap import Cluster, clustered, difference
from app.experiments.paired import Need, mcnemar, pairs_needed


def answers(n: int, right: float, seed: int) -> list[tuple[str, float]]:
    """One run of each of n questions, right with this probability."""
    random = Random(seed)
    return [(f"q{index}", float(random.random() < right)) for index in range(n)]


def test_published_example() -> None:
    """1 against 7 discordant pairs of 21 have p 0.070 exactly and mid-p 0.039 (Fagerland and others 2013)."""
    found = mcnemar(1, 7, 21)
    assert found.p_exact == pytest.approx(18 / 256)
    assert found.p_mid == pytest.approx(10 / 256)
    assert mcnemar(7, 1, 21)[3:] == found[3:]


@rows("discordant", [0, 1, 10, 400])
def test_even(discordant: int) -> None:
    """Equal numbers on both sides are no evidence."""
    assert mcnemar(discordant, discordant, 1000).p_exact == 1.0


@rows(("one", "other"), [(0, 5), (3, 12), (40, 71), (150, 86)])
def test_binomial(one: int, other: int) -> None:
    """The p-value is twice the tail of a fair coin, however it is summed."""
    tail = sum(math.comb(one + other, k) for k in range(min(one, other) + 1)) / 2 ** (one + other)
    assert mcnemar(one, other, 1000).p_exact == pytest.approx(2 * tail, rel=1e-9)


def test_many_pairs() -> None:
    """A million discordant pairs are counted at once, and too many are refused."""
    assert 0.04 < mcnemar(499_000, 501_000, 2_000_000).p_exact < 0.05
    with pytest.raises(ValueError, match="discordant"):
        mcnemar(2, 2, 3)


def test_pairs_needed() -> None:
    """20 against 10 of 100 would take 234 pairs in all, 134 more; no difference takes no number."""
    assert pairs_needed(20, 10, 100) == Need(100, 234, 134, 0.8, 0.95)
    assert pairs_needed(200, 100, 1000).more == 0
    assert pairs_needed(5, 5, 100).pairs is None
    assert pairs_needed(0, 0, 0).more is None


def test_power() -> None:
    """With so many pairs the test finds the difference in about four of five simulated experiments."""
    random, found = Random(3), 0
    for _ in range(600):
        sides = random.choices((0, 1, 2), (0.7, 0.2, 0.1), k=234)
        found += mcnemar(sides.count(1), sides.count(2), 234).p_mid < 0.05
    assert found / 600 == pytest.approx(0.8, abs=0.05)


def test_deterministic() -> None:
    """The interval depends on the data, the seed and the resamples, not on the order of the runs."""
    one, other = answers(300, 0.6, 1), answers(300, 0.7, 2)
    first = difference(clustered(one, other), resamples=200, seed=5)
    assert first == difference(clustered(one[::-1], other[::-1]), resamples=200, seed=5)
    assert first[-6:] != difference(clustered(one, other), resamples=200, seed=6)[-6:]
    assert (first.one_n, first.other_n, first.clusters, first.paired, first.method) == (300, 300, 300, 300, "bootstrap")


@pytest.mark.parametrize("shared", [True, False])
def test_like_the_normal_interval(shared: bool) -> None:
    """For many pairs, and for two groups with different questions, the interval is that of the textbook."""
    one, other = answers(3000, 0.6, 1), [(q if shared else f"other {q}", y) for q, y in answers(3000, 0.7, 2)]
    found = difference(clustered(one, other), seed=1)
    gap = 1.96 * math.sqrt((0.6 * 0.4 + 0.7 * 0.3) / 3000)
    assert found.value == pytest.approx(mean(y for _, y in other) - mean(y for _, y in one))
    assert found.paired == (3000 if shared else 0)
    assert (found.high or 0) - (found.low or 0) == pytest.approx(2 * gap, rel=0.08)


def test_both_ways_to_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing kinds and drawing clusters give the same interval, and so does the normal approximation."""
    clusters = clustered(answers(2000, 0.6, 1), answers(2000, 0.65, 2))
    by_kind = difference(clusters)
    monkeypatch.setattr(bootstrap, "_DRAWS_A_KIND", 10**9)
    by_cluster = difference(clusters, resamples=1000)
    monkeypatch.setattr(bootstrap, "DRAWS_MAX", 0)
    normal = difference(clusters)
    assert (by_kind.method, by_cluster.method, normal.method) == ("bootstrap", "bootstrap", "normal")
    for found in (by_cluster, normal):
        assert (found.low, found.high) == pytest.approx((by_kind.low, by_kind.high), abs=0.003)


def test_repeats_are_no_evidence() -> None:
    """A question asked ten times counts once: the interval is as wide as with one run of each."""
    one, other = answers(200, 0.5, 1), answers(200, 0.6, 2)
    once, often = difference(clustered(one, other)), difference(clustered(one * 10, other * 10))
    assert (often.one_n, often.clusters, often.value) == pytest.approx((2000, 200, once.value))
    assert (often.high or 0) - (often.low or 0) == pytest.approx((once.high or 0) - (once.low or 0), rel=0.1)


def test_too_few_clusters() -> None:
    """Of few questions there is no interval, of no runs no mean."""
    few = difference([Cluster(1.0, 1, 0.0, 1), Cluster(1.0, 1, 1.0, 1)])
    assert (few.value, few.low, few.high, few.method) == (-0.5, None, None, "none")
    assert difference([]).one_mean is None
    assert difference([Cluster(1.0, 1, 0.0, 0)]).value is None


def test_more_clusters_needed() -> None:
    """A small difference says how many more questions it takes, by the same formula as for pairs."""
    one = [(f"q{index}", float(index % 10 < 2)) for index in range(100)]
    other = [(f"q{index}", float(2 <= index % 10 < 3)) for index in range(100)]
    found = difference(clustered(one, other))
    assert found.needed == pytest.approx(pairs_needed(20, 10, 100).pairs, rel=0.03)
    assert found.more == (found.needed or 0) - 100


def test_binomial_numbers() -> None:
    """The numbers of a kind that are drawn have the binomial mean and spread."""
    random = Random(1)
    drawn = [bootstrap._binomial(random, 5000, 0.3) for _ in range(2000)]
    assert mean(drawn) == pytest.approx(1500, abs=3)
    assert pstdev(drawn) == pytest.approx(math.sqrt(5000 * 0.21), rel=0.06)
    assert [bootstrap._binomial(random, 7, p) for p in (0.0, 1.0)] == [0, 7]


def test_thousands_of_pairs_are_still_drawn() -> None:
    """5,000 pairs are few enough for 2,000 resamples, not for the normal approximation."""
    found = difference(clustered(answers(5000, 0.6, 1), answers(5000, 0.7, 2)))
    assert (found.method, found.resamples) == ("bootstrap", 2000)
