"""What every answer carries, whoever gives it: the request's id, and what a browser is told. Imports no framework."""

import re
from typing import Final

from uuid_utils import uuid4

from app.record.detectors import SECRETS, mask

Pairs = list[tuple[bytes, bytes]]

CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PLAIN_ID: Final = re.compile(r"[0-9a-fA-F-]{1,64}")
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_SECURITY: Final[Pairs] = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", CSP.encode()),
]
_HTTPS_ONLY: Final = (b"strict-transport-security", b"max-age=31536000")


def may_be_told(request_id: str) -> bool:
    """Whether an id that a client gave may stand in every log line; a plain number is no key."""
    if _PLAIN_ID.fullmatch(request_id):
        return True
    return _REQUEST_ID.fullmatch(request_id) is not None and not mask(request_id, SECRETS)[1]


def request_id_of(given: str | None) -> str:
    """The id that a request came with, if it may be told; else one of its own."""
    return given if given and may_be_told(given) else uuid4().hex


def carried(request_id: str, *, https: bool) -> Pairs:
    """The headers of every answer."""
    return [(b"x-request-id", request_id.encode()), *_SECURITY, *([_HTTPS_ONLY] if https else [])]
