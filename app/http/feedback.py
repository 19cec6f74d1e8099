"""/api/experiments/{run_id}/feedback/{name}: what somebody says about a run."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Request
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
)
from pydantic_core import PydanticCustomError
from starlette.responses import Response

from app.experiments.feedback import Feedback, checked, checked_name
from app.http.body import read_body
from app.http.callers import Asker
from app.http.describe import REFUSALS, RunId
from app.http.parts import Given, GivenPast
from app.http.resume import arrived, unknown

PATH = "/api/experiments/{run_id}/feedback/{name}"
MAX_BODY_BYTES = 32 * 1024

Name = Annotated[str, Path(description="`fast_correct`, `slow_correct` (read by the statistics) or your own")]


def _scalar(value: object) -> object:
    """The value, if it is one; else one fault, not one for each type it is not."""
    if not isinstance(value, bool | int | float | str):
        raise PydanticCustomError("scalar", "Input should be true, false, a number or a text")
    return value


class FeedbackBody(BaseModel):
    """The value, and why."""

    model_config = ConfigDict(extra="forbid")

    value: Annotated[
        StrictBool | StrictInt | StrictFloat | StrictStr, Field(union_mode="left_to_right"), BeforeValidator(_scalar)
    ]
    comment: StrictStr | None = None


_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": FeedbackBody.model_json_schema()}},
    }
}


async def _said(request: Request, name: Name) -> Feedback:
    """What the body says under that name. Raises BodyTooLarge, WrongContentType, MalformedRequest."""
    checked_name(name)
    body = await read_body(request, MAX_BODY_BYTES, FeedbackBody)
    return checked(name, body.value, body.comment)


Said = Annotated[Feedback, Depends(_said)]
routes: Final = APIRouter(tags=["experiments"], responses=REFUSALS)


@routes.put(PATH, openapi_extra=_SCHEMA, summary="Say something about a run; said again, it changes nothing")
async def put(parts: Given, past: GivenPast, caller: Asker, run_id: RunId, said: Said) -> dict[str, Any]:
    masked = _masked(said, partial(parts.mask, granted=caller.grant.content))
    await arrived(parts, caller, run_id)
    kept = await past.reads.put(caller, run_id, masked)
    if kept is None:
        raise await unknown(parts, caller, run_id)
    return {"run_id": run_id} | kept


@routes.delete(PATH, status_code=204, response_class=Response, summary="Take it back; harmless when nobody said it")
async def delete(parts: Given, past: GivenPast, caller: Asker, run_id: RunId, name: Name) -> Response:
    checked_name(name)
    await arrived(parts, caller, run_id)
    if await past.reads.remove(caller, run_id, name) is None:
        raise await unknown(parts, caller, run_id)
    return Response(status_code=204)


def _masked(said: Feedback, mask: Callable[[str], str]) -> Feedback:
    """The feedback with every text of it as it may be kept."""
    value = mask(said.value) if isinstance(said.value, str) else said.value
    return said._replace(value=value, comment=said.comment and mask(said.comment))
