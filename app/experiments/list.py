"""The list of past runs: filters, a cursor that stays valid while runs are added, and one page."""

import base64
import hashlib
import re
import struct
import uuid
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, NamedTuple, Protocol

from app.errors import MalformedRequest, Outcome
from app.events import Status
from app.question import Caller

LIMIT_MAX: Final = 200
LIMIT_DEFAULT: Final = 50
PAYLOAD_LIMIT_MAX: Final = 50  # a payload may hold a megabyte

# What a record has at its top (protocol section 3), its payload apart.
FIELDS: Final = (
    "run_id", "created_at", "status", "reason", "policy", "source", "source_run_id", "fingerprint", "final_lane",
    "verified", "change", "agreement", "latency_ms", "cost_usd", "usage", "labels", "lanes", "audit", "content",
)  # fmt: skip

State = Literal[Status, "running"]
Source = Literal["live", "cache", "import"]
Verdict = Literal["agree", "disagree", "unknown"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
BOUND_BYTES: Final = 6
_CURSOR = struct.Struct(f">q16s{BOUND_BYTES}s")  # created_at in microseconds since 1970, run_id, digest of the filters
_CURSOR_TEXT = re.compile(r"[A-Za-z0-9_-]{40}")  # 30 bytes
_FOREIGN = "cursor: take it from next_cursor of the page before"


@dataclass(frozen=True, slots=True)
class Filters:
    """Which runs to list. None lets everything pass; outcome and model match either lane; until is exclusive."""

    since: datetime | None = None
    until: datetime | None = None
    status: State | None = None
    outcome: Outcome | None = None
    experiment: str | None = None
    variant: str | None = None
    prompt_class: str | None = None
    model: str | None = None
    source: Source | None = None
    agreement: Verdict | None = None
    min_latency_ms: float | None = None
    tag: str | None = None

    def digest(self) -> bytes:
        """What a cursor is bound to: equal for equal filters only."""
        return hashlib.sha256(repr(astuple(self)).encode("utf-8", "surrogatepass")).digest()[:BOUND_BYTES]


class Bound(Protocol):
    """The filters that a cursor belongs to."""

    def digest(self) -> bytes:
        """BOUND_BYTES bytes, equal for equal filters only."""
        ...


class Position(NamedTuple):
    """A place in the list, newest first; a page begins after it."""

    created_at: datetime
    run_id: str


class Records(Protocol):
    """Where the records of past runs are read."""

    async def page(self, caller: Caller, filters: Filters, limit: int, before: Position | None) -> list[dict[str, Any]]:
        """At most limit of the caller's records, newest first, all of them before the position."""
        ...


class Payloads(Protocol):
    """Where the texts of past runs are read."""

    async def payloads(self, caller: Caller, run_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What was asked and said in the caller's runs, by run; without those whose texts are no longer kept."""
        ...


class Savings(Protocol):
    """Where it is kept what replays saved."""

    async def saved(self, caller: Caller, run_id: str) -> float | None:
        """What the run that was replayed had cost, in dollars; None where that is not known, and for other runs."""
        ...


def encode_cursor(position: Position, filters: Bound) -> str:
    """The position as an opaque word of [A-Za-z0-9_-], bound to the filters of its list."""
    microseconds = (position.created_at - _EPOCH) // _MICROSECOND
    packed = _CURSOR.pack(microseconds, uuid.UUID(position.run_id).bytes, filters.digest())
    return base64.urlsafe_b64encode(packed).decode("ascii")


def decode_cursor(cursor: str, filters: Bound) -> Position:
    """The position inside a cursor that we gave out for these filters; anything else is refused."""
    if _CURSOR_TEXT.fullmatch(cursor) is None:
        raise MalformedRequest(_FOREIGN)
    microseconds, run_id, digest = _CURSOR.unpack(base64.urlsafe_b64decode(cursor))
    if digest != filters.digest():
        raise MalformedRequest("cursor: it belongs to a list with other filters; ask with those, or begin without it")
    try:
        return Position(_EPOCH + microseconds * _MICROSECOND, str(uuid.UUID(bytes=run_id)))
    except OverflowError as error:
        raise MalformedRequest(_FOREIGN) from error


def parse_fields(text: str | None) -> tuple[str, ...]:
    """The fields of a comma list, each known and named once; none for no list."""
    if text is None:
        return ()
    names = tuple(text.split(","))
    if len(set(names)) < len(names) or not set(names) <= set(FIELDS):
        raise MalformedRequest(f"fields: a comma list, without repetition, of {', '.join(FIELDS)}")
    return names


async def list_runs(
    records: Records, caller: Caller, filters: Filters, limit: int = LIMIT_DEFAULT, cursor: str | None = None
) -> dict[str, Any]:
    """One page of the caller's runs and the cursor of the next, null on the last page."""
    if not 1 <= limit <= LIMIT_MAX:
        raise MalformedRequest(f"limit: must be from 1 to {LIMIT_MAX}")
    before = None if cursor is None else decode_cursor(cursor, filters)
    found = await records.page(caller, filters, limit + 1, before)  # one more tells whether there is a next page
    page, more = found[:limit], len(found) > limit
    return {"experiments": page, "next_cursor": encode_cursor(_position(page[-1]), filters) if more else None}


async def with_payloads(payloads: Payloads, caller: Caller, page: dict[str, Any]) -> dict[str, Any]:
    """The page with every record's texts, null where they are no longer kept."""
    records = page["experiments"]
    texts = await payloads.payloads(caller, [record["run_id"] for record in records]) if records else {}
    return page | {"experiments": [record | {"payload": texts.get(record["run_id"])} for record in records]}


def only(page: dict[str, Any], fields: tuple[str, ...]) -> dict[str, Any]:
    """The page with the wanted part of each record, payloads kept; no fields: all of them."""
    if not fields:
        return page
    names = (*fields, "payload")
    return page | {"experiments": [{n: record[n] for n in names if n in record} for record in page["experiments"]]}


def _position(record: dict[str, Any]) -> Position:
    """Where a record stands in the list."""
    return Position(datetime.fromisoformat(record["created_at"]), record["run_id"])
