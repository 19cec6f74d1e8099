"""Openings that linger: a run that ends soon is one word to the store, not two. The disk has them meanwhile."""

import asyncio
from collections.abc import Callable
from typing import Final

from app.record.backlog import Item
from app.record.entry import Opening

SHARE: Final = 0.25  # of the time to linger: between looks, so that those who came one by one go together


class Lingering:
    """Holds back what is on the disk and only says that a run began, for within_s seconds or until its end is known.

    ripe: called with those that lingered in vain, in the order in which they came. It belongs to the event loop.
    """

    def __init__(self, within_s: float, ripe: Callable[[list[Item]], object]) -> None:
        self._within_s = within_s
        self._ripe = ripe
        self._waiting: dict[str, tuple[float, Item]] = {}  # by run, the oldest first
        self._timer: asyncio.TimerHandle | None = None

    def passed(self, item: Item) -> list[Item]:
        """What goes on now that this has come: it, unless it may linger, behind what lingered of the same run."""
        _, before = self._waiting.pop(item.id, (0.0, None))
        gone = [] if before is None else [before]
        if self._within_s > 0 and isinstance(item.entry, Opening):
            now = asyncio.get_running_loop().time()
            self._waiting[item.id] = now + self._within_s, item
            self._look_after(self._within_s)
        else:
            gone.append(item)
        return gone

    def _look_after(self, delay_s: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._look)

    def _look(self) -> None:
        """Let go of those whose time has come, and look again when the next one's has."""
        self._timer = None
        now = asyncio.get_running_loop().time()
        ripe: list[Item] = []
        for due, item in self._waiting.values():
            if due > now:
                self._look_after(max(due - now, SHARE * self._within_s))
                break
            ripe.append(item)
        for item in ripe:
            del self._waiting[item.id]
        if ripe:
            self._ripe(ripe)
