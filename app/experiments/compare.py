"""Two variants of an experiment against each other: paired where both were asked the same question."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean, median
from typing import Any, Final, Literal, NamedTuple, Protocol

from app.experiments.bootstrap import CLUSTERS_MIN, Difference, clustered, difference
from app.experiments.intervals import wilson
from app.experiments.paired import mcnemar, pairs_needed
from app.question import Caller

Metric = Literal["correct", "agreement", "latency", "ttft", "cost"]
Part = Literal["run", "fast", "slow"]
BINARY: Final = frozenset({"correct", "agreement"})
UNITS: Final[dict[Metric, str]] = {
    "correct": "share", "agreement": "share", "latency": "ms", "ttft": "ms", "cost": "usd",
}  # fmt: skip
RUNS_MAX: Final = 50_000


@dataclass(frozen=True, slots=True)
class Contest:
    """What is compared with what. part: the whole run or one of its lanes; until is exclusive."""

    experiment: str
    a: str
    b: str
    metric: Metric
    part: Part = "run"
    since: datetime | None = None
    until: datetime | None = None
    prompt_class: str | None = None


class Measured(NamedTuple):
    """One run: its variant, its question as a hash, what was measured. None: not kept, not measured."""

    variant: str
    question: str | None
    value: float | None


class Outcomes(Protocol):
    """Where the runs of an experiment are read."""

    async def outcomes(self, caller: Caller, contest: Contest, limit: int) -> list[Measured]:
        """At most limit of the caller's runs of both variants, newest first. Raises RecordUnavailable."""
        ...


async def compare(source: Outcomes, caller: Caller, contest: Contest) -> dict[str, Any]:
    """How b differs from a, and how sure that is."""
    runs = await source.outcomes(caller, contest, RUNS_MAX + 1)
    report = await asyncio.to_thread(_report, runs[:RUNS_MAX], contest)
    return report | {"truncated": len(runs) > RUNS_MAX}


def _report(runs: Sequence[Measured], contest: Contest) -> dict[str, Any]:
    """What these runs say. A run without a question is a question of its own."""
    sides = {
        name: [
            (run.question or f"#{i}", run.value)
            for i, run in enumerate(runs)
            if run.variant == name and run.value is not None
        ]
        for name in (contest.a, contest.b)
    }
    shared = {question for question, _ in sides[contest.a]} & {question for question, _ in sides[contest.b]}
    paired = len(shared) >= CLUSTERS_MIN
    one, other = ([run for run in side if run[0] in shared or not paired] for side in sides.values())
    found = difference(clustered(one, other))
    return {
        "experiment": contest.experiment,
        "metric": contest.metric,
        "part": contest.part,
        "unit": UNITS[contest.metric],
        "a": _side(contest, contest.a, runs, sides[contest.a]),
        "b": _side(contest, contest.b, runs, sides[contest.b]),
        "paired": paired,
        "questions": {"n": found.clusters, "of_both": len(shared)},
        "difference": _difference(found),
        "mcnemar": _mcnemar(one, other, shared) if contest.metric in BINARY else None,
        "verdict": _verdict(found, contest),
    }


def _side(
    contest: Contest, name: str, runs: Sequence[Measured], measured: Sequence[tuple[str, float]]
) -> dict[str, Any]:
    """One variant by itself: how many runs it has, in how many the metric was measured, and what came out."""
    values = [value for _, value in measured]
    side: dict[str, Any] = {"variant": name, "runs": sum(run.variant == name for run in runs), "n": len(values)}
    if contest.metric in BINARY:
        return side | wilson(round(sum(values)), len(values))._asdict()
    return side | {"mean": fmean(values) if values else None, "median": median(values) if values else None}


def _difference(found: Difference) -> dict[str, Any]:
    """The mean of b minus the mean of a, and how many questions it takes to be sure of one as large."""
    return {
        "n": found.clusters,
        "a_mean": found.one_mean,
        "b_mean": found.other_mean,
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "method": found.method,
        "resamples": found.resamples,
        "needed": found.needed,
        "more": found.more,
    }


def _mcnemar(one: Iterable[tuple[str, float]], other: Iterable[tuple[str, float]], shared: set[str]) -> dict[str, Any]:
    """The newest run of each variant for every question that both were asked."""
    first: dict[str, float] = {}
    second: dict[str, float] = {}
    for side, into in ((one, first), (other, second)):
        for question, value in side:
            into.setdefault(question, value)
    pairs = [(first[question], second[question]) for question in shared]
    a_only, b_only = sum(a > b for a, b in pairs), sum(a < b for a, b in pairs)
    test, need = mcnemar(a_only, b_only, len(pairs)), pairs_needed(a_only, b_only, len(pairs))
    return {
        "n": test.n, "a_only": a_only, "b_only": b_only, "p_exact": test.p_exact, "p_mid": test.p_mid,
        "needed": need.pairs, "more": need.more,
    }  # fmt: skip


def _verdict(found: Difference, contest: Contest) -> str:
    """What may be concluded, in one sentence."""
    empty = [name for name, n in ((contest.a, found.one_n), (contest.b, found.other_n)) if not n]
    if empty or found.value is None:
        return f"Nothing can be compared: no run of {' and of '.join(empty)} has this metric (n = 0)."
    if found.low is None or found.high is None:
        more = CLUSTERS_MIN - found.clusters
        return f"n is too small: {found.clusters} questions; at least {more} more are needed for an interval at all."
    if found.low > 0 or found.high < 0:
        return f"{contest.b} is {'higher' if found.value > 0 else 'lower'} than {contest.a}: the interval excludes 0."
    if found.more is None:
        return "No difference was seen, so that no number of questions follows from the data."
    return (
        f"n is too small to tell this difference from chance: about {max(found.more, 1)} more questions are needed "
        "if it is as large as it looks."
    )
