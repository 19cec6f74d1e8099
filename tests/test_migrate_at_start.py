"""MIGRATE_AT_START: whether a server migrates, or waits for a job that does."""

import asyncio

import pytest
from filing import rows, value
from servers import eventually, serving
from tails import ask

from app.postgres.migrate import migrate
from app.postgres.pool import Pool
from app.record.store import StoreUnavailable

TABLES = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"


async def test_a_server_that_waits(empty_dsn: str) -> None:
    """With false the server touches no schema and answers; once a job has migrated, its record arrives."""
    async with serving(dsn=empty_dsn, migrate_at_start=False) as server:
        assert "waits for `tandem migrate`" in server.parts.readiness.checks()["database"]
        assert '"status":"completed"' in (await ask(server)).text
        assert await value(empty_dsn, TABLES) == 0
        await migrate(empty_dsn)
        await eventually(lambda: server.parts.readiness.checks()["database"] == "ok", 15.0)
        server.tasks |= {task for task in asyncio.all_tasks() if task.get_name().startswith("chore")}  # begun only now
    assert [row["status"] for row in await rows(empty_dsn, "SELECT status FROM runs")] == ["completed"]


async def test_a_server_that_migrates(empty_dsn: str) -> None:
    """By default the server brings the database up to date itself."""
    async with serving(dsn=empty_dsn):
        assert await value(empty_dsn, TABLES) > 0


@pytest.mark.parametrize("asked", ["channel_binding=prefer", "statement_timeout=soon", "target_session_attrs=any-one"])
async def test_what_an_address_asks_for_blames_neither_tables_nor_entries(dsn: str, asked: str) -> None:
    """An address with what PostgreSQL does not take is out of reach: no migration is due, no entry is bad."""
    async with Pool(f"{dsn}&{asked}") as pool:
        with pytest.raises(StoreUnavailable, match="DATABASE_URL") as caught:
            await pool.ping()
    assert type(caught.value) is StoreUnavailable
