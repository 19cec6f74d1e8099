"""GET /v1/limits: what is left for whoever asks."""

from typing import Any

from fastapi import APIRouter

from app.http import describe
from app.http.callers import Asker
from app.http.parts import Parts


def router(parts: Parts) -> APIRouter:
    """The route over these parts."""
    routes = APIRouter(tags=["limits"], responses=describe.REFUSALS)

    @routes.get("/v1/limits", summary="What is left of your limits, and of your tenant's; nothing where none are set")
    async def limits(caller: Asker) -> dict[str, list[dict[str, Any]]]:
        found: list[dict[str, Any]] = []
        for part in (parts.doorman, parts.budget):
            found += [] if part is None else await part.standing(caller)
        return {"limits": found}

    return routes
