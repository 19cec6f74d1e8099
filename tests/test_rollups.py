"""Roll-ups say what the runs say, whatever order these came in."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from statistics import quantiles
from typing import Any

import entries
import pytest
from filing import filed, rows, value
from msgspec.structs import replace

from app.errors import RecordUnavailable
from app.experiments.rollup import By, Counted, Histogram, Selection
from app.postgres.pool import Pool
from app.postgres.rollups import Rollups
from app.postgres.runs import RunStore
from app.postgres.upkeep import Upkeep
from app.question import Caller, Labels
from app.record.entry import LATE, Closing, Entry

ME = Caller("me")
KEYS: list[tuple[By, ...]] = [
    (), ("model",), ("policy", "source"), ("experiment", "variant"), ("prompt_class",), ("hour",), ("day", "model"),
    ("prompt_class", "variant"),
]  # fmt: skip


def _made_up(seed: int, count: int = 60, hours: float = 60.0) -> list[Entry]:
    """Runs of all kinds over some hours, the same for the same seed."""
    dice = random.Random(seed)
    made: list[Entry] = []
    for _ in range(count):
        labels = Labels(dice.choice([None, "e"]), dice.choice([None, "a", "b"]), dice.choice([None, "c", "d"]))
        start = entries.opening(
            dice.uniform(0, hours * 3600),
            question=entries.question(labels=labels),
            source=dice.choice(["live", "cache"]),
        )
        made.append(start if dice.random() < 0.1 else _ended(start, dice))
    return made


def _ended(start: Any, dice: random.Random, **changes: Any) -> Closing:
    """One of many ways in which a run may end."""
    slow = dice.choice(["completed", "completed", "timeout", "cancelled", "failed"])
    lanes = {
        "fast": entries.lane("fast", latency_ms=dice.lognormvariate(5, 1), cost_usd=dice.choice([None, 0.001])),
        "slow": entries.lane(
            "slow", outcome=slow, ttft_ms=dice.choice([None, 40.0]), latency_ms=dice.lognormvariate(8, 1)
        ),
    }
    verdict = dice.choice(["agree", "disagree", "unknown", None])
    agreement = entries.closing().agreement
    assert agreement is not None
    return entries.closing(
        start,
        status=dice.choice(["completed", "partial", "timeout"]),
        agreement=None if verdict is None else replace(agreement, verdict=verdict),
        latency_ms=dice.lognormvariate(8.5, 1),
        cost_nano=dice.choice([None, 5000]),
        lanes=lanes,
        **changes,
    )


async def _from_runs(pool: Pool, dsn: str, *asked: tuple[Selection, tuple[By, ...]]) -> list[list[Counted]]:
    """The same questions with no roll-up to answer them, from here on: every hour is dirty and nothing is rolled up."""
    await rows(dsn, "DELETE FROM rollups")
    await rows(dsn, "INSERT INTO rollup_dirty SELECT caller, date_bin('1 hour', created_at, 'epoch') FROM runs")
    return [await Rollups(pool).stats(ME, wanted, by) for wanted, by in asked]


async def test_roll_ups_count_what_the_runs_say(run_store: RunStore, pool: Pool) -> None:
    """Counts, sums and times of known runs come out as they went in, and what is not known counts in no n."""
    fast = entries.lane("fast", latency_ms=100.0)
    done = entries.closing(lanes={"fast": fast, "slow": entries.lane("slow", outcome="timeout", ttft_ms=None)})
    unpriced = entries.closing(entries.opening(2), cost_nano=None, latency_ms=9000.0, agreement=None)
    await run_store.write(filed(done, unpriced, entries.opening(3)))
    assert await Upkeep(pool).roll_up() == 1
    (row,) = await Rollups(pool).stats(ME, Selection())
    assert (row.runs, row.slow, row.statuses) == (3, 1, {"completed": 2, "running": 1})
    assert (row.sources, row.verdicts) == ({"live": 3}, {"agree": 1})
    assert (row.cost_nano.total, row.cost_nano.n) == (2_000_000, 1)
    slow = row.lanes["slow"]
    assert slow.outcomes == {"completed": 1, "timeout": 1}
    assert (slow.first_token.n, slow.first_token.censored, slow.total.n, slow.total.censored) == (1, 1, 1, 1)
    assert (slow.output_tokens.total, slow.output_tokens.n, slow.thinking_tokens.n) == (4, 2, 0)
    ms, ended, censored = row.lanes["fast"].total.steps[1]
    assert (ms == pytest.approx(100.0, rel=0.01), ended, censored) == (True, 1, 0)


SPANS = [(None, None), (10.5, None), (None, 50.25), (3.9, 57.1), (24, 48), (7.2, 7.8), (30, 30)]


async def test_roll_ups_equal_the_runs_for_any_span(run_store: RunStore, pool: Pool, dsn: str) -> None:
    """For every span, whole or cut within an hour, and every key the answer is that of the runs themselves."""
    await run_store.write(filed(*_made_up(1)))
    await Upkeep(pool).roll_up()
    spans = [[None if hours is None else entries.EPOCH + timedelta(hours=hours) for hours in span] for span in SPANS]
    asked = [(Selection(since, until), by) for since, until in spans for by in KEYS]
    rolled = [await Rollups(pool).stats(ME, wanted, by) for wanted, by in asked]
    for question, one, other in zip(asked, rolled, await _from_runs(pool, dsn, *asked), strict=True):
        assert one == other, question


FILTERS: list[dict[str, Any]] = [
    {"experiment": "e"}, {"variant": "a"}, {"prompt_class": "d"}, {"model": "scripted:slow"}, {"model": "none"},
    {"policy": "race"}, {"source": "cache"}, {"policy": "\x00"}, {"experiment": "e", "variant": "b", "source": "live"},
]  # fmt: skip


async def test_roll_ups_are_filtered_as_runs_are(run_store: RunStore, pool: Pool, dsn: str) -> None:
    """Every filter, alone and with others, counts the runs it describes."""
    await run_store.write(filed(*_made_up(2)))
    await Upkeep(pool).roll_up()
    wanted = [Selection(**chosen) for chosen in FILTERS]
    rolled = [await Rollups(pool).stats(ME, selection) for selection in wanted]
    from_runs = await _from_runs(pool, dsn, *((selection, ()) for selection in wanted))
    for selection, one, other in zip(wanted, rolled, from_runs, strict=True):
        assert one == other, selection


async def test_late_rows_and_corrections_are_counted(run_store: RunStore, pool: Pool, dsn: str) -> None:
    """Rows that come after their hour was rolled up, and later versions of counted runs, count now and afterwards."""
    upkeep, rollups, dice = Upkeep(pool), Rollups(pool), random.Random(3)
    await run_store.write(filed(*(first := _made_up(4))))
    await upkeep.roll_up()
    late = [
        entries.closing(entries.opening(5 * 3600.0)),
        *(_ended(entries.opening_of(one), dice, version=LATE) for one in first[:20]),
    ]
    await run_store.write(filed(*late))
    before = await rollups.stats(ME, Selection(), ("source", "hour"))
    assert sum(row.runs for row in before) == 61
    assert await upkeep.roll_up() > 0
    assert await rollups.stats(ME, Selection(), ("source", "hour")) == before
    assert await value(dsn, "SELECT count(*) FROM rollups WHERE span = 'new' OR runs = 0") == 0
    total = await rollups.stats(ME, Selection())
    assert await _from_runs(pool, dsn, (Selection(), ())) == [total]


async def test_jobs_at_once_and_writers_beside_them_lose_nothing(run_store: RunStore, pool: Pool, dsn: str) -> None:
    """Many jobs at the same time, with runs coming in all the while, count every run once."""
    upkeep = Upkeep(pool)
    batches = [filed(*_made_up(seed, 20)) for seed in range(10, 20)]
    await asyncio.gather(*map(run_store.write, batches), *(upkeep.roll_up() for _ in range(10)))
    assert sum((await Rollups(pool).stats(ME, Selection()))[0].sources.values()) == 200
    while await value(dsn, "SELECT count(*) FROM rollup_dirty"):
        await asyncio.gather(*(upkeep.roll_up() for _ in range(3)))
    total = await Rollups(pool).stats(ME, Selection())
    assert await _from_runs(pool, dsn, (Selection(), ())) == [total]


async def test_nothing_to_do_is_nothing_done(run_store: RunStore, pool: Pool) -> None:
    """Without new rows a job has no hour to compute, and nothing stored is no group at all."""
    assert await Rollups(pool).stats(ME, Selection()) == []
    await run_store.write(filed(entries.opening()))
    assert await Upkeep(pool).roll_up() == 1
    assert await Upkeep(pool).roll_up() == 0


async def test_nobody_counts_another_callers_runs(run_store: RunStore, pool: Pool) -> None:
    """Another caller's runs are in no count, rolled up or not."""
    await run_store.write(filed(entries.opening(caller="you")))
    assert await Rollups(pool).stats(ME, Selection()) == []
    await Upkeep(pool).roll_up()
    assert await Rollups(pool).stats(ME, Selection()) == []
    assert len(await Rollups(pool).stats(Caller("you"), Selection())) == 1


async def test_a_histogram_is_within_one_per_cent(run_store: RunStore, pool: Pool) -> None:
    """Quantiles of the histogram are within 1 % of those of the times themselves."""
    dice = random.Random(5)
    times = [dice.lognormvariate(7, 1.2) for _ in range(2000)]
    batch = [entries.closing(entries.opening(at), latency_ms=time) for at, time in enumerate(times)]
    await run_store.write(filed(*batch))
    await Upkeep(pool).roll_up()
    (row,) = await Rollups(pool).stats(ME, Selection())
    exact = quantiles(times, n=100, method="inclusive")
    for per_cent in (50, 95, 99):
        assert _quantile(row.latency, per_cent / 100) == pytest.approx(exact[per_cent - 1], rel=0.015)


def _quantile(histogram: Histogram, share: float) -> float:
    """The time by which a share of uncensored times had ended."""
    seen = 0
    for ms, ended, _ in histogram.steps:
        seen += ended
        if seen >= share * histogram.n:
            return ms
    raise AssertionError


async def test_keys_are_told_by_name(run_store: RunStore, pool: Pool) -> None:
    """A group says what it is of: both models for `model`, the beginning of the hour, null where there is no label."""
    await run_store.write(filed(entries.opening(3700)))
    (row,) = await Rollups(pool).stats(ME, Selection(), ("model", "hour", "experiment"))
    assert row.key == {
        "fast_model": "scripted:fast",
        "slow_model": "scripted:slow",
        "hour": "2026-01-01T01:00:00Z",
        "experiment": None,
    }


@pytest.mark.parametrize("end", [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, tzinfo=UTC)])
async def test_any_time_can_be_asked_for(pool: Pool, end: datetime) -> None:
    """The first and the last moment that can be told are spans like all others."""
    assert (
        await Rollups(pool).stats(ME, Selection(since=end)) == await Rollups(pool).stats(ME, Selection(until=end)) == []
    )


async def test_statistics_of_a_database_that_is_down_are_a_503() -> None:
    """A database that cannot be reached is RecordUnavailable to who asks for statistics."""
    async with Pool("postgresql://me@127.0.0.1:1/x") as away:
        with pytest.raises(RecordUnavailable):
            await Rollups(away).stats(ME, Selection())
