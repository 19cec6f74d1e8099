"""The outermost layer, pure ASGI: request ids and lines, security headers, the loopback rule, who asks."""

import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uuid_utils import uuid4

from app.errors import ForeignPage
from app.http.callers import CALLER, Identify
from app.http.problems import problem
from app.http.requests import RequestLines, Sent

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_LOOPBACK = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?", re.IGNORECASE)
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_DOCS = ("/docs", "/openapi.json", "/redoc")  # whose pages take their scripts from elsewhere
_SECURITY = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]
_STRICT = [*_SECURITY, (b"content-security-policy", CSP.encode())]


class Edge:
    """Wraps the application. guard_loopback: refuse what a foreign web page could have sent; identify: who asks.

    lines: told of every finished request.
    """

    def __init__(
        self, app: ASGIApp, *, guard_loopback: bool, identify: Identify, lines: RequestLines | None = None
    ) -> None:
        self._app = app
        self._guard = guard_loopback
        self._identify = identify
        self._lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI scope."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid4().hex
        scope["request_id"] = request_id
        security = _SECURITY if scope["path"].startswith(_DOCS) else _STRICT

        sent = Sent()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode()), *security]
                sent.head = message
            else:
                sent.bytes += len(message.get("body", b""))
            await send(message)

        try:
            if self._guard and (refusal := foreign(headers, scope["path"])):
                await problem(refusal, request_id)(scope, receive, send_with_headers)
                return
            scope[CALLER] = self._identify(headers)
            await self._app(scope, receive, send_with_headers)
        finally:
            if self._lines is not None:
                self._lines.finished(scope, sent)


def foreign(headers: Headers, path: str) -> ForeignPage | None:
    """Why a request to an unauthenticated loopback server is refused, or None: DNS rebinding and foreign pages.

    A link to the page itself may stand anywhere: following it starts nothing, and the page cannot be framed.
    """
    if not _LOOPBACK.fullmatch(",".join(headers.getlist("host"))):
        return ForeignPage("this server answers only to loopback names (localhost, 127.0.0.1, [::1]) while AUTH is off")
    followed = path == "/" and headers.get("sec-fetch-mode", "").lower() == "navigate"
    if headers.get("sec-fetch-site", "").lower() in ("cross-site", "same-site") and not followed:
        return ForeignPage("a page of another origin may not use this server while AUTH is off")
    return None
