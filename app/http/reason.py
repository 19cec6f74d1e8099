"""POST and GET /v1/reason: one question, one stream."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.http import describe
from app.http.body import ReasonBody, discard_body, query_to_body, read_body, read_query, to_question
from app.http.callers import caller_of
from app.http.parts import Parts
from app.http.resume import last_event_id, resume
from app.http.shortcut import Handler
from app.http.stream import RunAnswer, RunStream
from app.question import Caller

PATH = "/v1/reason"


def asker(parts: Parts) -> Handler:
    """The handler of POST over these parts."""

    async def ask(request: Request) -> Response:
        seen = last_event_id(request, None)
        if seen is not None:  # a client that comes back by asking again means the run it was reading
            await discard_body(request, parts.max_body_bytes)
            return await resume(parts, caller_of(request), *seen)
        return answer(parts, caller_of(request), await read_body(request, parts.max_body_bytes, ReasonBody))

    return ask


def router(parts: Parts) -> APIRouter:
    """The routes over these parts."""
    routes = APIRouter(tags=["reason"])
    routes.post(PATH, openapi_extra=describe.BODY, response_class=Response, summary="Ask a question")(asker(parts))

    @routes.get(
        PATH,
        openapi_extra=describe.QUERY,
        response_class=Response,
        summary="Ask with EventSource, or resume with Last-Event-ID",
    )
    async def ask_by_url(request: Request) -> Response:
        query = read_query(request)
        seen = last_event_id(request, query.last_event_id)
        if seen is not None:
            return await resume(parts, caller_of(request), *seen)
        return answer(parts, caller_of(request), query_to_body(query))

    return routes


def answer(parts: Parts, caller: Caller, body: ReasonBody) -> Response:
    """Open a run and read it, as a stream or as one object."""
    run = parts.runs.open(to_question(body, parts.defaults), caller)
    headers = {"X-Run-ID": run.run_id, "X-Run-Source": "live"}
    return RunStream(run, -1, parts.ping_s, headers) if body.stream else RunAnswer(run, headers)
