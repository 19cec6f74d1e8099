"""/health: is the process alive, and should it be sent new runs?"""

from typing import Any, Final

from fastapi import APIRouter
from starlette.responses import JSONResponse

from app.http.describe import REFUSALS
from app.http.parts import Given

routes: Final = APIRouter(tags=["health"], responses=REFUSALS)


@routes.get("/health", include_in_schema=False)
@routes.get("/health/", summary="Everything at a glance")
async def health(parts: Given) -> dict[str, Any]:
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


@routes.get("/health/detailed", summary="The same, and of every part its state, latency and last error")
async def detailed(parts: Given) -> dict[str, Any]:
    return await health(parts) | {
        "parts": await parts.readiness.parts(),
        "audit": parts.readiness.audit(),
        "breakers": parts.board.states(),
    }


@routes.get("/health/live", summary="What has to move moves; 503 when only a new process helps")
async def live(parts: Given) -> JSONResponse:
    if parts.readiness.alive:
        return JSONResponse({"status": "ok"})
    return JSONResponse({"status": "not moving", "checks": parts.readiness.moving()}, 503)


@routes.get("/health/ready", summary="New runs are welcome here; 503 otherwise")
async def ready(parts: Given) -> JSONResponse:
    is_ready = parts.readiness.ready
    body = {"status": "ok" if is_ready else "not ready", "checks": parts.readiness.checks()}
    return JSONResponse(body, 200 if is_ready else 503)
