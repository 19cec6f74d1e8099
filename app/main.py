"""create_app(): middleware, error table, routes over the parts it is given. Opening and closing them is wiring's."""

from collections.abc import Iterator
from functools import partial

from fastapi import APIRouter, FastAPI
from starlette.types import ASGIApp

from app.http import (
    breakers,
    cache,
    console,
    door,
    edge,
    experiments,
    export,
    feedback,
    health,
    limits,
    logs,
    metrics,
    problems,
    reason,
    runs,
    security,
    sessions,
    statistics,
    traffic,
)
from app.http.given import give
from app.http.parts import Parts
from app.http.requests import RequestLines
from app.http.shortcut import Shortcut
from app.http.turnstile import Turnstile

DESCRIPTION = "One question, a fast and a slow language model, one truthful stream, one audit record."


def create_app(parts: Parts, *, guard_loopback: bool) -> ASGIApp:
    """The ASGI application; guard_loopback refuses what a foreign web page could have sent."""
    app = FastAPI(
        title="Tandem",
        version=parts.version,
        description=DESCRIPTION,
        docs_url=None,  # has a page of our own
        redoc_url=None,
        redirect_slashes=False,  # to http, behind a proxy that ends TLS: a key would go there in the clear
    )
    give(app, parts)
    problems.install(app)
    for routes in _routes(parts):  # as they are: to include a router would build its routes a second time
        app.router.routes.extend(routes.routes)
    security.describe(app, parts.auth)
    console.install(app)
    shortcut = Shortcut(app, "POST", reason.PATH, partial(reason.ask, parts))
    watches: list[edge.Watch] = [RequestLines(reason.PATH, parts.mask)] if parts.request_lines else []
    if parts.meters is not None:
        watches.append(traffic.Traffic(parts.meters, traffic.Templates(traffic.templates(app.routes))))
    entrance = door.Door(parts.identify, guard_loopback=guard_loopback, cors=parts.cors, doorman=parts.doorman)
    inside = shortcut if parts.streams is None else Turnstile(shortcut, parts.streams)
    return edge.Edge(inside, door=entrance, watches=watches)


def _routes(parts: Parts) -> Iterator[APIRouter]:
    """What these parts can serve."""
    yield from (reason.routes, runs.routes, limits.routes)
    if parts.past is not None:
        yield from (statistics.routes, export.routes, feedback.routes)  # before the routes where any word is a run
    yield from (experiments.routes, cache.routes, health.routes, sessions.routes, breakers.routes)
    if parts.sessions is not None:
        yield sessions.of_keys
    if parts.requests is not None:
        yield logs.routes
    if parts.numbers is not None:
        yield metrics.routes
        if parts.past is not None and parts.past.everybodys is not None:
            yield metrics.of_everybody
