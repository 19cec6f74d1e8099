"""The journal of a server with a durable disk: an entry is durable when the spool has it; the drainer does the rest."""

import logging
from typing import Final, Self, Unpack

from app.record.backlog import Item, shape
from app.record.intake import How, Intake, State
from app.record.replay import lines
from app.record.spool import Spool
from app.record.spool_backlog import SpoolBacklog
from app.record.store import Store

logger = logging.getLogger(__name__)

CLOSE_S: Final = 2.0  # with all other waits of the end this stays below the ten seconds of a container host


class SpoolJournal(Intake):
    """A Journal whose entries are durable once they are on the disk. It opens and closes the spool.

    What neither the disk nor the store took by the very end is printed.
    """

    sink = "spool"

    def __init__(self, spool: Spool, store: Store, **how: Unpack[How]) -> None:
        super().__init__(store, **how)
        self._spool = spool
        self._backlog: SpoolBacklog = SpoolBacklog(spool, self._limits, self._tally)

    async def __aenter__(self) -> Self:
        await self._spool.open(self._steps.prepare, self._backlog.report)
        self._seq = max(self._seq, self._backlog.last_seq)
        self._stack.push_async_callback(self._end_spool)
        await self._start_drainer()
        return self

    async def _end_spool(self) -> None:
        """Write what is queued; what the disk does not take goes to the log."""
        await self._spool.close(CLOSE_S)
        left = self._backlog.homeless
        try:
            for item in left:
                self._print(item)
        except Exception:  # the log may be ill too, and the end must come
            logger.exception("neither the disk nor the store nor the log took %d entries", self._tally.in_flight)
        if left:
            logger.error(
                "neither the disk nor the store took %d entries; %d are in the log for `replay`",
                len(left),
                self._tally.logged,
            )
        if spooled := self._tally.spooled:
            logger.warning("%d entries are in the spool; the next start stores them", spooled)

    def _print(self, item: Item) -> None:
        shape(item, self._steps.prepare)
        for line in lines(item.id, item.version, item.digest, item.encoded):
            self._steps.emit(line + "\n")
        self._backlog.settle([item], "logged")

    def _room(self, share: float, size: int, *, last: bool = False) -> bool:
        """Memory, the spool's bytes and the disk's free ones all have room."""
        backlog, limits, spool = self._backlog, self._limits, self._spool
        return (
            self._tally.in_flight < share * limits.entries
            and backlog.memory_bytes + size <= share * limits.bytes
            and backlog.disk_bytes + backlog.memory_bytes + size <= share * spool.max_bytes
            and (last or share * spool.free_bytes >= spool.min_free_bytes)
        )

    @property
    def _hopeless(self) -> bool:
        return self._spool.error is not None

    @property
    def state(self) -> State:
        """How it is, for an operator: `status` is `ok`, or says what is wrong."""
        state: dict[str, str | int | float] = {
            "sink": self.sink,
            "status": self._status(self._spool.error),
            "store": self._drainer.status,
            "spool_bytes": self._backlog.disk_bytes,
            "spool_max_bytes": self._spool.max_bytes,
            "disk_free_bytes": self._spool.free_bytes,
            "memory_bytes": self._backlog.memory_bytes,
        }
        if self._backlog.set_aside:
            state["corrupt"] = ", ".join(self._backlog.set_aside)
        return state
