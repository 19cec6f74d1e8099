"""/api/logs: the request log of the past, newest first."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query
from pydantic import Field

from app.experiments.list import LIMIT_DEFAULT, LIMIT_MAX
from app.experiments.logs import Requests, Wanted, Way, Word, list_requests
from app.http.callers import Asker
from app.http.describe import REFUSALS
from app.http.filters import GivenMask, SpanQuery, once
from app.http.given import given

_LABEL: Final = Field(description="The label that the request came with")


class LogQuery(SpanQuery):
    """Which requests, and which page of them."""

    status: Annotated[
        Word | None,
        Field(description="`error`: no answer; `check_failed`: an unverified one; `cache_hit`; `slow`; else `ok`"),
    ] = None
    source: Annotated[Way | None, Field(description="Ran itself, was replayed, or shared the run of another")] = None
    fingerprint: Annotated[str | None, Field(pattern=r"^[0-9a-f]{64}$", description="Of the question")] = None
    experiment: Annotated[str | None, _LABEL] = None
    variant: Annotated[str | None, _LABEL] = None
    tag: Annotated[str | None, Field(description="One of the request's tags")] = None
    min_duration_ms: Annotated[
        float | None, Field(ge=0, allow_inf_nan=False, description="The request took at least so many milliseconds")
    ] = None
    limit: Annotated[int, Field(ge=1, le=LIMIT_MAX, description="Requests a page")] = LIMIT_DEFAULT
    cursor: Annotated[
        str | None, Field(max_length=500, description="`next_cursor` of the page before, under the same filters")
    ] = None

    def wanted(self) -> Wanted:
        """The filters without the page."""
        return Wanted(**self.model_dump(exclude={"limit", "cursor"}))


routes: Final = APIRouter(tags=["logs"], responses=REFUSALS)


@routes.get("/api/logs", summary="Requests, newest first", dependencies=[Depends(once)])
async def page(
    requests: Annotated[Requests, given("requests")],
    mask: GivenMask,
    caller: Asker,
    query: Annotated[LogQuery, Query()],
) -> dict[str, Any]:
    return await list_requests(requests, caller, query.as_kept(mask, caller).wanted(), query.limit, query.cursor)
