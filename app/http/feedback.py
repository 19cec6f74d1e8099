"""/api/experiments/{run_id}/feedback/{name}: what somebody says about a run."""

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr, ValidationError
from starlette.responses import Response

from app.errors import NoSuchRun, WrongContentType
from app.experiments.feedback import Feedback, checked, checked_name
from app.http.body import DISTINCT, read_bytes
from app.http.parts import LOCAL, Past
from app.http.problems import invalid

PATH = "/api/experiments/{run_id}/feedback/{name}"
MAX_BODY_BYTES = 32 * 1024


class FeedbackBody(BaseModel):
    """The value, and why."""

    model_config = ConfigDict(extra="forbid")

    value: Annotated[StrictBool | StrictInt | StrictFloat | StrictStr, Field(union_mode="left_to_right")]
    comment: StrictStr | None = None


_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": FeedbackBody.model_json_schema()}},
    }
}


def router(past: Past) -> APIRouter:
    """The routes over the past."""
    routes = APIRouter()

    @routes.put(PATH, openapi_extra=_SCHEMA, summary="Say something about a run; said again, it changes nothing")
    async def put(request: Request, run_id: str, name: str) -> dict[str, Any]:
        said = await _said(request, name)
        kept = await past.reads.put(LOCAL, run_id, said)
        if kept is None:
            raise _no_such_run()
        return {"run_id": run_id} | kept

    @routes.delete(PATH, status_code=204, response_class=Response, summary="Take it back; harmless when nobody said it")
    async def delete(run_id: str, name: str) -> Response:
        if await past.reads.remove(LOCAL, run_id, checked_name(name)) is None:
            raise _no_such_run()
        return Response(status_code=204)

    return routes


async def _said(request: Request, name: str) -> Feedback:
    """What the body says under that name. Raises BodyTooLarge, WrongContentType, MalformedRequest."""
    checked_name(name)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise WrongContentType("send the feedback as JSON with `content-type: application/json`")
    text = await read_bytes(request, MAX_BODY_BYTES)
    try:
        body = FeedbackBody.model_validate_json(text)
    except ValidationError as error:
        raise invalid(error.errors(include_url=False, include_input=False, include_context=False)) from None
    DISTINCT.decode(text.decode())
    return checked(name, body.value, body.comment)


def _no_such_run() -> NoSuchRun:
    return NoSuchRun("there is no record of such a run of yours (yet)")
