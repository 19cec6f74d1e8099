"""What a server that listens already answers while its parts are still being loaded and opened."""

import asyncio
import json
from collections.abc import Awaitable
from typing import Any, Final

from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import ShuttingDown
from app.http.carried import carried, request_id_of
from app.http.departure import CONNECTION

ALIVE = {"status": "ok"}
STARTING = {"status": "not ready", "checks": {"process": "starting"}}
_HTTPS: Final = (b"x-forwarded-proto", b"https")
# As app/http/problems.py would put it, which imports the framework.
ENDING: Final[dict[str, Any]] = {
    "type": "about:blank",
    "title": ShuttingDown.title,
    "status": ShuttingDown.status,
    "detail": "this server ends before it has begun; ask again",
    "code": ShuttingDown.code,
    "request_id": None,
}
_LATER: Final = [(b"retry-after", str(ShuttingDown.retry_after_s).encode())]
_TOLD: dict[str, tuple[int, dict[str, Any]]] = {
    "/health/live": (200, ALIVE),
    "/health/ready": (503, STARTING),
}


class Opening:
    """The application, as soon as there is one. Until then the process is alive and not ready; all else waits.

    A request whose client leaves meanwhile never reaches the application: it would ask models for nobody. What is
    answered here is in no metric: there is none yet.
    """

    def __init__(self) -> None:
        self._app: ASGIApp | None = None
        self._opened = asyncio.Event()

    def open(self, app: ASGIApp) -> None:
        """From now on the application answers, also those who wait."""
        self._app = app
        self._opened.set()

    def shut(self) -> None:
        """There will be no application, unless there is one: those who wait, and who comes now, are told so."""
        self._opened.set()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Handle one ASGI scope."""
        return self._wait(scope, receive, send) if self._app is None else self._app(scope, receive, send)

    async def _wait(self, scope: Scope, receive: Receive, send: Send) -> None:
        if told := _TOLD.get(scope["path"]):
            await _tell(scope, send, *told)
            return
        await self._opened.wait()
        if _left(scope):
            return
        if self._app is None:
            await _tell(scope, send, ShuttingDown.status, ENDING, *_LATER)
        else:
            await self._app(scope, receive, send)


def _left(scope: Scope) -> bool:
    """Whether our own server knows that the client has gone."""
    lost: asyncio.Future[None] | None = scope.get("extensions", {}).get(CONNECTION, {}).get("lost")
    return lost is not None and lost.done()


async def _tell(scope: Scope, send: Send, status: int, body: dict[str, Any], *more: tuple[bytes, bytes]) -> None:
    """Answer as the application would: under the request's id, with what every answer carries."""
    given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
    request_id = request_id_of(given)
    is_problem = "request_id" in body
    text = json.dumps({**body, "request_id": request_id} if is_problem else body).encode()
    https = scope["scheme"] == "https" or _HTTPS in scope["headers"]
    headers = [
        (b"content-type", b"application/problem+json" if is_problem else b"application/json"),
        (b"content-length", str(len(text)).encode()),
        *carried(request_id, https=https),
        *more,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
