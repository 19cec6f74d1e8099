"""The backlog of a spool: what is on the disk and not in the store, in order, with the latest of it in memory."""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from app.record.backlog import Item, Limits
from app.record.ledger import End, Tally
from app.record.lingering import Lingering
from app.record.pen import Report
from app.record.spool import Spool
from app.record.store import DeadLetter

logger = logging.getLogger(__name__)

BEFORE: Final = -(2**63)
BEYOND: Final = 2**63 - 1
OBJECTS_BYTES: Final = 4096  # of an entry beside its texts
PAUSE_S: Final = 0.25  # before asking again a disk that could not be read


@dataclass(slots=True, eq=False)
class _Gap:
    """Places that only the disk has; open at the end (BEYOND) while new entries still go there. since: Unix time."""

    after: int
    before: int
    since: float


def _weight(item: Item) -> int:
    """About how many bytes an entry takes in memory, decoded."""
    return item.length + OBJECTS_BYTES


class SpoolBacklog:
    """What is on the spool and not in the store. What came lately is in memory as well, so that no disk is read.

    An open entry is in exactly one of these: the thread's queue, memory (`held`), a gap.
    """

    def __init__(self, spool: Spool, limits: Limits, tally: Tally) -> None:
        self._spool = spool
        self._limits = limits
        self._tally = tally
        self._ready: deque[Item] = deque()
        self._lingering = Lingering(limits.linger_s, self._send)
        self._held: dict[int, Item] = {}  # until settled
        self._queued: dict[int, Item] = {}  # until held or on the disk
        self._gaps: deque[_Gap] = deque()
        self._reading = False
        self._adopted = False  # what an earlier process left is known
        self._wake = asyncio.Event()
        self._held_bytes = 0
        self.memory_bytes = 0  # about, of what no disk has
        self.disk_bytes = 0
        self.last_seq = 0  # of what was adopted
        self.set_aside: list[str] = []

    def add(self, item: Item) -> None:
        """Put it on its way to the disk."""
        self.memory_bytes += item.size
        self._queued[item.seq] = item
        self._spool.put(item)

    def report(self, report: Report) -> None:
        """The thread has tried to write."""
        self._adopted = self._adopted or report.adopted is not None
        if report.adopted is not None and report.adopted.entries:
            found = report.adopted
            self.last_seq = found.last_seq
            self._tally.adopt(found.entries, found.interrupted)
            logger.warning(
                "an earlier server left %d records here; %d runs were interrupted", found.entries, found.interrupted
            )
            self.disk_bytes += found.bytes
            self._gaps.appendleft(_Gap(BEFORE, found.last_seq + 1, found.oldest))
        if report.aside is not None:
            self._begin_again(report.aside)
        self._land(report.landed)
        for item in report.stranded:
            item.ticket.settle(stored=False)
            self._hold_homeless(item)
        self._wake.set()

    def _land(self, items: Sequence[Item]) -> None:
        """The disk has these: each is durable, unless nothing of it could be encoded but its name."""
        for item in items:
            item.ticket.settle(stored=item.entry is not None)
        landed = [item for item in items if not item.settled]
        if len(landed) < len(items):  # the others went to the store without a disk in the meantime
            self._spool.drop([item for item in items if item.settled])
        self._tally.land(len(landed))
        for item in landed:
            item.spooled = True
            self.memory_bytes -= item.size
            self.disk_bytes += item.length
            self._queued.pop(item.seq, None)
            self._hold(item)
            if item.entry is not None:
                item.encoded = b""

    def _hold(self, item: Item) -> None:
        """Keep it for the drainer, unless memory is full of such; then the drainer asks the thread for it."""
        if item.held or (self._gaps and self._gaps[-1].before == BEYOND):
            return
        if self._held and self._held_bytes + _weight(item) > self._limits.window_bytes:
            self._gaps.append(_Gap(item.seq - 1, BEYOND, item.at))
            return
        self._have(item)
        self._ready.extend(self._lingering.passed(item))

    def _send(self, items: Sequence[Item]) -> None:
        """These have lingered long enough."""
        self._ready.extend(items)
        self._wake.set()

    def _hold_homeless(self, item: Item) -> None:
        """Keep for the drainer what no disk has and memory has anyway; an open gap goes on behind it."""
        if item.held or item.settled:
            return
        last = self._gaps[-1] if self._gaps else None
        if last is not None and last.before == BEYOND:
            if last.after < item.seq - 1:
                last.before = item.seq
                self._gaps.append(_Gap(item.seq, BEYOND, item.at))
            elif last.after == item.seq - 1:
                last.after = item.seq
        self._have(item)
        self._ready.append(item)

    def _have(self, item: Item) -> None:
        item.held = True
        self._held_bytes += _weight(item)
        self._held[item.seq] = item
        self._queued.pop(item.seq, None)

    def _begin_again(self, aside: str) -> None:
        """The file was damaged and is new: what memory has is written again, the rest is in the file set aside."""
        self.set_aside.append(aside)
        again = [item for item in self._held.values() if item.spooled]
        self._tally.lift(len(again))
        self._tally.set_aside(self._tally.spooled)
        self._gaps = deque(gap for gap in self._gaps if gap.before == BEYOND)
        self.disk_bytes = 0
        for item in again:
            item.spooled = False
            self.memory_bytes += item.size
            self._spool.put(item)

    async def take(self, entries: int, size: int) -> list[Item]:
        """As the protocol says."""
        while not self._ready:
            self._wake.clear()
            if self._gaps and not self._reading:
                self._reading = True
                gap = self._gaps[0]
                self._spool.read(gap.after, gap.before, entries, size, partial(self._fill, gap))
            await self._wake.wait()
        return self._next(entries, size)

    def _next(self, entries: int, size: int) -> list[Item]:
        batch: list[Item] = []
        while self._ready and len(batch) < entries and size > 0:
            batch.append(self._ready.popleft())
            size -= batch[-1].length
        return batch

    def _fill(self, gap: _Gap, found: list[Item], whole: bool) -> None:
        """The next entries of a gap; it closes when there are no more. Comes in order with the reports."""
        self._reading = False
        if gap not in self._gaps:  # the file was set aside meanwhile
            self._wake.set()
            return
        whole = whole or (bool(found) and found[-1].seq >= gap.before)  # it may have become narrower meanwhile
        found = [item for item in found if gap.after < item.seq < gap.before]
        if found:
            gap.after, gap.since = found[-1].seq, found[-1].at
        if whole:
            self._gaps.remove(gap)
        for item in found:
            self._have(item)
        self._ready.extendleft(reversed(found))
        asyncio.get_running_loop().call_later(0 if found or whole else PAUSE_S, self._wake.set)

    def settle(self, items: Sequence[Item], end: End) -> None:
        """As the protocol says."""
        settled = [item for item in items if not item.settled]
        on_disk = [item for item in settled if item.spooled]
        self._tally.end(end, in_flight=len(settled) - len(on_disk), spooled=len(on_disk))
        for item in settled:
            item.settled = True
            if self._held.pop(item.seq, None) is not None:
                self._held_bytes -= _weight(item)
            self._queued.pop(item.seq, None)
            if item.spooled:
                self.disk_bytes -= item.length
            else:
                self.memory_bytes -= item.size
        if on_disk:
            self._spool.drop(on_disk)

    @property
    def ready_since(self) -> float:
        """As the protocol says."""
        return self._ready[0].at if self._ready else 0.0

    async def lay_aside(self, letter: DeadLetter) -> None:
        """As the protocol says."""
        await self._spool.lay_aside(letter)

    @property
    def oldest(self) -> float:
        """When the oldest open entry came; 0 when there is none."""
        times = [gap.since for gap in self._gaps]
        times += [next(iter(items.values())).at for items in (self._held, self._queued) if items]
        return min(times, default=0.0)

    def may_have(self, run_id: str, caller: str | None = None) -> bool:
        """Whether such an entry may be here; what only the disk has is not searched."""
        here = (item.is_of(run_id, caller) for items in (self._held, self._queued) for item in items.values())
        return not self._adopted or bool(self._gaps) or any(here)

    @property
    def homeless(self) -> list[Item]:
        """What no disk has."""
        return [*(item for item in self._held.values() if not item.spooled), *self._queued.values()]
