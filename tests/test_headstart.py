"""What the fast answer is worth."""

import pytest

from app.experiments.headstart import Mean, Pair, head_start, regret
from app.experiments.intervals import wilson

PAIRS = [
    Pair("agree", 400, 2400, 10, 90),
    Pair("disagree", 500, 3500, 10, 110),
    Pair("unknown", 300, 1300, None, 100),
    Pair("agree", 900, 600, 20, 100),
    Pair("agree", None, 700, 20, None),
]


def test_usable_head_start() -> None:
    """The usable head start counts the time gained only where the fast answer stood."""
    found = head_start(PAIRS)
    assert found.n == 5
    assert found.gained_ms == Mean(4, (2000 + 3000 + 1000 + 0) / 4)
    assert found.usable_ms == Mean(4, 2000 / 4)


def test_waits_and_costs() -> None:
    """The extra wait is negative where the slow answer came first; what is not known is left out and not counted."""
    found = head_start(PAIRS)
    assert found.extra_wait_ms == Mean(4, (2000 + 3000 + 1000 - 300) / 4)
    assert found.wait_on_change_ms == Mean(1, 3000)
    assert found.extra_cost_nano == Mean(4, 100)
    assert found.premium == Mean(3, 40 / 300)


def test_shares() -> None:
    """The three verdicts are shares of all runs."""
    found = head_start(PAIRS)
    assert (found.agree, found.disagree, found.unknown) == (wilson(3, 5), wilson(1, 5), wilson(1, 5))


def test_nothing() -> None:
    """Of no runs there is no mean and no share."""
    found = head_start([])
    assert (found.n, found.agree.share, found.usable_ms, found.premium) == (0, None, Mean(0, None), Mean(0, None))
    assert regret(0, 0, 0, 0).regret.share is None


def test_regret() -> None:
    """Regret is what the fast answer alone would have cost, reverse regret what the slow one alone would."""
    found = regret(both=50, fast_only=10, slow_only=30, neither=10)
    assert found.n == 100
    assert [s.share for s in (found.fast_correct, found.slow_correct)] == pytest.approx([0.6, 0.8])
    assert [s.share for s in (found.regret, found.reverse)] == pytest.approx([0.3, 0.1])
