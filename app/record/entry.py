"""What is written down of a run: an Opening when it starts, a Closing when it ends; both keyed by its run_id."""

from datetime import datetime
from typing import Literal, Protocol

import msgspec

from app.events import Agreement, Change, LaneEnd, Status, Usage
from app.question import LaneName, Question


class Opening(msgspec.Struct, frozen=True):
    """A run that was accepted. created_at is the time inside the UUIDv7 run_id."""

    run_id: str
    created_at: datetime
    caller: str
    fingerprint: str
    question: Question
    source: Literal["live", "cache"] = "live"


class LaneRecord(msgspec.Struct, frozen=True):
    """One lane as it ended: its numbers and everything it said."""

    end: LaneEnd
    model: str
    text: str
    thinking: str
    finish_reason: str | None


class Closing(msgspec.Struct, frozen=True):
    """The whole outcome. It repeats the opening, so that it alone is enough.

    log is every event's bytes up to and including `done`, as the readers saw them; at_ms has one number an event:
    milliseconds since the run opened. A first closing (version 2) assumes that it will be stored in time and its `done`
    says `durable`; if that took too long, `done` said `pending` and a second closing (version 3) carries that log.
    A fault of ours is recorded as version 4, which stands whatever was written before it.
    """

    opening: Opening
    status: Status
    reason: str | None
    final_lane: LaneName | None
    verified: bool
    change: Change | None
    agreement: Agreement | None
    latency_ms: float | None
    usage: Usage
    cost_usd: float | None
    lanes: dict[LaneName, LaneRecord]
    log: bytes
    at_ms: tuple[int, ...]
    version: int = 2


class Receipt(Protocol):
    """A promise that an entry will be durable; the run waits for it within a bound and goes on without it."""

    async def durable(self, within_s: float) -> bool:
        """True when the entry is stored; False when within_s seconds passed or it was given up."""
        ...


class Journal(Protocol):
    """Where a run writes itself down. Both calls return at once and never raise for a sick database."""

    def opened(self, opening: Opening) -> Receipt:
        """Take the start of a run."""
        ...

    def closed(self, closing: Closing) -> Receipt:
        """Take the whole outcome of a run."""
        ...
