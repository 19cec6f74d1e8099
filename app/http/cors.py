"""Cross-origin requests of the pages that an operator allows: preflights answered, answers made readable.

Never with credentials: a page of another site shows a key in a header, and cookies are for our own pages alone.
"""

from collections.abc import Iterable
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import Response

from app.admission.origins import ANY
from app.errors import ForeignPage

_METHODS: Final = "GET, HEAD, POST, PUT, DELETE"
_HEADERS: Final = (
    "authorization, content-type, idempotency-key, last-event-id, traceparent, tracestate, x-api-key, x-request-id"
)
_EXPOSED: Final = "RateLimit, RateLimit-Policy, Retry-After, X-Request-ID, X-Run-ID, X-Run-Source"
_MAX_AGE: Final = "600"

Pairs = list[tuple[bytes, bytes]]


class Cors:
    """The rule for cross-origin requests over a list of origins, or `*`."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origins)

    def names(self, headers: Headers) -> bool:
        """Whether the request comes from a page that the list has by name."""
        return headers.get("origin", "") in self._origins - {ANY}

    def answered(self, headers: Headers) -> Pairs:
        """What to add to the answer to this request."""
        exposed = (b"access-control-expose-headers", _EXPOSED.encode())
        if ANY in self._origins:
            return [(b"access-control-allow-origin", b"*"), exposed]
        vary = (b"vary", b"Origin")
        if not self.names(headers):
            return [vary]
        return [vary, (b"access-control-allow-origin", headers["origin"].encode()), exposed]

    def preflight(self, method: str, headers: Headers) -> Response | None:
        """The answer to a browser that asks whether it may; None when this is no such question. Raises ForeignPage."""
        if method != "OPTIONS" or "origin" not in headers or "access-control-request-method" not in headers:
            return None
        if ANY not in self._origins and not self.names(headers):
            raise ForeignPage("pages of this origin may not use this server (CORS_ORIGINS)")
        answer = {
            "Access-Control-Allow-Methods": _METHODS,
            "Access-Control-Allow-Headers": _HEADERS,
            "Access-Control-Max-Age": _MAX_AGE,
        }
        return Response(status_code=204, headers=answer)
