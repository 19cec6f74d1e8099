"""How often the slow model changed the answer, at what wait and cost; and, where it was judged, who was right."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, NamedTuple, Protocol

from app.experiments.intervals import wilson
from app.experiments.list import Verdict
from app.experiments.ranking import DOUBT, auroc_counts
from app.experiments.regret import Mean, regret
from app.experiments.rollup import Basis, Selection
from app.question import Caller

VERDICTS: Final[tuple[Verdict, ...]] = ("agree", "disagree", "unknown")


@dataclass(frozen=True, slots=True)
class Compared:
    """The runs of one class that have a verdict. Each sum stands beside how many runs it is over.

    wait_ms is how much longer the slow lane took, wait_on_change_ms the same where the two disagree; head_start_ms is
    what the fast lane was ahead where they agree.
    """

    prompt_class: str | None
    agree: int = 0
    disagree: int = 0
    unknown: int = 0
    waits: int = 0
    wait_ms: float = 0.0
    waits_on_change: int = 0
    wait_on_change_ms: float = 0.0
    head_start_ms: float = 0.0
    fast_costs: int = 0
    fast_nano: float = 0.0
    slow_costs: int = 0
    slow_nano: float = 0.0


class Judged(NamedTuple):
    """How many runs of one class with one verdict have one judgement of each answer; None: not judged."""

    prompt_class: str | None
    verdict: Verdict
    fast_correct: bool | None
    slow_correct: bool | None
    n: int


class WaitQuantiles(NamedTuple):
    """How much longer the slow lane took in the runs of a class, or in all of them (whole), at p50 and p95."""

    prompt_class: str | None
    whole: bool
    p50_ms: float
    p95_ms: float


class Comparisons(NamedTuple):
    """What is known of the runs that have a verdict."""

    compared: list[Compared]
    judged: list[Judged]
    waits: list[WaitQuantiles]
    basis: Basis


class Verdicts(Protocol):
    """Where the verdicts of past runs are counted."""

    async def comparisons(self, caller: Caller, wanted: Selection) -> Comparisons:
        """The caller's runs that have a verdict, class by class. Raises RecordUnavailable."""
        ...


async def agreement(source: Verdicts, caller: Caller, wanted: Selection) -> dict[str, Any]:
    """The report over all classes together and over each."""
    known = await source.comparisons(caller, wanted)
    classes = sorted(known.compared, key=lambda one: (one.prompt_class is None, one.prompt_class))
    return {
        "total": _report(_whole(classes), known.judged, [q for q in known.waits if q.whole]),
        "classes": [
            {"class": one.prompt_class}
            | _report(
                one,
                [judged for judged in known.judged if judged.prompt_class == one.prompt_class],
                [q for q in known.waits if not q.whole and q.prompt_class == one.prompt_class],
            )
            for one in classes
        ],
    } | known.basis.told()


def _whole(classes: Sequence[Compared]) -> Compared:
    """All classes together."""
    names = [field.name for field in fields(Compared) if field.name != "prompt_class"]
    return Compared(None, *(sum(getattr(one, name) for one in classes) for name in names))


def _report(compared: Compared, judged: Sequence[Judged], waits: Sequence[WaitQuantiles]) -> dict[str, Any]:
    """What these runs say."""
    n = compared.agree + compared.disagree + compared.unknown
    shares: dict[str, Any] = {verdict: wilson(getattr(compared, verdict), n)._asdict() for verdict in VERDICTS}
    return {"n": n, **shares, **_worth(compared, waits), **_judged(judged)}


def _worth(compared: Compared, waits: Sequence[WaitQuantiles]) -> dict[str, Any]:
    """What the slow answer costs in time and money, and the part of the head start that can be used.

    The usable head start is the mean of time gained x agree: time won with an answer that did not stand is not won.
    """
    at = waits[0] if waits else None
    return {
        "extra_wait_ms": _mean(compared.wait_ms, compared.waits)._asdict()
        | {"p50": at and at.p50_ms, "p95": at and at.p95_ms},
        "wait_on_change_ms": _mean(compared.wait_on_change_ms, compared.waits_on_change)._asdict(),
        "usable_head_start_ms": _mean(compared.head_start_ms, compared.waits)._asdict(),
        "fast_cost_usd": _mean(compared.fast_nano / 1e9, compared.fast_costs)._asdict(),
        "extra_cost_usd": _mean(compared.slow_nano / 1e9, compared.slow_costs)._asdict(),
    }


def _judged(counts: Sequence[Judged]) -> dict[str, Any]:
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


def _n(counts: Iterable[Judged]) -> int:
    """How many runs."""
    return sum(count.n for count in counts)


def _mean(total: float, n: int) -> Mean:
    """The mean, null of none."""
    return Mean(n, total / n if n else None)
