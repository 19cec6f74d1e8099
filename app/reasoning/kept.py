"""Runs that have ended and may still be read."""

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from app.reasoning.run import Run


class _Entry(NamedTuple):
    run: Run
    weight: int
    until: float


class Kept:
    """Finished runs by id, the oldest first, within bounds of count, bytes and seconds; the oldest are forgotten."""

    def __init__(self, count: int, max_bytes: int, for_s: float, clock: Callable[[], float]) -> None:
        self._count = count
        self._max_bytes = max_bytes
        self._for_s = for_s
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._bytes = 0

    def add(self, run: Run) -> None:
        """Keep a run that has just ended, unless it alone is over the bound."""
        weight = _weight(run)
        if weight <= self._max_bytes:
            self._entries[run.run_id] = _Entry(run, weight, self._clock() + self._for_s)
            self._bytes += weight
        self._forget()

    def get(self, run_id: str) -> Run | None:
        """The run, while it is kept."""
        self._forget()
        entry = self._entries.get(run_id)
        return None if entry is None else entry.run

    def _forget(self) -> None:
        now = self._clock()
        while self._entries:
            oldest = next(iter(self._entries.values()))
            if oldest.until > now and self._bytes <= self._max_bytes and len(self._entries) <= self._count:
                return
            del self._entries[oldest.run.run_id]
            self._bytes -= oldest.weight


def _weight(run: Run) -> int:
    """About how many bytes a finished run holds: its log and its question."""
    return run.size + sum(len(message.content) for message in run.question.messages)
