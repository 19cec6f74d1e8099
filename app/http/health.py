"""/health: is the process alive, and should it be sent new runs?"""

from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse

from app.http.parts import Parts


def router(parts: Parts) -> APIRouter:
    """The routes over these parts."""
    routes = APIRouter(tags=["health"])

    @routes.get("/health", include_in_schema=False)
    @routes.get("/health/", summary="Everything at a glance")
    async def health() -> dict[str, Any]:
        ready = parts.readiness.ready
        return {
            "status": "ok" if ready else "not ready",
            "version": parts.version,
            "checks": parts.readiness.checks(),
            "live_runs": parts.runs.live,
            "open_streams": parts.runs.open_streams,
            "stuck_lanes": len(parts.runs.strays),
            "record": parts.readiness.ledger(),
        }

    @routes.get("/health/detailed", summary="The same, with the audit in detail")
    async def detailed() -> dict[str, Any]:
        return await health() | {"audit": parts.readiness.audit()}

    @routes.get("/health/live", summary="The process answers")
    async def live() -> dict[str, str]:
        return {"status": "ok"}

    @routes.get("/health/ready", summary="New runs are welcome here; 503 otherwise")
    async def ready() -> JSONResponse:
        is_ready = parts.readiness.ready
        body = {"status": "ok" if is_ready else "not ready", "checks": parts.readiness.checks()}
        return JSONResponse(body, 200 if is_ready else 503)

    return routes
