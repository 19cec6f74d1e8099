"""create_app(): middleware, error table, routes over the parts it is given. Opening and closing them is wiring's."""

from fastapi import FastAPI
from starlette.types import ASGIApp

from app.http import (
    breakers,
    cache,
    console,
    describe,
    door,
    edge,
    experiments,
    health,
    limits,
    logs,
    metrics,
    problems,
    reason,
    runs,
    security,
    sessions,
    traffic,
)
from app.http.parts import Parts
from app.http.requests import RequestLines
from app.http.shortcut import Shortcut
from app.http.turnstile import Turnstile

DESCRIPTION = "One question, a fast and a slow language model, one truthful stream, one audit record."


def create_app(parts: Parts, *, guard_loopback: bool) -> ASGIApp:
    """The ASGI application; guard_loopback refuses what a foreign web page could have sent."""
    app = FastAPI(
        title="Tandem", version=parts.version, description=DESCRIPTION, redoc_url=None, responses=describe.REFUSALS
    )
    problems.install(app)
    for routes in (reason, runs, limits, experiments, cache, health):
        app.include_router(routes.router(parts))
    app.include_router(sessions.router(parts.auth, parts.sessions))
    app.include_router(breakers.router(parts))
    security.describe(app, parts.auth)
    if parts.requests is not None:
        app.include_router(logs.router(parts.requests))
    if parts.numbers is not None:
        app.include_router(metrics.router(parts.numbers, None if parts.past is None else parts.past.everybodys))
    console.install(app)
    shortcut = Shortcut(app, "POST", reason.PATH, reason.asker(parts))
    watches: list[edge.Watch] = [RequestLines(reason.PATH, parts.mask)] if parts.request_lines else []
    if parts.meters is not None:
        watches.append(traffic.Traffic(parts.meters, traffic.Templates(traffic.templates(app.routes))))
    entrance = door.Door(parts.identify, guard_loopback=guard_loopback, cors=parts.cors, doorman=parts.doorman)
    inside = shortcut if parts.streams is None else Turnstile(shortcut, parts.streams)
    return edge.Edge(inside, door=entrance, watches=watches)
