"""The first page and its files: plain HTML, CSS and ES modules, sent as they lie in app/console."""

from pathlib import Path

from fastapi import APIRouter, FastAPI
from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles

_FOLDER = Path(__file__).parents[1] / "console"


def install(app: FastAPI) -> None:
    """Serve the page at `/` and its files under `/console`."""
    routes = APIRouter()

    @routes.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(_FOLDER / "index.html", headers={"Cache-Control": "no-cache"})

    app.include_router(routes)
    app.mount("/console", StaticFiles(directory=_FOLDER), name="console")
