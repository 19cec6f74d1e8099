"""What both journals have in common: whether there is room, what is done when there is none, the books, the drainer."""

import asyncio
import contextlib
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Final, Literal, Self, TypedDict

from app.errors import AuditFull
from app.record.backlog import NO_STEPS, Backlog, Item, Limits, Steps, Ticket, estimated
from app.record.codec import stripped
from app.record.drainer import Drainer, Sparing
from app.record.entry import Attachment, Closing, Entry, Opening
from app.record.ledger import Ledger, Tally
from app.record.store import Store

Policy = Literal["refuse", "metadata"]
State = Mapping[str, str | int | float]

BOUNDS: Final = Limits()
OPENINGS_SHARE: Final = 0.75  # of the bounds; the rest is for closings, which say more
OPENING_BYTES: Final = 2000  # about, of a new run
RESERVE_SHARE: Final = 1.05  # of the bounds; what is beyond them is for entries without payload


class How(TypedDict, total=False):
    """What a journal is told beside where things go."""

    steps: Steps
    policy: Policy
    limits: Limits


class Intake(ABC):
    """A Journal over a backlog. `async with` starts it; leaving it loses nothing that is not said in the log.

    policy says what happens when there is no room: `refuse` new runs, or keep `metadata` of them. A run that was
    admitted keeps at least the metadata of its outcome under both.
    """

    sink: str
    _backlog: Backlog  # made by who knows of which kind it is

    def __init__(
        self,
        store: Store,
        *,
        steps: Steps = NO_STEPS,
        policy: Policy = "refuse",
        limits: Limits = BOUNDS,
    ) -> None:
        self._store = store
        self._steps = steps
        self._policy = policy
        self._limits = limits
        self._tally = Tally()
        self._sparing = Sparing()
        self._stack = AsyncExitStack()
        self._seq = time.time_ns()  # beyond the places of every process before
        self._drainer: Drainer

    async def _start_drainer(self) -> None:
        """Start the drainer; it ends with the stack."""
        self._drainer = await self._stack.enter_async_context(
            Drainer(self._backlog, self._store, self._tally, self._limits, self._steps)
        )

    @abstractmethod
    async def __aenter__(self) -> Self:
        """Start."""

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End; call `drain` before, so that the store has everything. Harmless when called again."""
        await self._stack.aclose()

    # -- what a run calls

    def admit(self) -> None:
        """Raises AuditFull when a new run could not be written down and the policy is to refuse it."""
        if self.refusing:
            self._tally.refused += 1
            self._sparing.say(logging.WARNING, "the audit is full (%s): new runs are refused", self.state["status"])
            raise AuditFull("the audit has no room for another run now (AUDIT_FULL=refuse); try again in a moment")

    @property
    def refusing(self) -> bool:
        """Whether `admit` would raise now."""
        return self._policy == "refuse" and not self._room(OPENINGS_SHARE, OPENING_BYTES)

    @property
    def still_s(self) -> float:
        """For how long nothing was done about entries that could be on their way to the store."""
        return self._drainer.still_s

    def opened(self, opening: Opening) -> Ticket:
        """Take the start of a run. Returns at once."""
        size = estimated(opening)
        if self._room(OPENINGS_SHARE, size):
            return self._take(opening, size)
        return self._take_bare(opening) if self._policy == "metadata" else self._refuse()

    def closed(self, closing: Closing) -> Ticket:
        """Take the whole outcome of a run. Returns at once."""
        size = estimated(closing)
        return self._take(closing, size) if self._room(1.0, size) else self._take_bare(closing)

    def attached(self, attachment: Attachment) -> Ticket:
        """Take that a request shares a run; it has no payload to lose. Returns at once."""
        size = estimated(attachment)
        room = self._room(OPENINGS_SHARE if self._policy == "refuse" else RESERVE_SHARE, size)
        return self._take(attachment, size) if room else self._refuse()

    def _take(self, entry: Entry, size: int) -> Ticket:
        self._seq += 1
        item = Item(self._seq, time.time(), size, entry, Ticket(None, self._hopeless))
        self._tally.accept()
        self._backlog.add(item)
        return item.ticket

    def _take_bare(self, entry: Entry) -> Ticket:
        """Take what is left of an entry without its payload, if at least that has room."""
        bare = stripped(entry)
        size = estimated(bare)
        if not self._room(RESERVE_SHARE, size, last=isinstance(entry, Closing)):
            return self._refuse()
        self._tally.stripped += 1
        self._sparing.say(logging.WARNING, "the audit is full (%s): payloads are dropped", self.state["status"])
        return self._take(bare, size)

    def _refuse(self) -> Ticket:
        self._tally.refused += 1
        self._sparing.say(logging.ERROR, "the audit is full: %d entries were refused so far", self._tally.refused)
        return Ticket(stored=False)

    @abstractmethod
    def _room(self, share: float, size: int, *, last: bool = False) -> bool:
        """Whether an entry of that size fits into this share of the bounds; the last of a run may use the free disk."""

    @property
    @abstractmethod
    def _hopeless(self) -> bool:
        """Whether it is known that a new entry will not be durable in time."""

    # -- what an operator asks

    async def drain(self, within_s: float) -> bool:
        """Wait until everything accepted is settled; False when that takes longer. Nothing is lost by a timeout."""
        return await self._tally.drained(within_s)

    def may_have(self, run_id: str, caller: str | None = None) -> bool:
        """Whether an entry of that run, and of that caller if one is named, may still be on its way to the store."""
        return self._backlog.may_have(run_id, caller)

    async def arrival(self, run_id: str, within_s: float, caller: str | None = None) -> None:
        """Wait until nothing of it is on its way, within_s seconds at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self.may_have(run_id, caller):
                    await self._tally.moved.wait()

    @property
    def ledger(self) -> Ledger:
        """The books now."""
        oldest = self._backlog.oldest
        return self._tally.ledger(max(0.0, time.time() - oldest) if oldest else 0.0)

    @property
    @abstractmethod
    def state(self) -> State:
        """How it is, for an operator: `status` is `ok`, or says what is wrong."""

    def _status(self, trouble: str | None) -> str:
        """The worst that is wrong now: the disk, then the store, then room."""
        if trouble is not None:
            return trouble
        if self._drainer.status != "ok":
            return self._drainer.status
        return "ok" if self._room(OPENINGS_SHARE, OPENING_BYTES) else "full"
