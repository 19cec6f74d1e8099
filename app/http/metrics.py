"""/prometheus, /metrics and /api/metrics/summary: what the server tells of itself, to machines and to people."""

import hmac
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Protocol

from fastapi import APIRouter, Query
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Scope

from app.errors import Unauthenticated
from app.experiments.rollup import RolledUp, Selection
from app.experiments.stats import stats
from app.http.callers import Asker, Identify
from app.http.describe import REFUSALS
from app.http.given import given
from app.question import Caller

SCRAPED: Final = frozenset({"/prometheus", "/metrics"})
SCRAPER: Final = Caller("scraper", rights=frozenset({"admin"}))  # only ever made for the paths above
HOURS_MAX: Final = 24 * 31
PEOPLE: Final = (
    "`now`: by the names that /prometheus has. `cache`: since this server began. `windows`: of the last 5 minutes, "
    "hour and day (the first slot of a span may be missing: 10 s, 2 min, 30 min): counts, times in milliseconds with "
    "percentiles within 1 %, tokens, US dollars as far as they are known. Of this instance alone."
)
SUMMARY: Final = (
    "Runs of all callers, from the hour that was this long ago, as /api/experiments/stats tells them, in total and by "
    "model; `behind`: hours with changes of the last seconds that are not counted yet. Of all instances."
)

Hours = Annotated[int, Query(ge=1, le=HOURS_MAX, description="How far back, in whole hours")]


class Numbers(Protocol):
    """The numbers of this instance."""

    content_type: str  # of what is scraped

    async def scraped(self) -> bytes:
        """In Prometheus' text format."""
        ...

    async def told(self) -> dict[str, Any]:
        """The same for people."""
        ...


Given = Annotated[Numbers, given("numbers")]
Everybodys = Annotated[RolledUp, given("past.everybodys")]
routes: Final = APIRouter(tags=["metrics"], responses=REFUSALS)
of_everybody: Final = APIRouter(tags=["metrics"], responses=REFUSALS)


@routes.get("/prometheus", response_class=Response, summary="The numbers of this instance, for Prometheus")
async def scraped(numbers: Given) -> Response:
    return Response(await numbers.scraped(), media_type=numbers.content_type)


@routes.get("/metrics", summary="The numbers of this instance, for people", description=PEOPLE)
async def told(numbers: Given) -> dict[str, Any]:
    return await numbers.told()


@of_everybody.get("/api/metrics/summary", summary="What the record says of the last hours", description=SUMMARY)
async def summary(everybodys: Everybodys, caller: Asker, hours: Hours = 24) -> dict[str, Any]:
    now = datetime.now(UTC)
    since = (now - timedelta(hours=hours)).replace(minute=0, second=0, microsecond=0)
    report = await stats(everybodys, caller, Selection(since=since), ("model",))
    return {"since": since.isoformat(), "hours": hours, **report}


def scrapers(identify: Identify, token: str, *, alone: bool) -> Identify:
    """Let whoever shows METRICS_TOKEN read what is scraped, and nothing else; alone: nobody else may read it."""
    expected = f"bearer {token}".encode()

    async def identified(headers: Headers, scope: Scope) -> Caller:
        """Who asks. Raises what `identify` raises."""
        if scope["path"] not in SCRAPED:
            return await identify(headers, scope)
        # as bytes: of UTF-8 read as Latin-1 some letters end like white space
        scheme, _, shown = headers.get("authorization", "").encode("latin-1").partition(b" ")
        if hmac.compare_digest(scheme.lower() + b" " + shown.strip(), expected):
            return SCRAPER
        if alone:
            raise Unauthenticated("send `Authorization: Bearer METRICS_TOKEN`")
        return await identify(headers, scope)

    return identified
