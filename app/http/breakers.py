"""/api/breakers: what the circuit breakers of this instance do, and holding one by hand."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict

from app.admission.board import Wanted
from app.http.body import read_body
from app.http.callers import Asker
from app.http.describe import REFUSALS
from app.http.parts import Given

MAX_BODY_BYTES: Final = 1024
PATH: Final = "/api/breakers/{name:path}"
LOCAL: Final = "Of this instance alone, until it ends: where there are several, hold it on each."

Name = Annotated[str, Path(description="As the list has it", max_length=400)]


class Setting(BaseModel):
    """What a breaker is held at; `auto` lets it go on by itself."""

    model_config = ConfigDict(extra="forbid")

    state: Wanted


_SCHEMA: Final = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": Setting.model_json_schema()}}}
}


routes: Final = APIRouter(tags=["breakers"], responses=REFUSALS)


@routes.get("/api/breakers", summary="The circuit breakers", description=LOCAL)
async def states(parts: Given) -> dict[str, Any]:
    return {"instance": parts.runs.instance, "breakers": parts.board.rows()}


@routes.put(PATH, openapi_extra=_SCHEMA, summary="Hold a breaker open or closed, or let it go", description=LOCAL)
async def put(parts: Given, request: Request, caller: Asker, name: Name) -> dict[str, Any]:
    wanted = await read_body(request, MAX_BODY_BYTES, Setting)
    parts.board.put(name, wanted.state, caller.id)
    return {"instance": parts.runs.instance, "breakers": {name: parts.board.rows()[name]}}
