"""Wilson's interval for a share."""

import pytest
from cells import rows

from app.experiments.intervals import Share, wilson, z_of


@rows(
    ("hits", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_published_examples(hits: int, n: int, low: float, high: float) -> None:
    """The interval is the one that Newcombe (1998) prints for the score method."""
    found = wilson(hits, n)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
    assert (found.n, found.hits, found.share) == (n, hits, hits / n)


def test_nothing_counted() -> None:
    """Of nothing there is no share."""
    assert wilson(0, 0) == Share(0, 0, None, None, None)


@pytest.mark.parametrize("n", [1, 7, 1_000_000])
def test_ends(n: int) -> None:
    """All of n has the upper bound 1, none the lower bound 0, and they mirror each other."""
    assert wilson(n, n).high == 1.0
    assert wilson(0, n).low == 0.0
    assert wilson(n, n).low == pytest.approx(1 - (wilson(0, n).high or 0))


def test_level() -> None:
    """A higher level makes a wider interval."""
    assert z_of(0.95) == pytest.approx(1.959964, abs=1e-6)
    assert (wilson(5, 10, 0.99).low or 1) < (wilson(5, 10).low or 0)


@pytest.mark.parametrize(("hits", "n"), [(-1, 3), (4, 3)])
def test_no_share(hits: int, n: int) -> None:
    """More hits than cases, or fewer than none, are a mistake of the caller."""
    with pytest.raises(ValueError, match="no share"):
        wilson(hits, n)
