"""The drainer: takes what is on its way and does not rest until the store has it, or until it is a dead letter.

What is wrong with the store is waited out, for ever; what is wrong with an entry is found by halving its batch. The
offender is cleaned and tried once more, then buried. A batch that is cancelled may or may not have been stored; written
again it changes nothing.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final, Literal, Self

import tenacity

from app.record.backlog import NO_STEPS, Backlog, Item, Limits, Prepare, Reason, Steps
from app.record.codec import cleaned, digest, encode
from app.record.ledger import Tally
from app.record.store import EntryRejected, Fate, Filed, SchemaMismatch, Store, StoreUnavailable

logger = logging.getLogger(__name__)

SAY_EVERY_S: Final = 10.0
CLOSE_S: Final = 0.5
IN_A_ROW: Final = 20  # rejected entries without a stored one between: then it is rather the store that is wrong


class Sparing:
    """Says each kind of thing at most once in ten seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said: dict[str, float] = {}

    def say(self, level: int, message: str, *details: object) -> None:
        """Log this unless it was said lately."""
        now = self._clock()
        if now - self._said.get(message, float("-inf")) >= SAY_EVERY_S:
            self._said[message] = now
            logger.log(level, message, *details)


class Drainer:
    """One task between a backlog and a store. `async with` starts and ends it; what is in hand stays the backlog's."""

    def __init__(self, backlog: Backlog, store: Store, tally: Tally, limits: Limits, steps: Steps = NO_STEPS) -> None:
        self._backlog = backlog
        self._store = store
        self._tally = tally
        self._limits = limits
        self._fill, self._may_fill = steps.fill, steps.may_fill
        self._todo: list[list[Item]] = []  # parts of one batch, the next one last
        self._sparing = Sparing()
        self._closing = False
        self._rejected = 0  # entries in a row
        self._most = limits.batch_entries  # that the store is trusted with at once
        self._next_burial = 0.0
        self._task: asyncio.Task[None] | None = None
        self._moved_at = time.monotonic()
        self.status: Literal["ok", "away", "held"] = "ok"
        self._retrying = tenacity.AsyncRetrying(
            stop=lambda _: self._closing,
            reraise=True,
            retry=tenacity.retry_if_exception_type(StoreUnavailable),
            wait=tenacity.wait_random_exponential(limits.retry_first_s, limits.retry_most_s),
            before_sleep=self._before_retry,
        )

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._supervise(), name="drainer")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=CLOSE_S)  # a driver that waits for a black hole may take longer

    @property
    def still_s(self) -> float:
        """For how long it has done nothing though there was work, in seconds; to try again in vain is to move."""
        now, ready_since = time.monotonic(), self._backlog.ready_since
        if self._todo:
            return now - self._moved_at
        return min(now - self._moved_at, time.time() - ready_since) if ready_since else 0.0

    async def _supervise(self) -> None:
        """Keep the drainer going over a fault of our own; it begins again with what it had in hand."""
        while not self._closing:
            try:
                await self._run()
            except StoreUnavailable:  # only when closing: an error took the place of our cancellation
                logger.debug("the store was away when the drainer was closed")
            except Exception:  # the record outlives a fault in its drainer; the fault is logged whole
                logger.exception("the drainer failed; it begins again")
                await asyncio.sleep(self._limits.retry_most_s)

    async def _run(self) -> None:
        """Store what has gathered, a lone entry at once, batches at a distance, but behind a full one."""
        earliest = 0.0
        while True:
            while self._todo:
                try:
                    await self._advance()
                except StoreUnavailable as error:
                    if self._closing:
                        raise
                    self._note(error)
                    await self._retrying(self._advance)
            if (pause := earliest - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            batch = await self._backlog.take(self._limits.batch_entries, self._limits.batch_bytes)
            self._todo.append(batch)
            self._moved_at = time.monotonic()
            full = len(batch) == self._limits.batch_entries
            earliest = self._moved_at + (0.0 if full else self._limits.spacing_s)

    async def _advance(self) -> None:
        """Deal with the next part: one entry while the store is away, then ever more. Cancelled, nothing is lost."""
        self._moved_at = time.monotonic()
        whole = [item for item in self._todo[-1] if not item.settled]
        part, rest = whole[: self._most], whole[self._most :]
        halves: tuple[list[Item], ...] = ()
        try:
            await self._store_part(part)
        except EntryRejected as error:
            self.status = "ok"
            if len(part) > 1:
                middle = len(part) // 2
                halves = (part[middle:], part[:middle])
            else:
                await self._save_offender(part[0], error)
        self._todo[-1:] = [left for left in (rest, *halves) if left]

    async def _store_part(self, part: list[Item]) -> None:
        """Write these with one call and settle them; raises what the store raises."""
        known = []
        for item in part:
            if item.entry is None:
                await self._bury(item, "undecodable", "the bytes are no entry")
            else:
                known.append(item)
        if not known:
            return
        fates = await self._write(await self._filed(known))
        self.status, self._rejected = "ok", 0
        self._most = min(2 * self._most, self._limits.batch_entries)
        of: dict[Fate, list[Item]] = {"stored": [], "duplicate": [], "conflict": []}
        for item, fate in zip(known, fates, strict=True):
            of[fate].append(item)
        self._backlog.settle(of["stored"], "stored")
        self._backlog.settle(of["duplicate"], "duplicate")
        for item in of["conflict"]:
            await self._bury(item, "conflict", "the same version of it is stored with other content")

    async def _filed(self, items: Sequence[Item]) -> list[Filed]:
        """The entries as the store gets them, with prices where they had none."""
        filed = [Filed(item.entry, item.digest) for item in items if item.entry is not None]
        fill = self._fill
        if fill is None:
            return filed
        try:
            lacking = [self._may_fill(one.entry) for one in filed]
            return await asyncio.to_thread(_filled, fill, filed, lacking) if any(lacking) else filed
        except Exception as error:  # noqa: BLE001  # an unknown price is no reason not to store a run
            self._sparing.say(logging.ERROR, "prices could not be filled in (%s)", type(error).__name__)
            return filed

    async def _write(self, filed: list[Filed]) -> list[Fate]:
        try:
            return await self._store.write(filed)
        except (StoreUnavailable, EntryRejected):
            raise
        except Exception as error:  # a fault of our own in one entry must not stop all the others
            raise EntryRejected(f"the store failed: {type(error).__name__}") from error

    async def _save_offender(self, item: Item, error: EntryRejected) -> None:
        """Try a rejected entry once more, cleaned; bury it as it was if that does not help."""
        assert item.entry is not None
        logger.error("the entry %s is rejected: %s", item.id, error)
        try:
            clean = cleaned(item.entry)
            fates = await self._write([Filed(clean, digest(encode(clean)))])
        except EntryRejected as still:
            self._hesitate(still)
            await self._bury(item, "rejected", str(still))
            return
        self._rejected = 0
        if fates[0] == "conflict":
            await self._bury(item, "conflict", "the same version of it is stored with other content")
        else:
            self._backlog.settle([item], fates[0])

    def _hesitate(self, error: EntryRejected) -> None:
        """Hold back, but for one entry now and then, once everything is rejected; raises SchemaMismatch."""
        now = time.monotonic()
        if self._rejected >= IN_A_ROW and now < self._next_burial:
            raise SchemaMismatch(f"every entry is rejected: {error.message}")
        self._rejected += 1
        self._next_burial = now + self._limits.retry_most_s

    async def _bury(self, item: Item, reason: Reason, error: str) -> None:
        """Keep an entry as a dead letter in the store, or beside it; raises StoreUnavailable if neither can be done."""
        letter = item.letter(reason, error)
        try:
            await self._store.bury([letter])
        except Exception as trouble:  # noqa: BLE001  # whatever the store's trouble is, a letter must not be lost to it
            try:
                await self._backlog.lay_aside(letter)
            except OSError as worse:
                raise StoreUnavailable(f"a dead letter cannot be kept: {trouble}, {worse}") from worse
        logger.error("the entry %s is a dead letter (%s): %s", letter.run_id, reason, error)
        self._backlog.settle([item], "conflict" if reason == "conflict" else "dead_lettered")

    def _before_retry(self, state: tenacity.RetryCallState) -> None:
        if state.outcome is not None:
            self._note(state.outcome.exception())

    def _note(self, error: BaseException | None) -> None:
        """Count the retry, and say now and then that the store is away, or alarm that it is not as it should be."""
        self._tally.retries += 1
        self._most = 1
        if isinstance(error, SchemaMismatch):
            self.status = "held"
            self._sparing.say(logging.ERROR, "the record is held until its tables are as they should be (%s)", error)
        else:
            self.status = "away"
            self._sparing.say(logging.WARNING, "the record waits for its store (%s)", error)


def _filled(fill: Prepare, filed: Sequence[Filed], lacking: Sequence[bool]) -> list[Filed]:
    """These, filled in where something is lacking."""
    return [one._replace(entry=fill(one.entry)) if lacks else one for one, lacks in zip(filed, lacking, strict=True)]
