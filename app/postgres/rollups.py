"""Roll-ups by hour: the job that computes them and what is read from them; see migrations/0003_rollups.sql."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import asyncpg

from app.events import clean
from app.experiments.rollup import By, Counted, Selection
from app.postgres.cells import NUMBERS, OF_STATS, counted
from app.postgres.pool import Pool
from app.postgres.queries import QUERIES
from app.postgres.reading import fetch
from app.question import Caller, LaneName

HOURS_AT_ONCE: Final = 48
JOB_S: Final = 300.0
DIRTY_RUNS_MAX: Final = 2_000  # that a reader counts itself, at some 30 us each

# What each slice of the roll-ups keeps, the smallest slices first.
SLICES: Final[dict[str, frozenset[str]]] = {
    "total": frozenset(),
    "models": frozenset({"model"}),
    "class": frozenset({"prompt_class"}),
    "labels": frozenset({"experiment", "variant"}),
    "all": frozenset({"model", "prompt_class", "experiment", "variant"}),
}
_SUMS: Final = {
    "{sums}": ", ".join(f"sum(sums[{place}])" for place in range(1, NUMBERS + 1)),
    "{signed_sums}": ", ".join(f"sum(sign * sums[{place}])" for place in range(1, NUMBERS + 1)),
}
_EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST: Final = datetime(1, 1, 2, tzinfo=UTC)
_LAST: Final = datetime(9999, 12, 30, tzinfo=UTC)
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)

_Span = tuple[datetime, datetime]


def summed(query: str) -> str:
    """The query with the sums of all numbers filled in."""
    text = QUERIES[query]
    for place, sums in _SUMS.items():
        text = text.replace(place, sums)
    return text


READ: Final = summed("read_rollups")
_COUNT_HOURS: Final = summed("count_hours")
_STEPS: Final = tuple(
    summed(step) for step in ("count_slices", "add_to_wholes", "drop_empty_groups", "drop_old_counts", "put_new_counts")
)


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
        if not taken:
            return 0
        hours = [row["caller"] for row in taken], [row["hour"] for row in taken]
        await connection.execute(_COUNT_HOURS, *hours, slow_ms, timeout=JOB_S)
        for step in _STEPS:
            await connection.execute(step, *hours, timeout=JOB_S)
    return len(taken)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is read of the roll-ups: by which keys, which kinds, of which lane's model, without replays or not."""

    by: Sequence[By] = ()
    kinds: int = OF_STATS
    model_of: LaneName | None = None
    measured: bool = False
    slow_ms: float = 8000.0


class Rollups:
    """Counts, sums and histograms of one caller's runs; the pool stays its owner's, slow begins at slow_ms."""

    def __init__(self, pool: Pool, slow_ms: float = 8000.0) -> None:
        self._pool = pool
        self._slow_ms = slow_ms

    async def stats(self, caller: Caller, wanted: Selection, by: Sequence[By] = ()) -> list[Counted]:
        """The caller's runs, one row a group in the order of the keys; exact but for the histograms' 1 %.

        Replays are no races: unless they are asked for, or sources are told apart, only `sources` counts them. Raises
        RecordUnavailable.
        """
        arguments = arguments_of(caller, wanted, Asked(by, measured="source" not in by, slow_ms=self._slow_ms))
        found = await fetch(self._pool, READ, *arguments)
        return await asyncio.to_thread(lambda: [counted(row, by) for row in found])

    async def behind(self, caller: Caller, wanted: Selection) -> int:
        """How many hours have changes that are in no answer yet, being too many to be counted while one waits."""
        hours = _cover(wanted.since, wanted.until, ()).hours
        found: int = (await fetch(self._pool, QUERIES["count_behind"], caller.id, *hours, DIRTY_RUNS_MAX))[0][0]
        return found


class _Cover(NamedTuple):
    """What is read where: spans of roll-ups by name, spans of runs, and the hours of which marks are obeyed."""

    rolled: list[tuple[str, datetime, datetime]]
    raw: list[_Span]
    hours: _Span


def arguments_of(caller: Caller, wanted: Selection, asked: Asked) -> tuple[object, ...]:
    """The arguments of the query `read_rollups`."""
    rolled, raw, hours = _cover(wanted.since, wanted.until, asked.by)
    filters = (wanted.experiment, wanted.variant, wanted.prompt_class, wanted.model, wanted.policy, wanted.source)
    experiment, variant, prompt_class, model, policy, source = (
        None if text is None else clean(text) for text in filters
    )
    return (
        caller.id,
        _slice(wanted, asked.by),
        *([span[place] for span in rolled] for place in range(3)),
        *([span[place] for span in raw] for place in range(2)),
        *hours,
        DIRTY_RUNS_MAX,
        list(asked.by),
        asked.slow_ms,
        asked.kinds,
        *(experiment, variant, prompt_class, model, asked.model_of, policy, source),
        asked.measured and source is None,
    )


def _slice(wanted: Selection, by: Sequence[By]) -> str:
    """The smallest slice of the roll-ups that keeps everything that is named."""
    labels = SLICES["all"]
    named = {name for name in labels if name in by or getattr(wanted, name) is not None}
    return next(name for name, kept in SLICES.items() if named <= kept)


def _cover(since: datetime | None, until: datetime | None, by: Sequence[By]) -> _Cover:
    """Whole days from the days' roll-ups, whole hours from the hours', the rest from runs; all of time from its own."""
    low, high = (min(max(at, _FIRST), _LAST) for at in (since or _FIRST, until or _LAST))
    first, last = _up(low, _HOUR), _down(high, _HOUR)
    if first > last:  # within one hour
        return _Cover([], [(low, high)], (first, first))
    raw = [span for span in ((low, first), (last, high)) if span[0] < span[1]]
    if "hour" in by:
        return _Cover([("hour", first, last)], raw, (first, last))
    if since is None and until is None and "day" not in by:
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
