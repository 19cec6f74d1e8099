"""The request log: what became of each request in one word, and the requests of the past, newest first."""

import hashlib
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Any, Final, Literal, Protocol

from app.errors import MalformedRequest
from app.experiments.list import BOUND_BYTES, LIMIT_DEFAULT, LIMIT_MAX, Position, decode_cursor, encode_cursor
from app.question import Caller

Word = Literal["ok", "slow", "cache_hit", "check_failed", "error"]
Way = Literal["live", "cache", "attached"]

BROKEN: Final = ("timeout", "failed", "shutdown")  # ends of a run that gave nobody an answer
UNVERIFIED: Final = "partial"
ACCEPTED: Final = "accepted"  # the reason of a run whose caller wanted no verified answer


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which requests to list. None lets everything pass; until is exclusive."""

    since: datetime | None = None
    until: datetime | None = None
    status: Word | None = None
    source: Way | None = None
    fingerprint: str | None = None
    experiment: str | None = None
    variant: str | None = None
    prompt_class: str | None = None
    tag: str | None = None
    min_duration_ms: float | None = None

    def digest(self) -> bytes:
        """What a cursor is bound to: equal for equal filters only."""
        return hashlib.sha256(repr(astuple(self)).encode("utf-8", "surrogatepass")).digest()[:BOUND_BYTES]


class Requests(Protocol):
    """Where the requests of the past are read."""

    async def page(self, caller: Caller, wanted: Wanted, limit: int, before: Position | None) -> list[dict[str, Any]]:
        """At most limit of the caller's requests, newest first, all of them before the position."""
        ...


def word(status: str, reason: str | None, source: str, *, slow: bool) -> Word | None:
    """How a request fared by how its run ended and where that came from, the first that applies; None while it runs."""
    if status == "running":
        return None
    if status in BROKEN:
        return "error"
    if status == UNVERIFIED and reason != ACCEPTED:
        return "check_failed"
    if source == "cache":
        return "cache_hit"
    return "slow" if slow else "ok"


async def list_requests(
    requests: Requests, caller: Caller, wanted: Wanted, limit: int = LIMIT_DEFAULT, cursor: str | None = None
) -> dict[str, Any]:
    """One page of the caller's requests and the cursor of the next, null on the last page."""
    if not 1 <= limit <= LIMIT_MAX:
        raise MalformedRequest(f"limit: must be from 1 to {LIMIT_MAX}")
    before = None if cursor is None else decode_cursor(cursor, wanted)
    found = await requests.page(caller, wanted, limit + 1, before)  # one more tells whether there is a next page
    page, more = found[:limit], len(found) > limit
    return {"logs": page, "next_cursor": encode_cursor(_position(page[-1]), wanted) if more else None}


def _position(entry: dict[str, Any]) -> Position:
    """Where a request stands in the list."""
    return Position(datetime.fromisoformat(entry["created_at"]), entry["id"])
