"""How often the slow model changed the answer, at what wait and cost; and, where it was judged, who was right."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from app.experiments.headstart import Mean, regret
from app.experiments.intervals import wilson
from app.experiments.list import Verdict
from app.experiments.ranking import DOUBT, auroc_counts
from app.experiments.rollup import Selection
from app.question import Caller

VERDICTS: Final[tuple[Verdict, ...]] = ("agree", "disagree", "unknown")


@dataclass(frozen=True, slots=True)
class VerdictCount:
    """The n runs of one class with one verdict and one judgement of each answer; None: not judged.

    Each sum stands beside how many runs it is over. wait_ms is how much longer the slow lane took, ahead_ms the same
    without the runs in which it was first.
    """

    prompt_class: str | None
    verdict: Verdict
    fast_correct: bool | None
    slow_correct: bool | None
    n: int
    waits: int
    wait_ms: float
    ahead_ms: float
    fast_costs: int
    fast_nano: float
    slow_costs: int
    slow_nano: float


@dataclass(frozen=True, slots=True)
class WaitQuantiles:
    """How much longer the slow lane took in the runs of a class, or in all of them (whole), at p50 and p95."""

    prompt_class: str | None
    whole: bool
    p50_ms: float
    p95_ms: float


class Verdicts(Protocol):
    """Where the verdicts of past runs are counted. Both calls raise RecordUnavailable."""

    async def verdicts(self, caller: Caller, wanted: Selection) -> list[VerdictCount]:
        """The caller's runs that have a verdict."""
        ...

    async def wait_quantiles(self, caller: Caller, wanted: Selection) -> list[WaitQuantiles]:
        """The waits of the same runs."""
        ...


async def agreement(source: Verdicts, caller: Caller, wanted: Selection) -> dict[str, Any]:
    """The report over all classes together and over each."""
    counts = await source.verdicts(caller, wanted)
    quantiles = await source.wait_quantiles(caller, wanted) if counts else []
    classes = sorted({count.prompt_class for count in counts}, key=lambda name: (name is None, name))
    return {
        "total": _report(counts, [q for q in quantiles if q.whole]),
        "classes": [
            {"class": name}
            | _report(
                [count for count in counts if count.prompt_class == name],
                [q for q in quantiles if not q.whole and q.prompt_class == name],
            )
            for name in classes
        ],
    }


def _report(counts: Sequence[VerdictCount], quantiles: Sequence[WaitQuantiles]) -> dict[str, Any]:
    """What these counts say."""
    n = sum(count.n for count in counts)
    shares: dict[str, Any] = {
        verdict: wilson(_n(c for c in counts if c.verdict == verdict), n)._asdict() for verdict in VERDICTS
    }
    return {"n": n, **shares, **_worth(counts, quantiles), **_judged(counts)}


def _worth(counts: Sequence[VerdictCount], quantiles: Sequence[WaitQuantiles]) -> dict[str, Any]:
    """What the slow answer costs in time and money, and the part of the head start that can be used.

    The usable head start is the mean of time gained x agree: time won with an answer that did not stand is not won.
    """
    waits = sum(count.waits for count in counts)
    agreed = [count for count in counts if count.verdict == "agree"]
    changed = [count for count in counts if count.verdict == "disagree"]
    at = quantiles[0] if quantiles else None
    return {
        "extra_wait_ms": _mean(sum(c.wait_ms for c in counts), waits)._asdict()
        | {"p50": at and at.p50_ms, "p95": at and at.p95_ms},
        "wait_on_change_ms": _mean(sum(c.wait_ms for c in changed), sum(c.waits for c in changed))._asdict(),
        "usable_head_start_ms": _mean(sum(c.ahead_ms for c in agreed), waits)._asdict(),
        "fast_cost_usd": _mean(sum(c.fast_nano for c in counts) / 1e9, sum(c.fast_costs for c in counts))._asdict(),
        "extra_cost_usd": _mean(sum(c.slow_nano for c in counts) / 1e9, sum(c.slow_costs for c in counts))._asdict(),
    }


def _judged(counts: Sequence[VerdictCount]) -> dict[str, Any]:
    """What feedback says of the answers; every number has the n of the runs that were judged so."""
    fast = [count for count in counts if count.fast_correct is not None]
    slow = [count for count in counts if count.slow_correct is not None]
    both = [count for count in fast if count.slow_correct is not None]
    agreed = [count for count in fast if count.verdict == "agree"]
    table = {
        (one, other): _n(c for c in both if (c.fast_correct, c.slow_correct) == (one, other))
        for one in (True, False)
        for other in (True, False)
    }
    regrets = regret(table[True, True], table[True, False], table[False, True], table[False, False])
    doubts = (
        (DOUBT[v], _n(c for c in fast if c.verdict == v and not c.fast_correct),
         _n(c for c in fast if c.verdict == v and c.fast_correct))
        for v in VERDICTS
    )  # fmt: skip
    return {
        "fast_correct": wilson(_n(c for c in fast if c.fast_correct), _n(fast))._asdict(),
        "slow_correct": wilson(_n(c for c in slow if c.slow_correct), _n(slow))._asdict(),
        "regret": regrets.regret._asdict(),
        "reverse_regret": regrets.reverse._asdict(),
        "correct_when_agreed": wilson(_n(c for c in agreed if c.fast_correct), _n(agreed))._asdict(),
        "auroc_disagree_for_fast_wrong": auroc_counts(doubts)._asdict(),
    }


def _n(counts: Iterable[VerdictCount]) -> int:
    """How many runs."""
    return sum(count.n for count in counts)


def _mean(total: float, n: int) -> Mean:
    """The mean, null of none."""
    return Mean(n, total / n if n else None)
