"""What is written down of a run: an Opening when it starts, a Closing when it ends; both keyed by its run_id.

An Interruption stands for the Closing of a run whose server died; an Attachment is a request that shared another's run,
keyed by its own id. Entries are msgspec structs, so that they can be encoded, put aside and decoded by another process.
"""

from datetime import datetime
from typing import Final, Literal, Protocol

import msgspec

from app.events import Agreement, Change, LaneEnd, Status, Usage
from app.question import Content, Labels, LaneName, Question
from app.record.prices import NANO, Tariff

# The versions of a run's record: a lower one never overwrites a higher.
OPENED: Final = 1
INTERRUPTED: Final = 2
CLOSED: Final = 3  # assumes that it will be durable in time: its `done` says `durable`
LATE: Final = 4  # it was not: its `done` says `pending`
FAULT: Final = 5  # a fault of ours; stands whatever was written before it


class ContentNote(msgspec.Struct, frozen=True):
    """What was done to the texts of an entry before it was put anywhere.

    mode: also what the caller was granted, before anything was done; it never becomes less strict. masked: how often
    each detector found something; cut: what was shortened, as `messages.0` or `fast.answer`; replaced: NULs and lone
    surrogates.
    """

    mode: Content = "full"
    masked: dict[str, int] = {}
    cut: tuple[str, ...] = ()
    replaced: int = 0


class Opening(msgspec.Struct, frozen=True, tag="opening"):
    """A run that was accepted. created_at is the time inside the UUIDv7 run_id; instance is the server that runs it.

    source_run_id: of a replay, the run that is replayed. idempotency_key: the SHA-256, in hex, of what the caller gave.
    """

    run_id: str
    created_at: datetime
    caller: str
    fingerprint: str
    question: Question
    source: Literal["live", "cache", "import"] = "live"
    instance: str = ""
    content: ContentNote = ContentNote()
    source_run_id: str | None = None
    idempotency_key: str | None = None

    @property
    def opening(self) -> "Opening":
        """Itself, so that every entry of a run has one."""
        return self

    @property
    def id(self) -> str:
        """What the entry is kept under."""
        return self.run_id

    @property
    def version(self) -> int:
        """Always the first."""
        return OPENED


class _Ending(msgspec.Struct, frozen=True):
    """What comes after an opening and repeats it."""

    opening: Opening

    @property
    def id(self) -> str:
        """What the entry is kept under: the same as its opening."""
        return self.opening.run_id

    @property
    def run_id(self) -> str:
        """The run it is about."""
        return self.opening.run_id

    @property
    def caller(self) -> str:
        """Whose run it is."""
        return self.opening.caller


class LaneRecord(msgspec.Struct, frozen=True):
    """One lane as it ended: its numbers, what a token cost, and everything it said."""

    end: LaneEnd
    model: str
    text: str
    thinking: str
    finish_reason: str | None
    tariff: Tariff | None = None
    attempt: int = 1

    @property
    def cost_nano(self) -> int | None:
        """What it cost in whole nano-dollars, if that is known."""
        cost = None if self.tariff is None else self.tariff.cost(self.end.usage)
        return round(self.end.cost_usd * NANO) if cost is None and self.end.cost_usd is not None else cost


class Closing(_Ending, frozen=True, tag="closing"):
    """The whole outcome. It repeats the opening, so that it alone is enough.

    log is every event's bytes up to and including `done`, as the readers saw them, or empty when it is not to be kept;
    compressed (packing.py) on its way to the disk and the store. at_ms has one number an event: milliseconds since the
    run opened. saved_nano: of a replay, what its original cost.
    """

    status: Status
    reason: str | None
    final_lane: LaneName | None
    verified: bool
    change: Change | None
    agreement: Agreement | None
    latency_ms: float | None
    usage: Usage
    cost_nano: int | None
    lanes: dict[LaneName, LaneRecord]
    log: bytes
    at_ms: tuple[int, ...]
    version: int = CLOSED
    content: ContentNote = ContentNote()
    saved_nano: int | None = None


class Interruption(_Ending, frozen=True, tag="interruption"):
    """The server of this run died before it could say how the run ended; `at` is the last sign of life."""

    at: datetime

    @property
    def version(self) -> int:
        """Below every closing, so that an outcome which arrives late still replaces it."""
        return INTERRUPTED


class Attachment(msgspec.Struct, frozen=True, tag="attachment"):
    """A request that shared the run of an identical question. created_at is the time inside the UUIDv7 request_id.

    mode: how strictly its labels are to be masked, if not more so.
    """

    request_id: str
    created_at: datetime
    run_id: str
    caller: str
    fingerprint: str
    labels: Labels
    instance: str = ""
    idempotency_key: str | None = None
    mode: Content = "full"

    @property
    def id(self) -> str:
        """What the entry is kept under."""
        return self.request_id

    @property
    def version(self) -> int:
        """Always the last: nothing more comes of it."""
        return CLOSED


RunEntry = Opening | Interruption | Closing
Entry = RunEntry | Attachment


class Receipt(Protocol):
    """A promise that an entry will be durable; the run waits for it within a bound and goes on without it."""

    async def durable(self, within_s: float) -> bool:
        """True when the entry is durable; False when within_s seconds passed or it was given up."""
        ...


class Journal(Protocol):
    """Where a run writes itself down. The calls return at once and never raise for a sick disk or database."""

    def admit(self) -> None:
        """Raises AuditFull when a new run could not be written down and the policy is to refuse it."""
        ...

    def opened(self, opening: Opening) -> Receipt:
        """Take the start of a run."""
        ...

    def closed(self, closing: Closing) -> Receipt:
        """Take the whole outcome of a run."""
        ...

    def attached(self, attachment: Attachment) -> Receipt:
        """Take that a request shares a run."""
        ...
