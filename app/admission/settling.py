"""Tells the shared purse what runs have spent, behind their backs: again and again while it does not answer."""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Final, Self

from app.admission.purse import Settlement, SharedPurse
from app.admission.sparing import CountersUnavailable

logger = logging.getLogger(__name__)

WAITING: Final = 100_000  # settlements; beyond these the oldest is given up
AGAIN_S: Final = (0.2, 5.0)  # first and longest pause after a failure
BATCH: Final = 50
FLUSH_S: Final = 1.0  # at the end


class Settler:
    """Owned by one event loop; `async with` ends it after a last while for what waits. wall: as settlements have it."""

    def __init__(self, purse: SharedPurse, wall: Callable[[], float] = time.time) -> None:
        self._purse = purse
        self._wall = wall
        self._queue: deque[Settlement] = deque(maxlen=WAITING)
        self._more = asyncio.Event()
        self._told = asyncio.Event()  # of everything
        self._told.set()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="settlements")
        return self

    async def __aexit__(self, *_: object) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._told.wait(), FLUSH_S)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._queue:
            logger.warning("the shared limits were not told what %d runs have spent; the record has it", self.waiting)

    @property
    def waiting(self) -> int:
        """How many settlements the shared purse has not confirmed."""
        return len(self._queue)

    def put(self, settlement: Settlement) -> None:
        """Take what a run has spent. Never waits."""
        self._queue.append(settlement)
        self._told.clear()
        self._more.set()

    async def _run(self) -> None:
        pause_s, longest_s = AGAIN_S
        while True:
            if not self._queue:
                self._told.set()
                self._more.clear()
                await self._more.wait()
            batch = list(islice(self._queue, BATCH))
            try:
                await self._purse.settle(batch, self._wall())
            except CountersUnavailable:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, longest_s)
                continue
            pause_s = AGAIN_S[0]
            for told in batch:
                if self._queue[0] is told:  # not given up meanwhile
                    self._queue.popleft()
