"""/api/experiments: the records, newest first, and one of them whole."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query
from pydantic import Field

from app.errors import MalformedRequest
from app.experiments.list import PAYLOAD_LIMIT_MAX, list_runs, only, parse_fields, with_payloads
from app.http.callers import Asker
from app.http.describe import REFUSALS, RunId
from app.http.filters import FilterQuery, once
from app.http.parts import Given
from app.http.runs import record_of


class ListQuery(FilterQuery):
    """The filters of the list, which page of it, and how much of each record."""

    limit: Annotated[int, Field(ge=1, le=200, description="Records a page; at most 50 with their payload")] = 50
    cursor: Annotated[
        str | None, Field(max_length=500, description="`next_cursor` of the page before, under the same filters")
    ] = None
    fields: Annotated[
        str | None, Field(max_length=500, description="A comma list of what to show of each record; all without it")
    ] = None
    payload: Annotated[bool, Field(description="With questions and answers, null where not kept any more")] = False


routes: Final = APIRouter(tags=["experiments"], responses=REFUSALS)


@routes.get("/api/experiments", summary="Records, newest first", dependencies=[Depends(once)])
async def page(parts: Given, caller: Asker, query: Annotated[ListQuery, Query()]) -> dict[str, Any]:
    past, filters = parts.past, query.as_kept(parts.mask, caller).filters()
    fields = parse_fields(query.fields)
    if query.payload and query.limit > PAYLOAD_LIMIT_MAX:
        raise MalformedRequest(f"limit: must be from 1 to {PAYLOAD_LIMIT_MAX} with payload=true")
    found = await list_runs(parts.records, caller, filters, query.limit, query.cursor)
    if query.payload and past is not None:
        found = await with_payloads(past.reads, caller, found)
    return only(found, fields)


@routes.get("/api/experiments/{run_id}", summary="One record with both lanes, payloads, timing and feedback")
async def detail(parts: Given, caller: Asker, run_id: RunId) -> dict[str, Any]:
    past = parts.past
    record = await record_of(parts, caller, run_id)
    if past is None:
        return record | {"feedback": {}}
    saved = {"saved_usd": await past.reads.saved(caller, run_id)} if record["source"] == "cache" else {}
    return record | saved | {"feedback": await past.reads.said(caller, run_id) or {}}
