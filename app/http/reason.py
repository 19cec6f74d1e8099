"""POST and GET /v1/reason: one question, one stream."""

import asyncio
import re
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.admission.load import VISIT, Visit
from app.errors import MalformedRequest, NoSuchRun
from app.http import describe
from app.http.body import ReasonBody, discard_body, query_to_body, read_body, read_query, to_question
from app.http.callers import caller_of
from app.http.departure import lost_of
from app.http.parts import Given, Parts
from app.http.requests import TOLD, Told
from app.http.resume import again, last_event_id, resume
from app.http.stream import Place, RunAnswer, RunStream
from app.question import Caller, Question
from app.reasoning.desk import Again, Asked

PATH = "/v1/reason"
_IDEMPOTENCY_KEY = re.compile(r"[!-~]{1,255}")
routes: Final = APIRouter(tags=["reason"], responses=describe.REFUSALS)


@routes.post(PATH, openapi_extra=describe.BODY, response_class=Response, summary="Ask a question")
async def ask(parts: Given, request: Request) -> Response:
    seen = last_event_id(request, None)
    if seen is not None:  # a client that comes back by asking again means the run it was reading
        await discard_body(request, parts.max_body_bytes)
        return await resume(parts, caller_of(request), *seen)
    return await answer(parts, request, await read_body(request, parts.max_body_bytes, ReasonBody))


@routes.get(
    PATH,
    openapi_extra=describe.QUERY,
    response_class=Response,
    summary="Ask with EventSource, or resume with Last-Event-ID",
)
async def ask_by_url(parts: Given, request: Request) -> Response:
    query = read_query(request)
    seen = last_event_id(request, query.last_event_id)
    if seen is not None:
        return await resume(parts, caller_of(request), *seen)
    return await answer(parts, request, query_to_body(query))


async def answer(parts: Parts, request: Request, body: ReasonBody) -> Response:
    """Find or begin what answers the question and read it, as a stream or as one object."""
    question = to_question(body, parts.defaults)
    VISIT.set(Visit(asyncio.get_running_loop().time(), lost_of(request.scope)))  # from now on: the body may take long
    asked = await _asked(parts, caller_of(request), question, idempotency_key(request))
    request.scope[TOLD] = Told(asked.log, asked.source, question)
    headers = {"X-Run-ID": asked.log.run_id, "X-Run-Source": asked.source}
    place = Place(guest=asked.guest)
    if body.stream:
        return RunStream(asked.log, place, parts.ping_s, headers)
    return RunAnswer(asked.log, place, headers)


async def _asked(parts: Parts, caller: Caller, question: Question, key: str | None) -> Asked:
    """What answers the question; under a key that was used before, the run it was used for."""
    asked = await parts.answers.desk.ask(question, caller, key)
    finish = question.on_disconnect == "finish"
    if isinstance(asked, Again):
        try:
            return await again(parts, caller, asked.run_id, finish=finish)
        except NoSuchRun:
            assert key is not None, "a key has led here"
            asked = await parts.answers.desk.ask_anew(question, caller, key, asked.run_id)
    if isinstance(asked, Again):  # somebody was faster
        return await again(parts, caller, asked.run_id, finish=finish)
    return asked


def idempotency_key(request: Request) -> str | None:
    """The key that the request came with. Raises MalformedRequest."""
    keys = request.headers.getlist("idempotency-key")
    if not keys:
        return None
    if len(keys) > 1 or _IDEMPOTENCY_KEY.fullmatch(keys[0]) is None:
        raise MalformedRequest("Idempotency-Key: must be given once, as 1 to 255 visible ASCII characters")
    return keys[0]
