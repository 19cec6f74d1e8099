"""Counts the open streams of each caller, pure ASGI."""

import re
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from app.admission.streams import Streams
from app.errors import TooManyStreams
from app.http.callers import CALLER, NOBODY
from app.http.problems import REFUSED, problem

_STREAMS: Final = re.compile(r"(/v1/reason|/v1/runs/[^/]+/events)\n?")  # a route's pattern takes a line end too


class Turnstile:
    """Wraps the application. A response that lasts as long as its stream is one, whatever it is an answer to."""

    def __init__(self, app: ASGIApp, streams: Streams) -> None:
        self._app = app
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI scope."""
        if scope["type"] != "http" or _STREAMS.fullmatch(scope["path"]) is None:
            await self._app(scope, receive, send)
            return
        caller = scope.get(CALLER, NOBODY)
        try:
            self._streams.open(caller)
        except TooManyStreams as refused:
            scope[REFUSED] = refused.code
            await problem(refused, scope.get("request_id"))(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self._streams.close(caller)
