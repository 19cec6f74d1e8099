"""/api/experiments: the records, newest first, and one of them whole."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.errors import MalformedRequest, Outcome
from app.events import Status
from app.experiments.list import Filters, list_runs
from app.http.parts import LOCAL, Parts
from app.http.runs import record_of


def _in_utc(moment: datetime) -> datetime:
    """The moment in UTC; one without a zone is meant so."""
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("is not a moment between the years 1 and 9999") from None


Moment = Annotated[datetime, AfterValidator(_in_utc)]


class ListQuery(BaseModel):
    """The filters of the list; an unknown one is refused rather than ignored."""

    model_config = ConfigDict(extra="forbid")

    since: Moment | None = None
    until: Moment | None = None
    status: Status | Literal["running"] | None = None
    outcome: Outcome | None = None
    experiment: str | None = None
    variant: str | None = None
    prompt_class: str | None = None
    model: str | None = None
    source: Literal["live", "cache"] | None = None
    agreement: Literal["agree", "disagree", "unknown"] | None = None
    min_latency_ms: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    tag: str | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[str, Field(max_length=500)] | None = None


def router(parts: Parts) -> APIRouter:
    """The routes over these parts."""
    routes = APIRouter(tags=["experiments"])

    @routes.get("/api/experiments", summary="Records, newest first")
    async def page(request: Request, query: Annotated[ListQuery, Query()]) -> dict[str, Any]:
        if len(request.query_params.multi_items()) > len(request.query_params):
            raise MalformedRequest("a query parameter was given twice")
        filters = Filters(**query.model_dump(exclude={"limit", "cursor"}))
        return await list_runs(parts.records, LOCAL, filters, query.limit, query.cursor)

    @routes.get("/api/experiments/{run_id}", summary="One record with both lanes, payloads and timing")
    async def detail(run_id: str) -> dict[str, Any]:
        return await record_of(parts, run_id)

    return routes
