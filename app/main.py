"""create_app(): middleware, error table, routes over the parts it is given. Opening and closing them is wiring's."""

from fastapi import FastAPI

from app.http import console, edge, experiments, health, problems, reason, runs
from app.http.parts import Parts

DESCRIPTION = "One question, a fast and a slow language model, one truthful stream, one audit record."


def create_app(parts: Parts, *, guard_loopback: bool) -> FastAPI:
    """The ASGI application; guard_loopback refuses what a foreign web page could have sent."""
    app = FastAPI(title="Tandem", version=parts.version, description=DESCRIPTION, redoc_url=None)
    problems.install(app)
    for routes in (reason, runs, experiments, health):
        app.include_router(routes.router(parts))
    console.install(app)
    app.add_middleware(edge.Edge, guard_loopback=guard_loopback)
    return app
