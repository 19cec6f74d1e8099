"""The writer behind the streams: runs hand their entries over without waiting, one task stores them in batches.

What the database cannot take now is kept and tried again for ever, within bounds; what it can never take is found by
halving the batch, counted and logged, and its neighbours are kept.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

import tenacity

from app.record.entry import Closing, Opening
from app.record.store import Entry, EntryRejected, Store, StoreUnavailable

logger = logging.getLogger(__name__)

OPENINGS_SHARE = 0.75  # of the bounds; the rest is for closings, which say more
SAY_EVERY_S = 10.0
CLOSE_S = 0.5


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the writer; the spacing of batches lets a loaded server store many runs with one statement."""

    entries: int = 20_000
    bytes: int = 256 * 1024 * 1024
    batch_entries: int = 200
    batch_bytes: int = 8 * 1024 * 1024
    spacing_s: float = 0.005
    retry_first_s: float = 0.05
    retry_most_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Counts:
    """The ledger: accepted = stored + duplicate + rejected + queued + in_flight, at any moment.

    duplicate: the store had it already, or a later word on the same run. refused: never accepted, the queue was full.
    """

    accepted: int
    stored: int
    duplicate: int
    rejected: int
    queued: int
    in_flight: int
    refused: int
    retries: int


@dataclass(slots=True)
class Ticket:
    """A Receipt. Waiting costs one future and one timer, and only when the entry is not settled yet.

    away: the store was known to be away when the entry came, so that nobody waits for what will not happen.
    """

    stored: bool | None = None
    away: bool = False
    _waiters: list[asyncio.Future[bool]] = field(default_factory=list)

    async def durable(self, within_s: float) -> bool:
        """True when the entry is stored; False when within_s seconds passed or it was given up."""
        if self.stored is not None or self.away or within_s <= 0:
            return bool(self.stored)
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiters.append(waiter)
        timer = loop.call_later(within_s, _settle, waiter, False)
        try:
            return await waiter
        finally:
            timer.cancel()

    def settle(self, stored: bool) -> None:
        """Say what became of the entry."""
        self.stored = stored
        for waiter in self._waiters:
            _settle(waiter, stored)
        self._waiters.clear()


def _settle(waiter: asyncio.Future[bool], stored: bool) -> None:
    """Wake a waiter that still waits."""
    if not waiter.done():
        waiter.set_result(stored)


@dataclass(frozen=True, slots=True)
class _Item:
    """An accepted entry on its way."""

    entry: Entry
    size: int
    ticket: Ticket


class RecordWriter:
    """A Journal over a Store. `async with` starts its one task and closes it; call `drain` before to lose nothing."""

    def __init__(self, store: Store, limits: Limits | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._limits = limits or Limits()
        self._clock = clock
        self._queue: deque[_Item] = deque()
        self._bytes = 0
        self._batch: Sequence[_Item] = ()
        self._accepted = self._stored = self._duplicate = self._rejected = self._refused = self._retries = 0
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._said: dict[str, float] = {}
        self.away = False
        self._closing = False
        self._retrying = tenacity.AsyncRetrying(
            stop=lambda _: self._closing,
            reraise=True,
            retry=tenacity.retry_if_exception_type(StoreUnavailable),
            wait=tenacity.wait_random_exponential(self._limits.retry_first_s, self._limits.retry_most_s),
            before_sleep=self._before_retry,
        )
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._supervise(), name="record-writer")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def opened(self, opening: Opening) -> Ticket:
        """Take the start of a run; refused when the queue is nearly full."""
        size = 1000 + 4 * sum(len(message.content) for message in opening.question.messages)
        return self._take(opening, size, OPENINGS_SHARE)

    def closed(self, closing: Closing) -> Ticket:
        """Take the whole outcome of a run; refused when the queue is full."""
        said = sum(len(record.text) + len(record.thinking) for record in closing.lanes.values())
        size = 2000 + len(closing.log) + 4 * said
        return self._take(closing, size, 1.0)

    @property
    def counts(self) -> Counts:
        """The ledger now."""
        return Counts(
            accepted=self._accepted,
            stored=self._stored,
            duplicate=self._duplicate,
            rejected=self._rejected,
            queued=len(self._queue),
            in_flight=len(self._batch),
            refused=self._refused,
            retries=self._retries,
        )

    async def drain(self, within_s: float) -> bool:
        """Wait until everything accepted is settled; False when that takes longer. Nothing is lost by a timeout."""
        try:
            async with asyncio.timeout(within_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Stop the task. What is not stored by now is given up: its receipts say so, and so does the log."""
        self._closing = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=CLOSE_S)  # a driver that waits for a black hole may take longer
            self._task = None
        left = [*self._batch, *self._queue]
        for item in left:
            item.ticket.settle(stored=False)
        if left:
            logger.error("the record of %d entries was not stored before the end", len(left))

    def _take(self, entry: Entry, size: int, share: float) -> Ticket:
        """Queue an entry if there is room."""
        ticket = Ticket(away=self.away)
        full = len(self._queue) + len(self._batch) >= share * self._limits.entries
        if full or self._bytes + size > share * self._limits.bytes:
            self._refused += 1
            ticket.settle(stored=False)
            self._say("the record's queue is full: %d entries were refused so far", self._refused)
            return ticket
        self._accepted += 1
        self._bytes += size
        self._queue.append(_Item(entry, size, ticket))
        self._idle.clear()
        self._wake.set()
        return ticket

    async def _supervise(self) -> None:
        """Keep the writer going: should it fall over a fault of our own, its batch goes back to the queue."""
        while True:
            try:
                await self._run()
            except Exception:  # the record outlives a fault in its writer; the fault is logged whole
                logger.exception("the writer of the record failed; it begins again")
                self._queue.extendleft(reversed(self._batch))
                self._batch = ()
                await asyncio.sleep(self._limits.retry_most_s)

    async def _run(self) -> None:
        """Store what has gathered, batch after batch. A lone entry never waits; batches keep a distance."""
        earliest = 0.0
        while True:
            await self._wake.wait()
            if (pause := earliest - self._clock()) > 0:
                await asyncio.sleep(pause)
            earliest = self._clock() + self._limits.spacing_s
            self._batch = self._next_batch()
            await self._store_batch(self._batch)
            if not self._queue:
                self._wake.clear()
                self._idle.set()

    def _next_batch(self) -> list[_Item]:
        """The oldest entries, up to the bounds of a batch, at least one."""
        batch: list[_Item] = []
        size = 0
        while self._queue and len(batch) < self._limits.batch_entries and size < self._limits.batch_bytes:
            batch.append(self._queue.popleft())
            size += batch[-1].size
        return batch

    async def _store_batch(self, items: Sequence[_Item]) -> None:
        """Store these, or find those that cannot be stored by halving."""
        try:
            new = await self._write([item.entry for item in items])
        except EntryRejected as error:
            if len(items) > 1:
                middle = len(items) // 2
                await self._store_batch(items[:middle])
                await self._store_batch(items[middle:])
                return
            self._rejected += 1
            logger.exception("the record of run %s cannot be stored", _run_id(items[0].entry), exc_info=error)
            self._finish(items, stored=False)
            return
        self._stored += new
        self._duplicate += len(items) - new
        self._finish(items, stored=True)

    async def _write(self, entries: list[Entry]) -> int:
        """One write, tried again for as long as the store is away."""
        try:
            return await self._retrying(self._store.write, entries)
        except StoreUnavailable as error:  # only when closing: an error took the place of our cancellation
            raise asyncio.CancelledError from error
        except EntryRejected:
            raise
        except Exception as error:  # a fault of our own in one entry must not stop all the others
            raise EntryRejected(f"the store failed: {type(error).__name__}") from error

    def _before_retry(self, state: tenacity.RetryCallState) -> None:
        """Count the retry, and say now and then that the store is away."""
        self._retries += 1
        self.away = True
        error = state.outcome.exception() if state.outcome is not None else None
        self._say("the record waits for its store (%s)", error)

    def _finish(self, items: Sequence[_Item], *, stored: bool) -> None:
        """These are settled: they leave the ledger's way, and their receipts know."""
        self.away = False
        done = {id(item) for item in items}
        self._batch = [item for item in self._batch if id(item) not in done]
        for item in items:
            self._bytes -= item.size
            item.ticket.settle(stored=stored)

    def _say(self, message: str, detail: object) -> None:
        """Log a warning, each kind at most once in ten seconds."""
        now = self._clock()
        if now - self._said.get(message, -SAY_EVERY_S) >= SAY_EVERY_S:
            self._said[message] = now
            logger.warning(message, detail)


def _run_id(entry: Entry) -> str:
    """The run an entry is about."""
    return entry.opening.run_id if isinstance(entry, Closing) else entry.run_id
