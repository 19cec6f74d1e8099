"""GET /v1/limits: what is left for whoever asks."""

from typing import Any, Final

from fastapi import APIRouter

from app.http import describe
from app.http.callers import Asker
from app.http.parts import Given

routes: Final = APIRouter(tags=["limits"], responses=describe.REFUSALS)


@routes.get("/v1/limits", summary="What is left of your limits, and of your tenant's; nothing where none are set")
async def limits(parts: Given, caller: Asker) -> dict[str, list[dict[str, Any]]]:
    found: list[dict[str, Any]] = []
    for part in (parts.doorman, parts.budget):
        found += [] if part is None else await part.standing(caller)
    return {"limits": found}
