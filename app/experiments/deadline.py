"""Which timeout to set: how long a lane takes, with those that were cut short counted for as long as they ran."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, Protocol

from app.experiments.rollup import Basis, Selection
from app.experiments.survival import Advice, Curve, kaplan_meier_counts
from app.question import Caller, LaneName

Metric = Literal["total", "first_token"]
QUANTILES: Final = (0.5, 0.9, 0.95, 0.99)
POINTS_MAX: Final = 200
ADVISED: Final = 0.95


class LaneTime(NamedTuple):
    """How many attempts ended so after that many milliseconds; ms is None where nobody measured it."""

    ended: Literal["finished", "censored", "failed"]
    ms: float | None
    n: int


class Times(NamedTuple):
    """How long the lanes took, and what that rests on."""

    rows: list[LaneTime]
    basis: Basis


@dataclass(frozen=True, slots=True)
class Timed:
    """Which times are meant: of which lane, up to its first token or to its end."""

    lane: LaneName
    metric: Metric


class LaneTimes(Protocol):
    """Where the times of past lanes are read."""

    async def lane_times(self, caller: Caller, wanted: Selection, timed: Timed) -> Times:
        """How long the lanes of the caller's runs took; the model of the selection is that of the lane.

        Raises RecordUnavailable.
        """
        ...


async def deadline_curve(
    source: LaneTimes, caller: Caller, wanted: Selection, timed: Timed, share: float = ADVISED
) -> dict[str, Any]:
    """The curve, its quantiles, and the timeout by which this share of the lanes ends."""
    times = await source.lane_times(caller, wanted, timed)
    return await asyncio.to_thread(_report, times.rows, timed, share) | times.basis.told()


def _report(rows: Sequence[LaneTime], timed: Timed, share: float) -> dict[str, Any]:
    """What these times say. Failed lanes tell nothing of how long an answer takes: they are counted, and left out."""
    seen = [row for row in rows if row.ended != "failed" and row.ms is not None]
    curve = kaplan_meier_counts(
        (row.ms or 0.0, row.n if row.ended == "finished" else 0, row.n if row.ended == "censored" else 0)
        for row in seen
    )
    advice = curve.advise(share)
    quantiles = {f"p{round(p * 100)}": curve.quantile(p) for p in QUANTILES}
    return {
        "lane": timed.lane,
        "metric": timed.metric,
        "n": curve.n,
        "events": curve.finished,
        "censored": curve.censored,
        "failed": sum(row.n for row in rows if row.ended == "failed"),
        "not_measured": sum(row.n for row in rows if row.ended != "failed" and row.ms is None),
        "quantiles": {
            name: {"ms": q.value, "low": q.low, "high": q.high, "reached": q.value is not None}
            for name, q in quantiles.items()
        },
        "advised_timeout": {"share": share, "ms": advice.timeout, "reason": _reason(advice, curve, timed)},
        "curve": [curve.finished_by(at)._asdict() for at in _points(curve.times)],
    }


def _points(times: Sequence[float]) -> list[float]:
    """At most 200 of the times, the first and the last among them."""
    if len(times) <= POINTS_MAX:
        return list(times)
    return [times[round(i * (len(times) - 1) / (POINTS_MAX - 1))] for i in range(POINTS_MAX)]


def _percent(share: float) -> str:
    """A share as one reads it, never rounded up to what was not reached."""
    return f"{math.floor(share * 1000 + 1e-9) / 10:g}%"


def _reason(advice: Advice, curve: Curve, timed: Timed) -> str:
    """Why this timeout, in one sentence."""
    did = "had its first token" if timed.metric == "first_token" else "was complete"
    if not advice.n:
        return "No lane of this kind was seen (n = 0), so nothing can be advised."
    if advice.timeout is None and advice.reached < advice.p:
        return (
            f"Of {advice.n} lanes {curve.censored} were cut short, so that the data speak of the first "
            f"{_percent(advice.reached)} alone and not of {_percent(advice.p)}: let some lanes run longer."
        )
    if advice.timeout is None:
        return f"{advice.n} lanes are too few to be sure of {_percent(advice.p)} with 95 % confidence: collect more."
    return (
        f"By then the answer of {_percent(advice.p)} of the lanes {did}, with 95 % confidence, as estimated from "
        f"{advice.n} lanes of which {curve.censored} were cut short."
    )
