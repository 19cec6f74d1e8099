"""The list of past runs: filters, a cursor that stays valid while runs are added, and one page."""

import base64
import re
import struct
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, NamedTuple, Protocol

from app.errors import MalformedRequest, Outcome
from app.events import Status
from app.question import Caller

LIMIT_MAX: Final = 200
LIMIT_DEFAULT: Final = 50

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_CURSOR = struct.Struct(">q16s")  # created_at in microseconds since 1970, run_id: 24 bytes, 32 characters
_CURSOR_TEXT = re.compile(r"[A-Za-z0-9_-]{32}")


@dataclass(frozen=True, slots=True)
class Filters:
    """Which runs to list. None lets everything pass; outcome and model match either lane; until is exclusive."""

    since: datetime | None = None
    until: datetime | None = None
    status: Status | Literal["running"] | None = None
    outcome: Outcome | None = None
    experiment: str | None = None
    variant: str | None = None
    prompt_class: str | None = None
    model: str | None = None
    source: Literal["live", "cache"] | None = None
    agreement: Literal["agree", "disagree", "unknown"] | None = None
    min_latency_ms: float | None = None
    tag: str | None = None


class Position(NamedTuple):
    """A place in the list, newest first; a page begins after it."""

    created_at: datetime
    run_id: str


class Records(Protocol):
    """Where the records of past runs are read."""

    async def page(self, caller: Caller, filters: Filters, limit: int, before: Position | None) -> list[dict[str, Any]]:
        """At most limit of the caller's records, newest first, all of them before the position."""
        ...


def encode_cursor(position: Position) -> str:
    """The position as an opaque word of [A-Za-z0-9_-]."""
    packed = _CURSOR.pack((position.created_at - _EPOCH) // _MICROSECOND, uuid.UUID(position.run_id).bytes)
    return base64.urlsafe_b64encode(packed).decode("ascii")


def decode_cursor(cursor: str) -> Position:
    """The position inside a cursor that we gave out; anything else is refused."""
    if _CURSOR_TEXT.fullmatch(cursor) is None:
        raise MalformedRequest("cursor: take it from next_cursor of the page before")
    microseconds, run_id = _CURSOR.unpack(base64.urlsafe_b64decode(cursor))
    try:
        return Position(_EPOCH + microseconds * _MICROSECOND, str(uuid.UUID(bytes=run_id)))
    except OverflowError as error:
        raise MalformedRequest("cursor: take it from next_cursor of the page before") from error


async def list_runs(
    records: Records, caller: Caller, filters: Filters, limit: int = LIMIT_DEFAULT, cursor: str | None = None
) -> dict[str, Any]:
    """One page of the caller's runs and the cursor of the next, null on the last page."""
    if not 1 <= limit <= LIMIT_MAX:
        raise MalformedRequest(f"limit: must be from 1 to {LIMIT_MAX}")
    before = None if cursor is None else decode_cursor(cursor)
    found = await records.page(caller, filters, limit + 1, before)  # one more tells whether there is a next page
    page, more = found[:limit], len(found) > limit
    return {"experiments": page, "next_cursor": encode_cursor(_position(page[-1])) if more else None}


def _position(record: dict[str, Any]) -> Position:
    """Where a record stands in the list."""
    return Position(datetime.fromisoformat(record["created_at"]), record["run_id"])
