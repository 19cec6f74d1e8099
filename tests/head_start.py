"""What the fast answers of some runs were worth, worked out run by run: the truth that statistics by SQL must meet."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from app.experiments.intervals import Share, wilson
from app.experiments.regret import Mean


class Pair(NamedTuple):
    """One run in which both lanes answered: when each was there (ms since the start), what each cost, the verdict.

    What is not known is None and is left out of the means that need it.
    """

    verdict: Literal["agree", "disagree", "unknown"]
    fast_ms: float | None = None
    slow_ms: float | None = None
    fast_cost_nano: int | None = None
    slow_cost_nano: int | None = None


class HeadStart(NamedTuple):
    """Means over runs. Times in ms, costs in nano-dollars.

    gained is how much earlier the fast answer was there, 0 where it came later. usable is the mean of time gained x
    agree: what counts is the time won with an answer that stood. extra_wait is how much later the slow answer came,
    negative where it came first; wait_on_change the same where the two disagree. extra_cost is what the slow lane costs
    on top of the fast one; premium what all fast lanes cost as a share of what the slow lanes of the same runs cost.
    """

    n: int
    agree: Share
    disagree: Share
    unknown: Share
    gained_ms: Mean
    usable_ms: Mean
    extra_wait_ms: Mean
    wait_on_change_ms: Mean
    extra_cost_nano: Mean
    premium: Mean


def head_start(pairs: Iterable[Pair]) -> HeadStart:
    """The worth of the fast answers of these runs."""
    rows = list(pairs)
    count = {verdict: sum(row.verdict == verdict for row in rows) for verdict in ("agree", "disagree", "unknown")}
    waits = [
        (row.slow_ms - row.fast_ms, row.verdict) for row in rows if row.slow_ms is not None and row.fast_ms is not None
    ]
    costs = [
        (row.fast_cost_nano, row.slow_cost_nano)
        for row in rows
        if row.fast_cost_nano is not None and row.slow_cost_nano is not None
    ]
    slow_total = sum(slow for _, slow in costs)
    return HeadStart(
        n=len(rows),
        agree=wilson(count["agree"], len(rows)),
        disagree=wilson(count["disagree"], len(rows)),
        unknown=wilson(count["unknown"], len(rows)),
        gained_ms=_mean([max(0.0, wait) for wait, _ in waits]),
        usable_ms=_mean([max(0.0, wait) if verdict == "agree" else 0.0 for wait, verdict in waits]),
        extra_wait_ms=_mean([wait for wait, _ in waits]),
        wait_on_change_ms=_mean([wait for wait, verdict in waits if verdict == "disagree"]),
        extra_cost_nano=_mean([row.slow_cost_nano for row in rows if row.slow_cost_nano is not None]),
        premium=Mean(len(costs), sum(fast for fast, _ in costs) / slow_total if slow_total else None),
    )


def _mean(values: list[float] | list[int]) -> Mean:
    """The mean of the values, if there are any."""
    return Mean(len(values), sum(values) / len(values) if values else None)
