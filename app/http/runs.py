"""/v1/runs: come back to a run, stop it, take its preliminary answer, read its record."""

from typing import Any, Final, Literal

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.errors import BadLastEventId, MalformedRequest
from app.http.callers import Asker
from app.http.describe import REFUSALS, RUN_HEADERS, RunId
from app.http.parts import Given, Parts
from app.http.resume import arrived, last_event_id, resume, unknown
from app.question import Caller

_EVENTS: Final[dict[str, Any]] = {
    "parameters": [
        {
            "name": name,
            "in": where,
            "schema": {"type": "string"},
            "description": "The id of the last event that was seen; everything without it",
        }
        for name, where in (("Last-Event-ID", "header"), ("last_event_id", "query"))
    ],
    "responses": {
        "200": {
            "description": "The events behind it",
            "headers": RUN_HEADERS,
            "content": {"text/event-stream": {}},
        },
        "204": {"description": "There is nothing behind it: it was `done`"},
    },
}


routes: Final = APIRouter(tags=["runs"], responses=REFUSALS)


@routes.get("/v1/runs/{run_id}", summary="The record of a run")
async def record(parts: Given, caller: Asker, run_id: RunId) -> dict[str, Any]:
    return await record_of(parts, caller, run_id)


@routes.get(
    "/v1/runs/{run_id}/events", response_class=Response, summary="The rest of a run's stream", openapi_extra=_EVENTS
)
async def events(parts: Given, request: Request, caller: Asker, run_id: RunId) -> Response:
    if [name for name, _ in request.query_params.multi_items()] not in ([], ["last_event_id"]):
        raise MalformedRequest("the only query parameter here is `last_event_id`, once")
    seen = last_event_id(request, request.query_params.get("last_event_id"))
    if seen is not None and seen[0] != run_id:
        raise BadLastEventId("the Last-Event-ID is of another run")
    return await resume(parts, caller, run_id, -1 if seen is None else seen[1])


@routes.post("/v1/runs/{run_id}/cancel", summary="Stop a run; harmless when it has ended")
async def cancel(parts: Given, caller: Asker, run_id: RunId) -> dict[str, Any]:
    return await _stop(parts, caller, run_id, "cancelled")


@routes.post("/v1/runs/{run_id}/accept", summary="Take the preliminary answer and stop the slow lane")
async def accept(parts: Given, caller: Asker, run_id: RunId) -> dict[str, Any]:
    return await _stop(parts, caller, run_id, "accepted")


async def record_of(parts: Parts, caller: Caller, run_id: str) -> dict[str, Any]:
    """One record with its payload. Raises NoSuchRun, or RunNotLive while it may be on its way."""
    await arrived(parts, caller, run_id)
    found = await parts.records.get(caller, run_id)
    if found is None:
        raise await unknown(parts, caller, run_id)
    return found


async def _stop(parts: Parts, caller: Caller, run_id: str, cause: Literal["cancelled", "accepted"]) -> dict[str, Any]:
    """Stop the run where it lives."""
    if parts.runs.find(run_id, caller) is None:
        ended = await parts.answers.elsewhere.stop(run_id, caller, cause)
        if ended is not None:
            return {"run_id": run_id, "ended": ended}
    stop = parts.runs.cancel if cause == "cancelled" else parts.runs.accept
    return {"run_id": run_id, "ended": stop(run_id, caller).closed}
