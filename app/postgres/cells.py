"""What the numbers of a roll-up mean; see migrations/0003_rollups.sql.

A counter is (kind * 1024 + bucket) * 2**32 + count. Times fall into buckets that grow by 2 %, from 0.1 ms on.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any, Final

import asyncpg

from app.experiments.deadline import LaneTime, Timed
from app.experiments.rollup import By, Counted, Histogram, LaneCounts, Sum
from app.experiments.verdicts import Compared, WaitQuantiles
from app.question import LaneName

BUCKETS: Final = 1024
GROWTH: Final = 1.02
MIDDLE: Final = 2 / (1 + GROWTH)  # of a bucket: equally far, by ratio, from both of its ends
LEAST_MS: Final = 0.1

OUTCOME, FIRST_TOKEN, CUT_BEFORE_TOKEN, COMPLETED, CUT, KNOWN, NOT_MEASURED = range(7)
FIRST_KIND: Final[dict[LaneName, int]] = {"fast": 0, "slow": 16}
VERDICT, RUN_COST_KNOWN, LATENCY, STATUS, SOURCE, COMPARED_KNOWN, SLOW_LATER, FAST_LATER = range(32, 40)

# What the buckets of these kinds mean, from 1 on, as in the view run_facts.
OUTCOMES: Final = ("completed", "timeout", "failed", "incomplete", "empty", "cancelled", "refused")
VERDICTS: Final = ("agree", "disagree", "unknown")
STATUSES: Final = ("running", "completed", "partial", "timeout", "failed", "cancelled", "shutdown")
SOURCES: Final = ("live", "cache", "import")

NUMBERS: Final = 16  # in `sums`
COMPARED_SUMS: Final = 11  # where those of runs with a verdict begin

_KEYS: Final[dict[str, tuple[str, ...]]] = {"model": ("fast_model", "slow_model")}

_Counters = dict[int, dict[int, int]]


def kinds(*wanted: int) -> int:
    """Kinds of counters as bits, as the query takes them."""
    return sum(1 << kind for kind in wanted)


OF_STATS: Final = kinds(*range(NOT_MEASURED), *range(16, 16 + NOT_MEASURED), *range(VERDICT, COMPARED_KNOWN))
OF_VERDICTS: Final = kinds(VERDICT, COMPARED_KNOWN, SLOW_LATER, FAST_LATER)


def of_lane(lane: LaneName) -> int:
    """The kinds of one lane that tell how long it took."""
    told = (OUTCOME, FIRST_TOKEN, CUT_BEFORE_TOKEN, COMPLETED, CUT, NOT_MEASURED)
    return kinds(*(FIRST_KIND[lane] + kind for kind in told))


def counters_of(row: asyncpg.Record) -> _Counters:
    """The counters of a group: kind, bucket, count."""
    counters: _Counters = defaultdict(dict)
    for cell in row["cells"] or ():
        kind, bucket = divmod(cell >> 32, BUCKETS)
        counters[kind][bucket] = cell & 0xFFFF_FFFF
    return counters


def counted(row: asyncpg.Record, by: Sequence[By]) -> Counted:
    """A row of the query as a group."""
    counters = counters_of(row)
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
        latency=histogram(counters[LATENCY], {}),
        lanes={"fast": _lane(counters, 0, sums[:5]), "slow": _lane(counters, FIRST_KIND["slow"], sums[5:10])},
    )


def compared(row: asyncpg.Record) -> tuple[Compared, list[tuple[float, int]]]:
    """A group by class as its verdicts and waits, and the waits in ms, ascending, each with how many there were."""
    counters = counters_of(row)
    wait, wait_on_change, head_start, fast_nano, slow_nano = row["sums"][COMPARED_SUMS:]
    waits = [(-_ms(bucket), n) for bucket, n in counters[FAST_LATER].items()]
    waits += [(_ms(bucket), n) for bucket, n in counters[SLOW_LATER].items()]
    known = counters[COMPARED_KNOWN]
    found = Compared(
        row["prompt_class"],
        **_named(counters[VERDICT], VERDICTS),
        waits=sum(n for _, n in waits),
        wait_ms=wait / 1000,
        waits_on_change=known.get(0, 0),
        wait_on_change_ms=wait_on_change / 1000,
        head_start_ms=head_start / 1000,
        fast_costs=known.get(1, 0),
        fast_nano=fast_nano,
        slow_costs=known.get(2, 0),
        slow_nano=slow_nano,
    )
    return found, sorted(waits)


def whole_waits(waits: Iterable[list[tuple[float, int]]]) -> list[tuple[float, int]]:
    """The waits of all classes together."""
    together: Counter[float] = Counter()
    for steps in waits:
        together.update(dict(steps))
    return sorted(together.items())


def wait_quantiles(prompt_class: str | None, steps: Sequence[tuple[float, int]], *, whole: bool) -> WaitQuantiles:
    """The median and the 95th percentile of some waits, of which there is at least one."""
    return WaitQuantiles(prompt_class, whole, quantile(steps, 0.5), quantile(steps, 0.95))


def lane_times(row: asyncpg.Record, timed: Timed) -> list[LaneTime]:
    """How the attempts of one lane ended and when, as they are told one by one where they are read from the runs."""
    counters, first = counters_of(row), FIRST_KIND[timed.lane]
    early = timed.metric == "first_token"
    ended = counters[first + (FIRST_TOKEN if early else COMPLETED)]
    cut = counters[first + (CUT_BEFORE_TOKEN if early else CUT)]
    missing = counters[first + NOT_MEASURED].get(int(early), 0)
    failed = sum(counters[first + OUTCOME].values()) - sum(ended.values()) - sum(cut.values()) - missing
    times = [LaneTime("finished", _ms(bucket), n) for bucket, n in ended.items()]
    times += [LaneTime("censored", _ms(bucket), n) for bucket, n in cut.items()]
    return [*times, LaneTime("censored", None, missing), LaneTime("failed", None, failed)]


def quantile(steps: Sequence[tuple[float, int]], share: float) -> float:
    """The value that this share does not exceed, of ascending values with how often each came."""
    so_far = list(accumulate(n for _, n in steps))
    return steps[bisect_left(so_far, share * so_far[-1])][0]


def histogram(ended: dict[int, int], censored: dict[int, int]) -> Histogram:
    """The buckets as times."""
    return Histogram(
        tuple(
            (_ms(bucket), ended.get(bucket, 0), censored.get(bucket, 0))
            for bucket in sorted(ended.keys() | censored.keys())
        )
    )


def _ms(bucket: int) -> float:
    """The time that stands for a bucket."""
    return LEAST_MS * GROWTH**bucket * MIDDLE


def _lane(counters: _Counters, first: int, sums: Sequence[int]) -> LaneCounts:
    """One lane of a group."""
    known = counters[first + KNOWN]
    return LaneCounts(
        _named(counters[first + OUTCOME], OUTCOMES),
        histogram(counters[first + FIRST_TOKEN], counters[first + CUT_BEFORE_TOKEN]),
        histogram(counters[first + COMPLETED], counters[first + CUT]),
        *(Sum(total, known.get(place, 0)) for place, total in enumerate(sums)),
    )


def _named(counts: dict[int, int], names: Sequence[str]) -> dict[str, int]:
    """Counts by what their buckets mean; what never happened is left out."""
    return {names[bucket - 1]: n for bucket, n in counts.items()}


def _told(value: Any) -> str | None:  # noqa: ANN401  # what the driver gives
    """A key as text."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value
