"""What the database needs now and then: signs of life, the end of runs whose server died, days to come, days to forget.

Every call may be made at any time, by many servers at once, and again.
"""

import datetime as dt
import logging
from typing import Final, NamedTuple

import asyncpg

from app.postgres.pool import Pool
from app.postgres.queries import QUERIES
from app.postgres.rollups import roll_up
from app.record.store import StoreUnavailable

logger = logging.getLogger(__name__)

PAYLOADS: Final = "run_payloads"
LOGS: Final = "run_logs"
BY_DAY: Final = (PAYLOADS, LOGS)
BATCH: Final = 1000
INSTANCE_DAYS: Final = 30

# Keys of advisory locks, beside that of the migrations.
_SWEEP: Final = 0x7461_6E64_0001
_PARTITIONS: Final = 0x7461_6E64_0002
_DAY: Final = dt.timedelta(days=1)


class Forgotten(NamedTuple):
    """What retention took away: whole days of payloads and logs, and rows."""

    partitions: int
    rows: int
    runs: int
    letters: int
    attachments: int


class Upkeep:
    """The chores. All raise StoreUnavailable when the database is away or a table busy; the pool is its owner's."""

    def __init__(self, pool: Pool, slow_ms: float = 8000.0) -> None:
        self._pool = pool
        self._slow_ms = slow_ms

    async def heartbeat(self, instance: str) -> None:
        """Say that this server lives; to be called before its first run is written, and often."""
        async with self._pool.connection() as connection:
            await connection.execute(QUERIES["beat"], instance)

    async def sweep(self, silent_s: float) -> int:
        """Say `failed`, `interrupted` of the open runs of servers not heard of for silent_s seconds; return how many.

        An outcome that arrives late still replaces it, being of a higher version.
        """
        total = 0
        while True:
            async with self._pool.connection() as connection:
                found: int | None = await connection.fetchval(QUERIES["sweep"], silent_s, _SWEEP, BATCH)
            total += found or 0
            if found is None or found < BATCH:
                return total

    async def ensure_partitions(self, days: int) -> int:
        """Make the partitions of today and of so many days to come; return how many were missing.

        None of a table that is read for long: rows have a place without, and a server must not wait for a backup.
        """
        made = 0
        for table in BY_DAY:
            try:
                made += await self._make_missing(table, days)
            except StoreUnavailable as error:
                if not isinstance(error.__cause__, asyncpg.LockNotAvailableError):
                    raise
                logger.warning("the days to come of %s are made another time: somebody reads it for long", table)
        return made

    async def retain(self, payload_days: int, log_days: int, run_days: int) -> Forgotten:
        """Forget payloads, logs and runs that are older than so many days; a run's texts never outlive the run.

        Requests that shared a run, and dead letters, are kept as long as runs.
        """
        partitions = rows = 0
        for table, days in zip(BY_DAY, (min(payload_days, run_days), min(log_days, run_days)), strict=True):
            partitions += await self._drop_old(table, days)
            rows += await self._delete(QUERIES["delete_others"].format(table=table), days)
        runs = await self._delete(QUERIES["delete_runs"], run_days)
        letters = await self._delete(QUERIES["delete_letters"], run_days)
        attachments = await self._delete(QUERIES["delete_attachments"], run_days)
        async with self._pool.connection() as connection:
            await connection.execute(QUERIES["delete_instances"], max(run_days, INSTANCE_DAYS))
        return Forgotten(partitions, rows, runs, letters, attachments)

    async def drop_expired(self) -> int:
        """Forget answers that have expired; return how many."""
        return await self._delete(QUERIES["delete_answers"])

    async def roll_up(self) -> int:
        """Compute the hours anew that changed since; return how many, 0 when another server is at it."""
        return await roll_up(self._pool, self._slow_ms)

    async def _make_missing(self, table: str, days: int) -> int:
        """The missing partitions of one table, all in one transaction; none while another server is at it."""
        async with self._pool.connection() as connection, connection.transaction():
            if not await connection.fetchval(QUERIES["try_turn"], _PARTITIONS):
                return 0
            await connection.execute(QUERIES["wait_briefly"])
            today: dt.date = await connection.fetchval(QUERIES["today"])
            there = {row["day"] for row in await connection.fetch(QUERIES["list_partitions"], table)}
            missing = [day for day in (today + ahead * _DAY for ahead in range(days + 1)) if day not in there]
            for day in missing:
                name = f"{table}_{day:%Y%m%d}"
                statement = QUERIES["make_partition"].format(table=table, name=name, day=day, next=day + _DAY)
                await connection.execute(statement)
                if table == LOGS:
                    await connection.execute(QUERIES["store_logs_outside"].format(name=name))
        return len(missing)

    async def _drop_old(self, table: str, days: int) -> int:
        """Drop what is wholly older than so many days of one table; nothing while another server is at it."""
        async with self._pool.connection() as connection, connection.transaction():
            if not await connection.fetchval(QUERIES["try_turn"], _PARTITIONS):
                return 0
            await connection.execute(QUERIES["wait_briefly"])
            first = await connection.fetchval(QUERIES["today"]) - days * _DAY
            old = [row for row in await connection.fetch(QUERIES["list_partitions"], table) if row["day"] < first]
            for row in old:
                await connection.execute(QUERIES["drop_partition"].format(name=row["name"]))
        return len(old)

    async def _delete(self, query: str, *arguments: int) -> int:
        """Delete in small batches, each a transaction of its own, until a batch is not full; return how many."""
        total, last = 0, BATCH
        while last >= BATCH:
            async with self._pool.connection() as connection:
                last = await connection.fetchval(query, *arguments, BATCH)
            total += last
        return total
