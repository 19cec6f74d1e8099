"""The chores of a server, each in its own rhythm; a database that is away only delays them."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from app.postgres.upkeep import Upkeep
from app.record.store import EntryRejected, StoreUnavailable

logger = logging.getLogger(__name__)

BEAT_S: Final = 5.0
SWEEP_S: Final = 20.0
ROLL_UP_S: Final = 5.0
ROLL_UP_REST: Final = 20.0  # times as long as it took: a busy hour is counted anew from all its runs
DAYS_S: Final = 3600.0
ANSWERS_S: Final = 300.0
RETRY_S: Final = 2.0
DAYS_AHEAD: Final = 3


@dataclass(frozen=True, slots=True)
class Keep:
    """How long things are kept, in days, and after how many silent seconds a server counts as gone."""

    payload_days: int = 30
    log_days: int = 7
    run_days: int = 365
    silent_s: float = 60.0


class Chore(NamedTuple):
    """One chore, and how long it pauses: at least period_s, and at least rest times as long as it took."""

    name: str
    work: Callable[[], Awaitable[None]]
    period_s: float
    rest: float = 0.0


class Chores:
    """Heartbeat, sweep, roll-up, days to come and days to forget, expired answers, for as long as `run` runs.

    state: chore by chore `ok`, or why it waits.
    """

    def __init__(self, upkeep: Upkeep, instance: str, keep: Keep) -> None:
        self._upkeep = upkeep
        self._instance = instance
        self._keep = keep
        self._missed_at = float("-inf")  # when a sign of life of ours did not get through
        self.state: dict[str, str] = {}

    async def run(self) -> None:
        """Never returns; cancel it."""
        async with asyncio.TaskGroup() as group:
            for chore in (
                Chore("heartbeat", self._beat, BEAT_S),
                Chore("sweep", self._sweep, SWEEP_S),
                Chore("roll_up", self._roll_up, ROLL_UP_S, ROLL_UP_REST),
                Chore("days", self._days, DAYS_S),
                Chore("answers", self._answers, ANSWERS_S),
            ):
                group.create_task(self.again(chore), name=f"chore {chore.name}")

    async def again(self, chore: Chore, clock: Callable[[], float] = time.monotonic) -> None:
        """One chore, again and again; sooner when the database is away."""
        while True:
            began, pause_s = clock(), chore.period_s
            try:
                await chore.work()
            except (StoreUnavailable, EntryRejected) as error:
                self.state[chore.name] = error.message
                pause_s = min(RETRY_S, pause_s)
            except Exception as error:  # a fault in one chore must not end the others
                logger.exception("the chore %s failed", chore.name)
                self.state[chore.name] = type(error).__name__
            else:
                self.state[chore.name] = "ok"
            await asyncio.sleep(max(pause_s, chore.rest * (clock() - began)))

    async def _beat(self) -> None:
        try:
            await self._upkeep.heartbeat(self._instance)
        except StoreUnavailable:
            self._missed_at = time.monotonic()
            raise

    async def _sweep(self) -> None:
        """What could not hear us did not hear the others either: when it is back, each may first say that it lives."""
        await self._beat()
        if time.monotonic() - self._missed_at < self._keep.silent_s:
            return
        found = await self._upkeep.sweep(self._keep.silent_s)
        if found:
            logger.warning("%d runs were interrupted: their servers have not been heard of", found)

    async def _roll_up(self) -> None:
        await self._upkeep.roll_up()

    async def _days(self) -> None:
        await self._upkeep.ensure_partitions(DAYS_AHEAD)
        await self._upkeep.retain(self._keep.payload_days, self._keep.log_days, self._keep.run_days)

    async def _answers(self) -> None:
        await self._upkeep.drop_expired()
