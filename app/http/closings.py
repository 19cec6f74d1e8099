"""Whole answers that a connection gives by itself, and ends with."""

import json
from typing import Final

from app.errors import Overloaded

AGAIN: Final = f"retry-after: {Overloaded.retry_after_s}\r\n"


def closing(status: str, kind: str, body: str, more: str = "") -> bytes:
    """A whole answer, after which the connection ends; more: lines of the head."""
    head = (
        f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{more}connection: close\r\n\r\n"
    )
    return (head + body).encode()


_FULL_PROBLEM: Final = {
    "type": "about:blank",
    "title": Overloaded.title,
    "status": 503,
    "detail": "too many connections are open (LOAD_MAX_CONNECTIONS)",
    "code": Overloaded.code,
}
FULL: Final = closing("503 Service Unavailable", "application/problem+json", json.dumps(_FULL_PROBLEM), AGAIN)
LATE: Final = closing("408 Request Timeout", "text/plain", "The head of the request did not come in time.", AGAIN)
TOO_LARGE: Final = closing("400 Bad Request", "text/plain", "The head of the request is too large.")
MALFORMED: Final = closing("400 Bad Request", "text/plain", "The request is not valid HTTP/1.1.")
