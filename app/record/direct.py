"""The journal of a server whose disk dies with it: an entry is durable when the store has it, or else it is printed."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Self, TypeVar, Unpack

from app.record.backlog import Item, Steps, shape
from app.record.intake import How, Intake, State
from app.record.ledger import End, Tally
from app.record.replay import lines
from app.record.store import DeadLetter, Store

logger = logging.getLogger(__name__)

LOOK_MOST_S: Final = 1.0  # between looks for entries that have waited too long
GROUP: Final = 100  # entries printed in one go

_T = TypeVar("_T")


class MemoryBacklog:
    """What is in memory and not in the store. Entries are prepared and printed in one thread of its own."""

    def __init__(self, tally: Tally, steps: Steps) -> None:
        self._tally = tally
        self._steps = steps
        self._ready: deque[Item] = deque()
        self._open: dict[int, Item] = {}
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="audit")
        self.memory_bytes = 0

    def add(self, item: Item) -> None:
        """Put it on its way to the store."""
        self.memory_bytes += item.size
        self._open[item.seq] = item
        self._ready.append(item)
        self._wake.set()

    async def take(self, entries: int, size: int) -> list[Item]:
        """As the protocol says."""
        while not self._ready:
            self._wake.clear()
            await self._wake.wait()
        batch: list[Item] = []
        while self._ready and len(batch) < entries and size > 0:
            batch.append(self._ready.popleft())
            size -= batch[-1].size
        await self._in_thread(self._shape, batch)
        return batch

    def may_have(self, run_id: str, caller: str | None = None) -> bool:
        """Whether such an entry is here."""
        return any(item.is_of(run_id, caller) for item in self._open.values())

    def settle(self, items: Sequence[Item], end: End) -> None:
        """As the protocol says; the receipt is true when the store has the entry."""
        for item in items:
            if item.settled:
                continue
            item.settled = True
            self._tally.end(end, in_flight=1)
            self.memory_bytes -= item.size
            del self._open[item.seq]
            item.ticket.settle(stored=end in {"stored", "duplicate"})

    @property
    def ready_since(self) -> float:
        """As the protocol says."""
        return self._ready[0].at if self._ready else 0.0

    async def lay_aside(self, letter: DeadLetter) -> None:
        """As the protocol says: there is no disk, so it is printed."""
        await self._in_thread(self._print, lines(letter.run_id, letter.version, letter.digest, letter.encoded))

    async def print(self, items: Sequence[Item]) -> None:
        """These have waited long enough: they go to the log and leave memory."""
        await self._in_thread(self._shape, items)
        for item in items:
            if not item.settled and item.encoded:
                await self._in_thread(self._print, lines(item.id, item.version, item.digest, item.encoded))
        self.settle(items, "logged")

    def older_than(self, at: float) -> list[Item]:
        """The open entries that came before, oldest first, at most a group of them."""
        old: list[Item] = []
        for item in self._open.values():
            if item.at > at or len(old) == GROUP:
                break
            old.append(item)
        return old

    @property
    def oldest(self) -> float:
        """When the oldest open entry came; 0 when there is none."""
        return next((item.at for item in self._open.values()), 0.0)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    def _shape(self, items: Sequence[Item]) -> None:
        for item in items:
            shape(item, self._steps.prepare)

    def _print(self, some: Iterable[str]) -> None:
        for line in some:
            self._steps.emit(line + "\n")

    async def _in_thread(self, work: Callable[[_T], None], on: _T) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, work, on)


class DirectJournal(Intake):
    """A Journal whose entries are durable once the store has them; what it does not take in time is printed."""

    sink = "direct"

    def __init__(self, store: Store, **how: Unpack[How]) -> None:
        super().__init__(store, **how)
        self._backlog: MemoryBacklog = MemoryBacklog(self._tally, self._steps)

    async def __aenter__(self) -> Self:
        self._stack.callback(self._backlog.close)
        self._stack.push_async_callback(self._print_old, float("inf"))
        watch = asyncio.create_task(self._watch(), name="audit-fallback")
        self._stack.push_async_callback(_ended, watch)
        await self._start_drainer()
        return self

    async def _watch(self) -> None:
        """Print what has waited too long, again and again."""
        while True:
            await asyncio.sleep(min(LOOK_MOST_S, self._limits.fallback_s / 4))
            await self._print_old(time.time() - self._limits.fallback_s)

    async def _print_old(self, before: float) -> None:
        """Print what came before, group by group."""
        try:
            while old := self._backlog.older_than(before):
                await self._backlog.print(old)
                self._sparing.say(logging.ERROR, "the store was away too long: entries go to the log, for `replay`")
        except Exception:  # the log may be ill too; entries stay in memory until it is well
            logger.exception("%d entries could not be written to the log", self._tally.in_flight)

    def _room(self, share: float, size: int, *, last: bool = False) -> bool:  # noqa: ARG002  # there is no disk
        """Memory has room."""
        limits = self._limits
        full = self._tally.in_flight >= share * limits.entries
        return not full and self._backlog.memory_bytes + size <= share * limits.bytes

    @property
    def _hopeless(self) -> bool:
        return self._drainer.status != "ok"

    @property
    def state(self) -> State:
        """How it is, for an operator: `status` is `ok`, or says what is wrong."""
        return {
            "sink": self.sink,
            "status": self._status(None),
            "store": self._drainer.status,
            "memory_bytes": self._backlog.memory_bytes,
        }


async def _ended(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for its end."""
    task.cancel()
    await asyncio.wait([task])
