"""Behind a real PgBouncer that lends its servers by the transaction."""

import asyncio
import logging

import asyncpg
import entries
import pytest
from filing import filed, rows, value
from poolers import pooled, pooler_port, through
from servers import eventually, serving
from tails import ask

from app.experiments.list import Filters
from app.experiments.rollup import Selection
from app.postgres.experiments import Experiments
from app.postgres.migrate import migrate, read, shipped
from app.postgres.pool import Pool, translated
from app.postgres.rollups import Rollups
from app.postgres.runs import RunStore
from app.postgres.upkeep import Upkeep
from app.postgres.way import Way
from app.question import Caller
from app.record.store import EntryRejected, StoreUnavailable

__all__ = ["pooled", "pooler_port"]  # fixtures

ME = Caller("me")


@pytest.mark.parametrize("statements", [0, 100])
async def test_two_servers_behind_one_pooler(pooled: str, statements: int, caplog: pytest.LogCaptureFixture) -> None:
    """Two servers write, list and count at once through two lent servers; who did not know of the pooler finds out."""
    async with Pool(Way(pooled, statements), 4) as one, Pool(Way(pooled, statements), 4) as two:

        async def work(pool: Pool, first: int) -> None:
            """What a server does: write runs down, keep the house, count."""
            store, upkeep, counts = RunStore(pool), Upkeep(pool), Rollups(pool)
            for n in range(first, first + 4):
                opened = entries.opening(n)
                assert await store.write(filed(opened, entries.closing(opened))) == ["duplicate", "stored"]
                await asyncio.gather(upkeep.heartbeat(f"at {first}"), store.get(ME, opened.run_id), upkeep.roll_up())
                await asyncio.gather(
                    upkeep.sweep(30.0), counts.stats(ME, Selection()), store.page(ME, Filters(), 5, None)
                )

        await asyncio.gather(work(one, 0), work(one, 100), work(two, 200), work(two, 300))
        assert len(await RunStore(two).page(ME, Filters(), 200, None)) == 16
        await Upkeep(one).roll_up()
        assert sum(group.runs for group in await Rollups(two).stats(ME, Selection())) == 16
    assert ("DATABASE_STATEMENT_CACHE=0" in caplog.text) == bool(statements)


async def test_a_whole_server(pooled: str, dsn: str) -> None:
    """Runs are stored, listed and exported, and every chore is done."""
    async with serving(dsn=pooled, database_statement_cache=0, cache=True) as server:
        done = (await ask(server)).text
        assert '"status":"completed"' in done
        await eventually(lambda: server.parts.readiness.audit()["chores"].get("days") == "ok", 5.0)
        async with asyncio.timeout(5):
            while not (listed := (await server.client.get("/api/experiments")).json()["experiments"]):  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.02)  # its record is on its way
        exported = await server.client.get("/api/experiments/export", params={"format": "jsonl"})
        chores = server.parts.readiness.audit()["chores"]
    assert exported.status_code == 200
    assert len(listed) == len(exported.text.splitlines()) == 1
    assert set(chores.values()) == {"ok"}
    assert await value(dsn, "SELECT count(*) FROM answers") == 1


async def test_migrating_through_it(pooler_port: int, empty_dsn: str) -> None:
    """Servers that migrate through a pooler do it once, and no lock stays with a server that was lent."""
    pooled = through(pooler_port, empty_dsn)
    applied = await asyncio.gather(*(migrate(Way(pooled, cache)) for cache in (0, 0, 100, 100)))
    assert sorted(map(len, applied)) == [0, 0, 0, len(read(shipped()))]
    assert await value(empty_dsn, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0
    assert await migrate(empty_dsn) == []


async def test_nothing_stays_with_a_lent_server(pooled: str, dsn: str) -> None:
    """What one transaction sets or prepares is not there for the next that is lent the same server."""
    async with Pool(Way(pooled), 4) as pool:
        opened = entries.opening()
        await RunStore(pool).write(filed(opened, entries.closing(opened)))
        await Upkeep(pool).ensure_partitions(5)
        await Upkeep(pool).roll_up()
        export = await Experiments(pool, Way(pooled, 0)).export(ME, Filters(), payload=False)
        assert len(await export.batch()) == 1
        assert await export.batch() == []
        for _ in range(4):
            async with pool.connection() as connection:
                assert await connection.fetch("SELECT name FROM pg_prepared_statements WHERE name <> ''") == []
                assert await connection.fetchval("SHOW lock_timeout") == "0"
                assert await connection.fetchval("SHOW idle_in_transaction_session_timeout") == "0"


@pytest.mark.parametrize("error", [asyncpg.DuplicatePreparedStatementError, asyncpg.InvalidSQLStatementNameError])
async def test_mixed_up_statements(error: type[Exception]) -> None:
    """A pooler that nobody saw names the setting when it mixes up statements; the entries wait and are not blamed."""
    with pytest.raises(StoreUnavailable, match="DATABASE_STATEMENT_CACHE=0") as caught, translated():
        raise error("x")
    assert not isinstance(caught.value, EntryRejected)


async def test_a_direct_connection_prepares(dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    """Where no pooler is between, statements are prepared once and nothing is said."""
    async with Pool(Way(dsn), 1) as pool, pool.connection() as connection:
        await connection.fetchval("SELECT $1::text", "x")
        assert await connection.fetchval("SELECT count(*) FROM pg_prepared_statements") >= 1
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert await rows(dsn, "SELECT 1 FROM pg_stat_activity WHERE application_name = 'nobody'") == []
