"""Signs of life, runs whose server died, and the days to come."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import entries
import pytest
from filing import do, filed, rows, value

from app.postgres.chores import Chores, Keep
from app.postgres.pool import Pool
from app.postgres.queries import QUERIES
from app.postgres.runs import RunStore
from app.postgres.upkeep import BY_DAY, Upkeep
from app.question import Caller
from app.record.store import Filed, StoreUnavailable

ME = Caller("me")
SILENT_S = 30.0


@pytest.fixture
def dsn(bare_dsn: str) -> str:
    """A database where no day was made yet."""
    return bare_dsn


@pytest.fixture
def upkeep(pool: Pool) -> Upkeep:
    """The chores on a fresh, migrated database."""
    return Upkeep(pool)


async def _hour_passes(dsn: str) -> None:
    """Everything in the database happened an hour earlier."""
    await do(
        dsn,
        "UPDATE runs SET updated_at = updated_at - interval '1 hour';"
        "UPDATE instances SET beat_at = beat_at - interval '1 hour'",
    )


async def test_runs_of_a_silent_server_are_interrupted(run_store: RunStore, upkeep: Upkeep, dsn: str) -> None:
    """Open runs of a server that was not heard of are failed and interrupted, their lanes too; a closed one stays."""
    start = entries.opening(1, instance="dead")
    await upkeep.heartbeat("dead")
    await run_store.write(filed(start, entries.closing(entries.opening(2, instance="dead"))))
    await _hour_passes(dsn)
    assert await upkeep.sweep(SILENT_S) == 1
    record = await run_store.get(ME, start.run_id)
    assert record is not None
    assert (record["status"], record["reason"]) == ("failed", "interrupted")
    assert record["lanes"]["fast"]["outcome"] == "failed"
    assert await upkeep.sweep(SILENT_S) == 0


async def test_a_run_of_a_living_server_is_never_swept(run_store: RunStore, upkeep: Upkeep, dsn: str) -> None:
    """However old an open run is, it is left alone while its server beats."""
    await run_store.write(filed(entries.opening(1, instance="alive")))
    await _hour_passes(dsn)
    await upkeep.heartbeat("alive")
    assert await upkeep.sweep(SILENT_S) == 0


async def test_after_an_outage_nobody_is_swept_at_once(
    run_store: RunStore, upkeep: Upkeep, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that comes back to a database beats before it sweeps, and gives the others the time to beat too."""
    await run_store.write(filed(entries.opening(1, instance="one"), entries.opening(2, instance="other")))
    await _hour_passes(dsn)
    chores = Chores(upkeep, "one", Keep(silent_s=SILENT_S))
    with monkeypatch.context() as outage:
        outage.setattr(upkeep, "heartbeat", _away)
        with pytest.raises(StoreUnavailable):
            await chores._sweep()
    await chores._sweep()
    assert await value(dsn, "SELECT count(*) FROM runs WHERE status = 'running'") == 2
    await Chores(upkeep, "one", Keep(silent_s=SILENT_S))._sweep()
    assert await value(dsn, "SELECT instance FROM runs WHERE status = 'running'") == "one"


async def _away(_: str) -> None:
    """A database that hears nobody."""
    raise StoreUnavailable("away")


async def test_a_run_just_written_is_not_swept(run_store: RunStore, upkeep: Upkeep) -> None:
    """A run that this database heard of a moment ago is left alone, though its server has never beaten."""
    await run_store.write(filed(entries.opening(1, instance="new")))
    assert await upkeep.sweep(SILENT_S) == 0
    assert await upkeep.sweep(0.0) == 1


async def test_an_outcome_after_the_sweep_stands(run_store: RunStore, upkeep: Upkeep, dsn: str) -> None:
    """The closing of a run that was swept too early replaces the interruption."""
    start = entries.opening()
    await run_store.write(filed(start))
    await _hour_passes(dsn)
    assert await upkeep.sweep(SILENT_S) == 1
    assert await run_store.write(filed(entries.closing(start))) == ["stored"]
    assert await value(dsn, "SELECT status FROM runs") == "completed"


async def test_many_sweepers_sweep_each_run_once(run_store: RunStore, upkeep: Upkeep, dsn: str) -> None:
    """Servers that sweep at the same time find each run once between them."""
    await run_store.write(filed(*(entries.opening(at) for at in range(50))))
    await _hour_passes(dsn)
    assert sum(await asyncio.gather(*(upkeep.sweep(SILENT_S) for _ in range(4)))) == 50


async def test_the_days_to_come_have_partitions(upkeep: Upkeep, dsn: str) -> None:
    """Today and the days to come each get a partition of payloads and of logs, once, however many servers ask."""
    made = await asyncio.gather(*(upkeep.ensure_partitions(3) for _ in range(4)))
    assert sum(made) == 8
    assert await upkeep.ensure_partitions(3) == 0
    for table in BY_DAY:
        names = await rows(
            dsn, "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = $1::text::regclass", table
        )
        assert len(names) == 5


async def test_a_new_partition_takes_the_rows_of_its_day(run_store: RunStore, upkeep: Upkeep, dsn: str) -> None:
    """Rows that came before their day had a partition move into it and read as before; other days stay."""
    now = (datetime.now(UTC) - entries.EPOCH).total_seconds()
    today = entries.opening(now)
    await run_store.write(filed(entries.closing(today), entries.closing(entries.opening(1))))
    await upkeep.ensure_partitions(1)
    assert await value(dsn, "SELECT count(*) FROM run_logs_other") == 1
    assert await value(dsn, f"SELECT count(*) FROM run_payloads_{today.created_at:%Y%m%d}") == 1
    stored = await run_store.log(ME, today.run_id)
    assert stored is not None
    assert stored.log == entries.closing().log
    assert await run_store.write(filed(entries.closing(today, version=4))) == ["stored"]


async def test_logs_are_not_compressed_again(upkeep: Upkeep, dsn: str) -> None:
    """Every partition of logs keeps them out of line as they are."""
    await upkeep.ensure_partitions(1)
    storages = await rows(
        dsn,
        "SELECT DISTINCT attstorage::text FROM pg_attribute JOIN pg_inherits ON attrelid = inhrelid "
        "WHERE attname = 'log' AND inhparent = 'run_logs'::regclass",
    )
    assert [row[0] for row in storages] == ["e"]


async def test_writing_goes_on_while_partitions_are_made(run_store: RunStore, upkeep: Upkeep) -> None:
    """Writers of the very days that get their partitions may have to try again, but their data are never blamed."""
    now = (datetime.now(UTC) - entries.EPOCH).total_seconds()
    days = timedelta(days=1).total_seconds()
    batches = [filed(*(entries.closing(entries.opening(now + days * (at % 5))) for at in range(10))) for _ in range(10)]
    writers = [_written(run_store, batch) for batch in batches]
    await asyncio.gather(*writers, upkeep.ensure_partitions(5), upkeep.ensure_partitions(5))
    assert await run_store.write([one for batch in batches for one in batch]) == ["duplicate"] * 100


async def test_a_backup_that_reads_does_not_hold_up_who_writes(run_store: RunStore, upkeep: Upkeep, dsn: str) -> None:
    """A day that cannot be dropped, since somebody reads the table for long, is left before writers notice."""
    day = datetime.now(UTC).date() - timedelta(days=50)
    names = {"table": "run_payloads", "name": f"run_payloads_{day:%Y%m%d}", "day": day, "next": day + timedelta(days=1)}
    await do(dsn, QUERIES["make_partition"].format(**names))
    backup = await asyncpg.connect(dsn)
    try:
        await backup.execute("BEGIN; LOCK TABLE run_payloads IN ACCESS SHARE MODE")
        dropping = asyncio.create_task(upkeep.retain(30, 7, 365))
        while not (dropping.done() or await value(dsn, "SELECT count(*) FROM pg_locks WHERE NOT granted")):
            pass
        async with asyncio.timeout(1):
            await run_store.write(filed(entries.closing()))
        with pytest.raises(StoreUnavailable, match="55P03"):
            await dropping
    finally:
        await backup.close()


async def test_a_backup_that_reads_does_not_hold_up_a_start(
    upkeep: Upkeep, dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Days that cannot be made now are made another time, which is told: what a server needs does not wait for them."""
    backup = await asyncpg.connect(dsn)
    try:
        await backup.execute("BEGIN; LOCK TABLE run_payloads IN ACCESS SHARE MODE")
        assert await upkeep.ensure_partitions(2) == 3  # those of the other table
        assert "the days to come of run_payloads" in caplog.text
        await backup.execute("ROLLBACK")
        assert await upkeep.ensure_partitions(2) == 3
    finally:
        await backup.close()


async def _written(store: RunStore, batch: list[Filed]) -> None:
    """Write a batch as the drainer does: for as long as the store is unavailable."""
    while True:
        try:
            await store.write(batch)
        except StoreUnavailable:
            continue
        return
