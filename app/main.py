"""create_app(): middleware, error table, routes over the parts it is given. Opening and closing them is wiring's."""

from fastapi import APIRouter, FastAPI
from starlette.types import ASGIApp

from app.http import (
    breakers,
    cache,
    console,
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
    app = FastAPI(title="Tandem", version=parts.version, description=DESCRIPTION, redoc_url=None)
    problems.install(app)
    for routes in (reason, runs, limits, experiments, cache, health):
        _add(app, routes.router(parts))
    _add(app, sessions.router(parts.auth, parts.sessions))
    _add(app, breakers.router(parts))
    security.describe(app, parts.auth)
    if parts.requests is not None:
        _add(app, logs.router(parts.requests))
    if parts.numbers is not None:
        _add(app, metrics.router(parts.numbers, None if parts.past is None else parts.past.everybodys))
    console.install(app)
    shortcut = Shortcut(app, "POST", reason.PATH, reason.asker(parts))
    watches: list[edge.Watch] = [RequestLines(reason.PATH, parts.mask)] if parts.request_lines else []
    if parts.meters is not None:
        watches.append(traffic.Traffic(parts.meters, traffic.Templates(traffic.templates(app.routes))))
    entrance = door.Door(parts.identify, guard_loopback=guard_loopback, cors=parts.cors, doorman=parts.doorman)
    inside = shortcut if parts.streams is None else Turnstile(shortcut, parts.streams)
    return edge.Edge(inside, door=entrance, watches=watches)


def _add(app: FastAPI, routes: APIRouter) -> None:
    """Take routes as they are: to include their router would build each of them a second time, at its first request."""
    app.router.routes.extend(routes.routes)
