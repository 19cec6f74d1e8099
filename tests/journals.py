"""Journals to put under a run: one that is well, one that is slow, one that never answers, one that refuses."""

import asyncio

from app.errors import AuditFull
from app.record.entry import Attachment, Closing, Opening


class _Receipt:
    def __init__(self, delay_s: float | None) -> None:
        self._delay_s = delay_s

    async def durable(self, within_s: float) -> bool:
        """True when the delay is shorter than the wait."""
        delay = within_s if self._delay_s is None else min(self._delay_s, within_s)
        await asyncio.sleep(delay)
        return self._delay_s is not None and self._delay_s <= within_s


class MemoryJournal:
    """Keeps what it is given; an entry is durable after delay_s seconds, or never (None). full: it admits no run."""

    def __init__(self, delay_s: float | None = 0.0) -> None:
        self.delay_s = delay_s
        self.openings: list[Opening] = []
        self.closings: list[Closing] = []
        self.attachments: list[Attachment] = []
        self.full = False

    def admit(self) -> None:
        """As the protocol says."""
        if self.full:
            raise AuditFull("full")

    def opened(self, opening: Opening) -> _Receipt:
        """As the protocol says."""
        self.openings.append(opening)
        return _Receipt(self.delay_s)

    def closed(self, closing: Closing) -> _Receipt:
        """As the protocol says."""
        self.closings.append(closing)
        return _Receipt(self.delay_s)

    def attached(self, attachment: Attachment) -> _Receipt:
        """As the protocol says."""
        self.attachments.append(attachment)
        return _Receipt(self.delay_s)


class Underway:
    """Records, all of one caller, that are on their way and never arrive."""

    def __init__(self, caller: str = "local") -> None:
        self._caller = caller

    def may_have(self, run_id: str, caller: str | None = None) -> bool:  # noqa: ARG002  # as Pending has it
        """Everything of every run of that caller is."""
        return caller in (None, self._caller)

    async def arrival(self, run_id: str, within_s: float, caller: str | None = None) -> None:
        """The wait is over at once, in vain."""
