"""Entries on their way to the store: what the drainer takes from, and the receipts of those who wait.

An Item belongs to the event loop, but for the fields that its shaping fills in another thread before the loop looks at
them again.
"""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from msgspec.structs import replace

from app.record.codec import Undecodable, cleaned, decode, digest, encode, stripped, unlabelled
from app.record.entry import Attachment, Closing, Entry
from app.record.ledger import End
from app.record.packing import packed
from app.record.store import DeadLetter

logger = logging.getLogger(__name__)

Reason = Literal["rejected", "conflict", "undecodable"]


@dataclass(slots=True, eq=False)
class Ticket:
    """A Receipt. Waiting costs one future and one timer, and only when the entry is not settled yet.

    hopeless: it was known when the entry came that it cannot become durable in time, so that nobody waits for it.
    """

    stored: bool | None = None
    hopeless: bool = False
    _waiters: list[asyncio.Future[bool]] | None = None

    async def durable(self, within_s: float) -> bool:
        """True when the entry is durable; False when within_s seconds passed or it was given up."""
        if self.stored is not None or self.hopeless or within_s <= 0:
            return bool(self.stored)
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiters = [*(self._waiters or ()), waiter]
        timer = loop.call_later(within_s, _settle, waiter, False)
        try:
            return await waiter
        finally:
            timer.cancel()

    def settle(self, stored: bool) -> None:
        """Say what became of the entry; a later word stands."""
        self.stored = stored
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            _settle(waiter, stored)


def _settle(waiter: asyncio.Future[bool], stored: bool) -> None:
    """Wake a waiter that still waits."""
    if not waiter.done():
        waiter.set_result(stored)


@dataclass(slots=True, eq=False)
class Item:
    """An accepted entry. size is an estimate in bytes, at is Unix time; digest and length come with its shaping.

    entry is None for bytes of the disk that are no entry. held: the drainer has it or will; spooled: the disk has it.
    """

    seq: int
    at: float
    size: int
    entry: Entry | None
    ticket: Ticket = field(default_factory=Ticket)
    digest: bytes = b""
    encoded: bytes = b""
    length: int = 0
    held: bool = False
    spooled: bool = False
    settled: bool = False

    @property
    def id(self) -> str:
        """What the entry is kept under; empty when that is not known."""
        return "" if self.entry is None else self.entry.id

    @property
    def run_id(self) -> str:
        """The run it is about; empty when that is not known."""
        return "" if self.entry is None else self.entry.run_id

    @property
    def caller(self) -> str:
        """Whose it is; empty when that is not known."""
        return "" if self.entry is None else self.entry.caller

    def is_of(self, run_id: str, caller: str | None) -> bool:
        """Whether it is about that run, and that caller's if one is named."""
        return self.run_id == run_id and caller in (None, self.caller)

    @property
    def version(self) -> int:
        """Of the entry; 0 when that is not known."""
        return 0 if self.entry is None else self.entry.version

    def letter(self, reason: Reason, error: str) -> DeadLetter:
        """This entry as a dead letter."""
        known = self.entry
        if known is None:
            return DeadLetter(self.digest, None, None, reason, error, self.encoded)
        return DeadLetter(self.digest, known.id, known.version, reason, error, self.encoded or encode(known))


class Backlog(Protocol):
    """What the drainer takes from. Whatever was taken stays the backlog's until it is settled."""

    def add(self, item: Item) -> None:
        """Put it on its way."""
        ...

    async def take(self, entries: int, size: int) -> list[Item]:
        """Wait for the oldest entries, at least one, about within the bounds; each is handed out once."""
        ...

    def settle(self, items: Sequence[Item], end: End) -> None:
        """This became of them; an item that is settled already stays as it is."""
        ...

    async def lay_aside(self, letter: DeadLetter) -> None:
        """Keep a dead letter that the store cannot take now; raises OSError."""
        ...

    def may_have(self, run_id: str, caller: str | None = None) -> bool:
        """Whether an entry of that run, and of that caller if one is named, may be here."""
        ...

    @property
    def oldest(self) -> float:
        """When the oldest open entry came, in Unix time; 0 when there is none."""
        ...

    @property
    def ready_since(self) -> float:
        """When the first of the entries that `take` would return at once came, in Unix time; 0 when there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the way to the store; the spacing of batches lets a loaded server store many with one statement.

    entries, bytes: of what is only in memory; window_bytes: of what is on the disk and in memory too, for the drainer.
    linger_s: for how long the start of a run, once it is on the disk, waits for its end, to go to the store with it.
    fallback_s: how long an entry without a disk waits for the store before it is printed.
    """

    entries: int = 20_000
    bytes: int = 128 * 1024 * 1024
    window_bytes: int = 32 * 1024 * 1024
    batch_entries: int = 200
    batch_bytes: int = 8 * 1024 * 1024
    spacing_s: float = 0.005
    linger_s: float = 0.0
    retry_first_s: float = 0.05
    retry_most_s: float = 2.0
    fallback_s: float = 30.0


Prepare = Callable[[Entry], Entry]


def unchanged(entry: Entry) -> Entry:
    """The entry as it is."""
    return entry


def lacks_cost(entry: Entry) -> bool:
    """Whether it says how a run ended, but not what that cost."""
    return isinstance(entry, Closing) and entry.cost_nano is None


def to_stdout(line: str) -> None:
    """Print a line at once, for whoever collects this process's output."""
    sys.stdout.write(line)
    sys.stdout.flush()


@dataclass(frozen=True, slots=True)
class Steps:
    """What is done to an entry on its way, in a thread that is not the event loop's.

    prepare: before anything keeps it (redaction); fill: before the store gets it (prices); both are pure. may_fill is
    asked on the event loop before, whether fill could add anything. emit: takes the log lines of an entry for which
    there is no other place.
    """

    prepare: Prepare = unchanged
    fill: Prepare | None = None
    may_fill: Callable[[Entry], bool] = lacks_cost
    emit: Callable[[str], object] = to_stdout


NO_STEPS: Final = Steps()


def shape(item: Item, prepare: Prepare) -> None:
    """Prepare and encode an entry, its log packed, once; one that cannot be loses its payload, not its preparation."""
    entry = item.entry
    if item.digest or entry is None:
        item.encoded = item.encoded or (b"" if entry is None else encode(entry))
        return
    shaped: tuple[Entry | None, bytes]
    try:
        shaped = _encodable(_packed(prepare(entry)))
    except Exception as error:  # noqa: BLE001  # whatever the steps fail on, the run's numbers are worth keeping
        kind = type(error).__name__  # the error itself may quote the texts
        logger.error("an entry could not be prepared (%s) and lost its payload", kind)  # noqa: TRY400
        shaped = _bare(entry, prepare)
    item.entry, item.encoded = shaped
    item.digest, item.length = digest(item.encoded), len(item.encoded)


def _packed(entry: Entry) -> Entry:
    return replace(entry, log=packed(entry.log)) if isinstance(entry, Closing) and entry.log else entry


def reread(item: Item) -> None:
    """Fill an item whose bytes came from the disk; one that is damaged keeps its bytes and has no entry."""
    if digest(item.encoded) != item.digest:
        return
    with contextlib.suppress(Undecodable):
        item.entry = decode(item.encoded)


def _encodable(entry: Entry) -> tuple[Entry, bytes]:
    """The entry, cleaned if it has no bytes otherwise, and its bytes."""
    try:
        return entry, encode(entry)
    except (ValueError, OverflowError):
        clean = cleaned(entry)
        return clean, encode(clean)


def _bare(entry: Entry, prepare: Prepare) -> tuple[Entry | None, bytes]:
    """The entry without payload, prepared if that works now, else without labels; its name if nothing works."""
    try:
        bare = cleaned(stripped(entry))
    except Exception:  # noqa: BLE001  # a fault of our own in one entry must not stop all the others
        return None, f"{type(entry).__name__} {entry.id!a}".encode()
    try:
        return _encodable(prepare(bare))
    except Exception:  # noqa: BLE001  # without its labels too there is nothing left in it that must be redacted
        return _encodable(unlabelled(bare))


def estimated(entry: Entry) -> int:
    """About how many bytes an entry takes, cheaply."""
    if isinstance(entry, Closing):
        said = sum([len(record.text) + len(record.thinking) for record in entry.lanes.values()])
        return 2000 + len(entry.log) + 4 * said
    if isinstance(entry, Attachment):
        return 1000
    return 1000 + 4 * sum([len(message.content) for message in entry.opening.question.messages])
