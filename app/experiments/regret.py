"""What would have been lost by taking the fast answer: regret, and the reverse."""

from typing import NamedTuple

from app.experiments.intervals import Share, wilson


class Mean(NamedTuple):
    """A mean and how many values it is of; None of none."""

    n: int
    mean: float | None


class Regret(NamedTuple):
    """Runs with both answers judged. regret: fast wrong and slow right; reverse: fast right and slow wrong."""

    n: int
    fast_correct: Share
    slow_correct: Share
    regret: Share
    reverse: Share


def regret(both: int, fast_only: int, slow_only: int, neither: int) -> Regret:
    """From how many runs both answers were right, only the fast one, only the slow one, or neither."""
    n = both + fast_only + slow_only + neither
    return Regret(
        n, wilson(both + fast_only, n), wilson(both + slow_only, n), wilson(slow_only, n), wilson(fast_only, n)
    )
