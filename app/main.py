"""create_app(): middleware, error table, routes over the parts it is given. Opening and closing them is wiring's."""

from fastapi import FastAPI
from starlette.types import ASGIApp

from app.http import cache, console, edge, experiments, health, logs, problems, reason, runs
from app.http.parts import Parts
from app.http.requests import RequestLines
from app.http.shortcut import Shortcut

DESCRIPTION = "One question, a fast and a slow language model, one truthful stream, one audit record."


def create_app(parts: Parts, *, guard_loopback: bool) -> ASGIApp:
    """The ASGI application; guard_loopback refuses what a foreign web page could have sent."""
    app = FastAPI(title="Tandem", version=parts.version, description=DESCRIPTION, redoc_url=None)
    problems.install(app)
    for routes in (reason, runs, experiments, cache, health):
        app.include_router(routes.router(parts))
    if parts.requests is not None:
        app.include_router(logs.router(parts.requests))
    console.install(app)
    shortcut = Shortcut(app, "POST", reason.PATH, reason.asker(parts))
    lines = RequestLines(reason.PATH, parts.mask) if parts.request_lines else None
    return edge.Edge(shortcut, guard_loopback=guard_loopback, identify=parts.identify, lines=lines)
