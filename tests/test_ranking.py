"""The area under the ROC curve."""

from itertools import product
from random import Random

import pytest

from app.experiments.ranking import DOUBT, Auroc, auroc, auroc_counts


def test_published_example() -> None:
    """The ratings of 109 CT images give 0.893 with a standard error of about 0.032 (Hanley and McNeil 1982)."""
    rows = [(1, 3, 33), (2, 2, 6), (3, 2, 6), (4, 11, 11), (5, 33, 2)]
    found = auroc_counts(rows)
    assert (found.n, found.positives, found.negatives) == (109, 51, 58)
    assert found.value == pytest.approx(0.893, abs=5e-4)
    assert (found.high or 0) - (found.low or 0) == pytest.approx(2 * 1.96 * 0.032, rel=0.1)


def test_counts_every_pair() -> None:
    """The area is the share of pairs in which the bad case scores higher, a tie counting half."""
    random = Random(1)
    cases = [(random.choice(list(DOUBT.values())), random.random() < 0.4) for _ in range(60)]
    pairs = list(product([s for s, bad in cases if bad], [s for s, bad in cases if not bad]))
    truth = sum((one > other) + 0.5 * (one == other) for one, other in pairs) / len(pairs)
    assert auroc(cases).value == pytest.approx(truth)


@pytest.mark.parametrize(("scores", "value"), [((0.0, 1.0), 1.0), ((1.0, 0.0), 0.0), ((0.5, 0.5), 0.5)])
def test_ends(scores: tuple[float, float], value: float) -> None:
    """Perfect order is 1, reversed 0, no order a half; none of them has a variance to take an interval from."""
    found = auroc([(scores[0], False)] * 5 + [(scores[1], True)] * 3)
    assert found == Auroc(8, 3, 5, value, None, None)


@pytest.mark.parametrize("cases", [[], [(1.0, True)], [(1.0, False), (0.0, False)]])
def test_one_kind_only(cases: list[tuple[float, bool]]) -> None:
    """Without both kinds there is no area."""
    assert auroc(cases).value is None
    assert auroc(cases).n == len(cases)
