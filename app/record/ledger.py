"""The books of the audit: every accepted entry is in exactly one place, at any moment."""

import asyncio
from dataclasses import dataclass, field
from typing import Literal

from app.record.store import Fate

End = Literal[Fate, "dead_lettered", "logged"]


@dataclass(frozen=True, slots=True)
class Ledger:
    """accepted = stored + duplicate + dead_lettered + logged + spooled + in_flight.

    spooled: on this disk and not known to be in the store. in_flight: only in memory. duplicate: the store had it
    already, or a later word on the same run. logged: printed as lines for `replay`. dead_lettered: kept aside, in the
    store, as a file, or inside a spool that was set aside; conflicts are among them. refused: never accepted.
    stripped: accepted without payload. adopted: accepted from an earlier process's spool, interrupted among them: runs
    that had begun and never ended. oldest_s: age of the oldest entry that is not settled.
    """

    accepted: int
    stored: int
    duplicate: int
    dead_lettered: int
    logged: int
    spooled: int
    in_flight: int
    refused: int
    stripped: int
    conflicts: int
    retries: int
    adopted: int
    interrupted: int
    oldest_s: float

    @property
    def balanced(self) -> bool:
        """Whether every accepted entry is in exactly one place."""
        ended = self.stored + self.duplicate + self.dead_lettered + self.logged
        return self.accepted == ended + self.spooled + self.in_flight


@dataclass(slots=True)
class Tally:
    """The counters behind the ledger; idle is set while nothing is open. Only the event loop changes it."""

    accepted: int = 0
    stored: int = 0
    duplicate: int = 0
    dead_lettered: int = 0
    logged: int = 0
    spooled: int = 0
    in_flight: int = 0
    refused: int = 0
    stripped: int = 0
    conflicts: int = 0
    retries: int = 0
    adopted: int = 0
    interrupted: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.idle.set()

    def accept(self) -> None:
        """An entry came and is in memory."""
        self.idle.clear()
        self.accepted += 1
        self.in_flight += 1

    def adopt(self, entries: int, interrupted: int) -> None:
        """An earlier process left these on the disk."""
        if entries:
            self.idle.clear()
        self.accepted += entries
        self.spooled += entries
        self.adopted += entries
        self.interrupted += interrupted

    def land(self, entries: int) -> None:
        """These were only in memory and are on the disk."""
        self.in_flight -= entries
        self.spooled += entries

    def lift(self, entries: int) -> None:
        """The disk lost these, memory still has them."""
        self.in_flight += entries
        self.spooled -= entries

    def set_aside(self, entries: int) -> None:
        """These are in a spool that was set aside."""
        self.spooled -= entries
        self.dead_lettered += entries
        self._rest()

    def end(self, end: End, *, in_flight: int = 0, spooled: int = 0) -> None:
        """So many entries are settled: what was only in memory, what the disk has."""
        self.in_flight -= in_flight
        self.spooled -= spooled
        if end == "conflict":
            self.conflicts += in_flight + spooled
            end = "dead_lettered"
        setattr(self, end, getattr(self, end) + in_flight + spooled)
        self._rest()

    def _rest(self) -> None:
        """Wake who waits for the end of the work, and who waits for one piece of it."""
        self.moved.set()
        self.moved.clear()
        if not self.spooled + self.in_flight:
            self.idle.set()

    async def drained(self, within_s: float) -> bool:
        """Wait until nothing is open; False when that takes longer."""
        try:
            async with asyncio.timeout(within_s):
                await self.idle.wait()
        except TimeoutError:
            return False
        return True

    def ledger(self, oldest_s: float) -> Ledger:
        """The books now."""
        counts = {name: getattr(self, name) for name in Ledger.__slots__ if name != "oldest_s"}
        return Ledger(**counts, oldest_s=oldest_s)
