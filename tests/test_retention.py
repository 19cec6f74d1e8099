"""What is forgotten, and when."""

from datetime import UTC, datetime, timedelta

import entries
import pytest
from filing import do, filed, rows, value

from app.experiments.rollup import Selection
from app.postgres import upkeep as upkeep_module
from app.postgres.pool import Pool
from app.postgres.queries import QUERIES
from app.postgres.rollups import Rollups
from app.postgres.runs import RunStore
from app.postgres.upkeep import Upkeep
from app.question import Caller
from app.record.entry import Closing
from app.record.store import DeadLetter

ME = Caller("me")


def _closed(days_ago: float) -> Closing:
    """A run that was closed so many days ago."""
    ago = datetime.now(UTC) - timedelta(days=days_ago) - entries.EPOCH
    return entries.closing(entries.opening(ago.total_seconds()))


async def _counts(dsn: str) -> tuple[int, ...]:
    """How many runs, legs, payloads and logs there are."""
    tables = ("runs", "legs", "run_payloads", "run_logs")
    return tuple([await value(dsn, f"SELECT count(*) FROM {table}") for table in tables])


async def test_each_part_is_forgotten_in_its_own_time(run_store: RunStore, pool: Pool, dsn: str) -> None:
    """Payloads, logs and whole runs go when each is older than its days; what is younger stays."""
    await run_store.write(filed(*map(_closed, (0, 5, 20, 50))))
    forgotten = await Upkeep(pool).retain(payload_days=10, log_days=3, run_days=40)
    assert await _counts(dsn) == (3, 6, 2, 1)
    assert (forgotten.partitions, forgotten.rows, forgotten.runs) == (0, 5, 1)
    assert await Upkeep(pool).retain(10, 3, 40) == (0, 0, 0, 0, 0)


async def test_whole_days_are_dropped(run_store: RunStore, pool: Pool, dsn: str) -> None:
    """A day's partition is dropped whole when all of it is too old, and none before."""
    old = _closed(5)
    day = old.opening.created_at.date()
    names = {"table": "run_payloads", "name": f"run_payloads_{day:%Y%m%d}", "day": day, "next": day + timedelta(days=1)}
    await do(dsn, QUERIES["make_partition"].format(**names))
    await run_store.write(filed(old, _closed(0)))
    assert (await Upkeep(pool).retain(payload_days=5, log_days=40, run_days=40)).partitions == 0
    assert await _counts(dsn) == (2, 4, 2, 2)
    assert (await Upkeep(pool).retain(payload_days=4, log_days=40, run_days=40)).partitions == 1
    assert await _counts(dsn) == (2, 4, 1, 2)


async def test_texts_never_outlive_their_run(run_store: RunStore, pool: Pool, dsn: str) -> None:
    """When a run is forgotten its texts and its log are, whatever their own days say."""
    await run_store.write(filed(_closed(20)))
    await Upkeep(pool).retain(payload_days=100, log_days=100, run_days=10)
    assert await _counts(dsn) == (0, 0, 0, 0)


async def test_a_run_and_its_texts_go_together(run_store: RunStore, pool: Pool, dsn: str) -> None:
    """Where both have the same days, a run of the first moments of a day stays as long as that day's texts do."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    since_then = (datetime.now(UTC) - midnight) / timedelta(days=1)
    await run_store.write(filed(*(_closed(days + since_then) for days in (9, 10, 11))))
    await Upkeep(pool).retain(10, 10, 10)
    assert await _counts(dsn) == (2, 4, 2, 2)


async def test_a_century_forgets_nothing(run_store: RunStore, pool: Pool, dsn: str) -> None:
    """With the longest times that can be set, which begin before 1970, everything is kept."""
    old = _closed(5000)
    await run_store.write(filed(old, _closed(0), entries.attachment(old.opening)))
    assert await Upkeep(pool).retain(36_500, 36_500, 36_500) == (0, 0, 0, 0, 0)
    assert await _counts(dsn) == (2, 4, 2, 2)


async def test_much_is_forgotten_in_small_steps(
    run_store: RunStore, pool: Pool, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More rows than one step takes are forgotten in one call."""
    monkeypatch.setattr(upkeep_module, "BATCH", 3)
    await run_store.write(filed(*(_closed(20) for _ in range(10)), _closed(0)))
    assert (await Upkeep(pool).retain(10, 10, 10)).runs == 10
    assert await _counts(dsn) == (1, 2, 1, 1)


async def test_a_forgotten_run_is_no_longer_counted(run_store: RunStore, pool: Pool) -> None:
    """The roll-ups follow retention: what is forgotten leaves the counts."""
    upkeep, rollups = Upkeep(pool), Rollups(pool)
    await run_store.write(filed(_closed(20), _closed(0)))
    await upkeep.roll_up()
    await upkeep.retain(10, 10, 10)
    assert (await rollups.stats(ME, Selection()))[0].runs == 1
    await upkeep.roll_up()
    assert (await rollups.stats(ME, Selection()))[0].runs == 1


async def test_old_dead_letters_and_servers_are_forgotten(run_store: RunStore, pool: Pool, dsn: str) -> None:
    """Dead letters go with the runs of their time, servers when nobody heard of them for as long; new ones stay."""
    await run_store.bury([DeadLetter(word * 32, None, None, "rejected", "", b"") for word in (b"a", b"b")])
    await Upkeep(pool).heartbeat("old")
    await do(
        dsn,
        "UPDATE instances SET beat_at = beat_at - interval '50 days';"
        "UPDATE dead_letters SET created_at = created_at - interval '50 days' WHERE id = 1",
    )
    await Upkeep(pool).heartbeat("new")
    assert (await Upkeep(pool).retain(10, 10, 40)).letters == 1
    assert [row[0] for row in await rows(dsn, "SELECT instance FROM instances")] == ["new"]
