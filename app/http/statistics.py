"""/api/experiments/stats, /agreement, /deadline-curve and /compare: what many records say together."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query
from pydantic import Field

from app.errors import MalformedRequest
from app.experiments.compare import Contest, Part, compare
from app.experiments.compare import Metric as Compared
from app.experiments.deadline import ADVISED, Metric, Timed, deadline_curve
from app.experiments.stats import KEYS, parse_by, stats
from app.experiments.verdicts import agreement
from app.http.body import Label
from app.http.callers import Asker
from app.http.describe import REFUSALS
from app.http.filters import GivenMask, SelectionQuery, SpanQuery, once
from app.http.parts import GivenPast
from app.question import LaneName

STATS: Final = (
    "Times in milliseconds, within 1 %; lanes that were cut short count for as long as they ran (Kaplan-Meier), and a "
    "quantile that the data do not reach is null. Costs in US dollars, over the n whose cost is known. Replays are no "
    "races: unless `source=cache` asks for them they are counted in `source` and `cache` alone."
)


class StatsQuery(SelectionQuery):
    """Which runs, and by what they are grouped."""

    by: Annotated[
        str | None, Field(max_length=100, description=f"Group by these, a comma list of {', '.join(KEYS)}")
    ] = None


class CurveQuery(SelectionQuery):
    """Which lane, which of its times, and the share of answers that the timeout should let through."""

    lane: Annotated[LaneName, Field(description="Whose times")] = "slow"
    metric: Annotated[Metric, Field(description="Until the first token, or until the answer is complete")] = "total"
    share: Annotated[
        float, Field(ge=0.5, le=0.999, description="Of the answers, the part that the timeout should let through")
    ] = ADVISED


class CompareQuery(SpanQuery):
    """Which two variants of which experiment, and in what."""

    experiment: Annotated[Label, Field(description="Which both variants belong to")]
    a: Annotated[Label, Field(description="One variant")]
    b: Annotated[Label, Field(description="The other; differences are b minus a")]
    metric: Annotated[Compared, Field(description="correct: by feedback, `fast_correct` and `slow_correct`")] = (
        "correct"
    )
    part: Annotated[Part, Field(description="The whole run or one of its lanes; agreement is of a run")] = "run"


routes: Final = APIRouter(tags=["experiments"], responses=REFUSALS, dependencies=[Depends(once)])


@routes.get(
    "/api/experiments/stats",
    summary="Counts, times, tokens and cost, in total and by any of a few keys",
    description=STATS,
)
async def in_numbers(
    past: GivenPast, mask: GivenMask, caller: Asker, query: Annotated[StatsQuery, Query()]
) -> dict[str, Any]:
    return await stats(past.rolled_up, caller, query.as_kept(mask, caller).selection(), parse_by(query.by))


@routes.get("/api/experiments/agreement", summary="How often the slow model changed the answer, at what price")
async def in_agreement(
    past: GivenPast, mask: GivenMask, caller: Asker, query: Annotated[SelectionQuery, Query()]
) -> dict[str, Any]:
    return await agreement(past.reads, caller, query.as_kept(mask, caller).selection())


@routes.get("/api/experiments/deadline-curve", summary="How long a lane takes, and which timeout follows")
async def in_time(
    past: GivenPast, mask: GivenMask, caller: Asker, query: Annotated[CurveQuery, Query()]
) -> dict[str, Any]:
    timed = Timed(query.lane, query.metric)
    return await deadline_curve(past.reads, caller, query.as_kept(mask, caller).selection(), timed, query.share)


@routes.get("/api/experiments/compare", summary="Two variants of an experiment against each other")
async def in_contest(
    past: GivenPast, mask: GivenMask, caller: Asker, query: Annotated[CompareQuery, Query()]
) -> dict[str, Any]:
    # labels are looked for, and repeated, as the record has them
    query = query.as_kept(mask, caller)
    labels = {name: mask(getattr(query, name), caller.grant.content) for name in ("a", "b")}
    if labels["a"] == labels["b"]:
        raise MalformedRequest("b: must be another variant than a")
    if query.metric == "agreement" and query.part != "run":
        raise MalformedRequest("part: agreement is of the whole run; leave it out, or ask for another metric")
    return await compare(past.reads, caller, Contest(**(query.model_dump() | labels)))
