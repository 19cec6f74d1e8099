"""Roll-ups by hour: the job that computes them and what is read from them; see migrations/0003_rollups.sql.

A counter is (kind * 1024 + bucket) * 2**32 + count. Times fall into buckets that grow by 2 %, from 0.1 ms on.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import asyncpg

from app.errors import RecordUnavailable
from app.events import clean
from app.experiments.rollup import By, Counted, Histogram, LaneCounts, Selection, Sum
from app.postgres.pool import Pool
from app.postgres.queries import QUERIES
from app.question import Caller
from app.record.store import EntryRejected, StoreUnavailable

HOURS_AT_ONCE: Final = 48
JOB_S: Final = 300.0

BUCKETS: Final = 1024
GROWTH: Final = 1.02
MIDDLE: Final = 2 / (1 + GROWTH)  # of a bucket: equally far, by ratio, from both of its ends
LEAST_MS: Final = 0.1

OUTCOME, FIRST_TOKEN, CUT_BEFORE_TOKEN, COMPLETED, CUT, KNOWN = range(6)
SLOW_LANE: Final = 16  # what its kinds begin with
VERDICT, RUN_COST_KNOWN, LATENCY, STATUS, SOURCE = range(32, 37)

# What the buckets of these kinds mean, from 1 on, as in the view run_facts.
OUTCOMES: Final = ("completed", "timeout", "failed", "incomplete", "empty", "cancelled", "refused")
VERDICTS: Final = ("agree", "disagree", "unknown")
STATUSES: Final = ("running", "completed", "partial", "timeout", "failed", "cancelled", "shutdown")
SOURCES: Final = ("live", "cache", "import")

_KEYS: Final[dict[str, tuple[str, ...]]] = {"model": ("fast_model", "slow_model")}
_EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST: Final = datetime(1, 1, 2, tzinfo=UTC)
_LAST: Final = datetime(9999, 12, 30, tzinfo=UTC)
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)

_Counters = dict[int, dict[int, int]]
_Span = tuple[datetime, datetime]


async def roll_up(pool: Pool, slow_ms: float) -> int:
    """Compute the hours anew that changed since the last time; return how many, 0 when somebody else is at it."""
    total, last = 0, HOURS_AT_ONCE
    while last == HOURS_AT_ONCE:
        async with pool.connection() as connection:
            last = await _roll_up_some(connection, slow_ms)
        total += last
    return total


async def _roll_up_some(connection: asyncpg.Connection, slow_ms: float) -> int:
    """Some hours in one transaction: what it sees of the runs, the marks and the roll-ups is of one moment."""
    async with connection.transaction(isolation="repeatable_read"):
        try:
            await connection.execute(QUERIES["take_turn"])
        except asyncpg.LockNotAvailableError:
            return 0
        taken = await connection.fetch(QUERIES["take_dirty_hours"], HOURS_AT_ONCE)
        hours = [row["caller"] for row in taken], [row["hour"] for row in taken]
        await connection.execute(QUERIES["count_hours"], *hours, slow_ms, timeout=JOB_S)
        for step in ("add_to_wholes", "drop_empty_groups", "drop_old_counts", "put_new_counts"):
            await connection.execute(QUERIES[step], *hours, timeout=JOB_S)
    return len(taken)


class Rollups:
    """Counts, sums and histograms of one caller's runs; the pool stays its owner's, slow begins at slow_ms."""

    def __init__(self, pool: Pool, slow_ms: float = 8000.0) -> None:
        self._pool = pool
        self._slow_ms = slow_ms

    async def stats(self, caller: Caller, wanted: Selection, by: Sequence[By] = ()) -> list[Counted]:
        """The caller's runs, one row a group in the order of the keys; exact but for the histograms' 1 %.

        Raises RecordUnavailable.
        """
        arguments = arguments_of(caller, wanted, by, self._slow_ms)
        try:
            async with self._pool.connection() as connection:
                found = await connection.fetch(QUERIES["read_rollups"], *arguments)
        except (StoreUnavailable, EntryRejected) as error:
            raise RecordUnavailable("the record cannot be read now") from error
        return await asyncio.to_thread(lambda: [_counted(row, by) for row in found])


class _Cover(NamedTuple):
    """What is read where: spans of roll-ups by name, spans of runs, and the hours of which marks are obeyed."""

    rolled: list[tuple[str, datetime, datetime]]
    raw: list[_Span]
    hours: _Span


def arguments_of(caller: Caller, wanted: Selection, by: Sequence[By], slow_ms: float) -> tuple[object, ...]:
    """The arguments of the query `read_rollups`."""
    rolled, raw, hours = _cover(wanted.since, wanted.until, by_hour="hour" in by)
    texts = (wanted.experiment, wanted.variant, wanted.prompt_class, wanted.model, wanted.policy, wanted.source)
    return (
        caller.id,
        *([span[place] for span in rolled] for place in range(3)),
        *([span[place] for span in raw] for place in range(2)),
        *hours,
        list(by),
        slow_ms,
        *(None if text is None else clean(text) for text in texts),
    )


def _cover(since: datetime | None, until: datetime | None, *, by_hour: bool) -> _Cover:
    """Whole days from the days' roll-ups, whole hours from the hours', the rest from runs; all of time from its own."""
    low, high = (min(max(at, _FIRST), _LAST) for at in (since or _FIRST, until or _LAST))
    first, last = _up(low, _HOUR), _down(high, _HOUR)
    if first > last:  # within one hour
        return _Cover([], [(low, high)], (first, first))
    raw = [span for span in ((low, first), (last, high)) if span[0] < span[1]]
    if by_hour:
        return _Cover([("hour", first, last)], raw, (first, last))
    if since is None and until is None:
        return _Cover([("ever", _EVER, _LAST)], [], (first, last))
    day, end = _up(first, _DAY), _down(last, _DAY)
    if day >= end:
        return _Cover([("hour", first, last)], raw, (first, last))
    return _Cover([("hour", first, day), ("day", day, end), ("hour", end, last)], raw, (first, last))


def _down(at: datetime, step: timedelta) -> datetime:
    """The last whole step at or before a time."""
    return at - (at - _EVER) % step


def _up(at: datetime, step: timedelta) -> datetime:
    """The first whole step at or after a time."""
    return at + (_EVER - at) % step


def _counted(row: asyncpg.Record, by: Sequence[By]) -> Counted:
    """A row of the query as a group."""
    counters: _Counters = defaultdict(dict)
    for cell in row["cells"]:
        kind, bucket = divmod(cell >> 32, BUCKETS)
        counters[kind][bucket] = cell & 0xFFFF_FFFF
    run_cost, *sums = row["sums"]
    names = [name for key in by for name in _KEYS.get(key, (key,))]
    return Counted(
        key={name: _told(row[name]) for name in names},
        runs=row["runs"],
        statuses=_named(counters[STATUS], STATUSES),
        sources=_named(counters[SOURCE], SOURCES),
        verdicts=_named(counters[VERDICT], VERDICTS),
        slow=row["slow"],
        cost_nano=Sum(run_cost, counters[RUN_COST_KNOWN].get(0, 0)),
        latency=_histogram(counters[LATENCY], {}),
        lanes={"fast": _lane(counters, 0, sums[:5]), "slow": _lane(counters, SLOW_LANE, sums[5:])},
    )


def _lane(counters: _Counters, first: int, sums: Sequence[int]) -> LaneCounts:
    """One lane of a group."""
    known = counters[first + KNOWN]
    return LaneCounts(
        _named(counters[first + OUTCOME], OUTCOMES),
        _histogram(counters[first + FIRST_TOKEN], counters[first + CUT_BEFORE_TOKEN]),
        _histogram(counters[first + COMPLETED], counters[first + CUT]),
        *(Sum(total, known.get(place, 0)) for place, total in enumerate(sums)),
    )


def _named(counts: dict[int, int], names: Sequence[str]) -> dict[str, int]:
    """Counts by what their buckets mean; what never happened is left out."""
    return {names[bucket - 1]: n for bucket, n in counts.items()}


def _histogram(ended: dict[int, int], censored: dict[int, int]) -> Histogram:
    """The buckets as times."""
    return Histogram(
        tuple(
            (LEAST_MS * GROWTH**bucket * MIDDLE, ended.get(bucket, 0), censored.get(bucket, 0))
            for bucket in sorted(ended.keys() | censored.keys())
        )
    )


def _told(value: Any) -> str | None:  # noqa: ANN401  # what the driver gives
    """A key as text."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value
