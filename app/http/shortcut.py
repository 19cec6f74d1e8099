"""The one path where every microsecond counts, past the framework: POST /v1/reason from the edge to its handler.

Routing, dependencies and a wrapper around every send in five layers of middleware cost about a sixth of the server's
time; the handler, its errors and its place in /docs are the same with and without this file.
"""

from collections.abc import Awaitable, Callable

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.http.fields import FIELDS
from app.http.problems import answer_error

Handler = Callable[[Request], Awaitable[Response]]


class _Request(Request):
    """With the headers as the edge has looked through them."""

    @property
    def headers(self) -> Headers:
        """These."""
        headers: Headers = self.scope[FIELDS]
        return headers


class Shortcut:
    """Serves one method of one path with the handler, and everything else with the application."""

    def __init__(self, app: ASGIApp, method: str, path: str, handler: Handler) -> None:
        self._app = app
        self._method = method
        self._path = path
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI scope."""
        if scope["type"] != "http" or scope["path"] != self._path or scope["method"] != self._method:
            await self._app(scope, receive, send)
            return
        request = _Request(scope, receive)
        try:
            response = await self._handler(request)
        except Exception as error:  # noqa: BLE001  # the boundary of a request: whatever fails becomes a problem, and is logged there
            response = answer_error(request, error)
        await response(scope, receive, send)
