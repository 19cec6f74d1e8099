"""Whole answers that a connection gives by itself, and ends with."""

import json
from typing import Final

from app.errors import Overloaded
from app.http.carried import Pairs, carried, request_id_of

AGAIN: Final = f"retry-after: {Overloaded.retry_after_s}\r\n"


def closing(status: str, body: str, more: str = "") -> bytes:
    """A whole answer, after which the connection ends; more: lines of the head."""
    head = (
        f"HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {len(body)}\r\n{more}connection: close\r\n"
    )
    return f"{head}\r\n{body}".encode()


def asking_again(detail: str) -> bytes:
    """A problem as JSON, for one whom there may be room for later, with a place for the id of the request."""
    words = {"type": "about:blank", "title": Overloaded.title, "status": Overloaded.status, "detail": detail}
    return json.dumps({**words, "code": Overloaded.code, "request_id": "%b"}).encode()


def refused(problem: bytes, request_id: str, headers: Pairs) -> bytes:
    """The answer with that problem. Built in little time: in an overload there are many."""
    body = problem % request_id.encode()
    return _REFUSED % (len(body), b"".join([b"%b: %b\r\n" % pair for pair in headers]), body)


def full() -> bytes:
    """What one connection too many is told."""
    request_id = request_id_of(None)
    return refused(_FULL, request_id, carried(request_id, https=False))


_REFUSED: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\ncontent-length: %d\r\n"
    + AGAIN.encode()
    + b"%bconnection: close\r\n\r\n%b"
)
_FULL: Final = asking_again("too many connections are open (LOAD_MAX_CONNECTIONS)")
LATE: Final = closing("408 Request Timeout", "The head of the request did not come in time.", AGAIN)
TOO_LARGE: Final = closing("400 Bad Request", "The head of the request is too large.")
MALFORMED: Final = closing("400 Bad Request", "The request is not valid HTTP/1.1.")
