"""The numbers of the last five minutes, hour and day: percentiles, and what belongs to a span."""

import math
import random
from dataclasses import dataclass

import pytest
from cells import rows

from app.telemetry.scale import BUCKETS, bucket_of, ms_of
from app.telemetry.series import Series
from app.telemetry.windows import SPANS, Span, Windows, quantile

LENGTH_S: dict[Span, int] = {"5m": 300, "1h": 3600, "24h": 86_400}
SLOT_S: dict[Span, int] = {"5m": 10, "1h": 120, "24h": 1800}


@dataclass
class Clock:
    """A clock that goes when it is told to."""

    now: float = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def add(windows: Windows, code: int, count: int = 1) -> None:
    """Count now."""
    windows.turn()
    windows.open[code] += count


def exact(values: list[float], share: float) -> float:
    """The percentile of the values themselves, as PostgreSQL's percentile_cont has it."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    return low + (high - low) * (place - math.floor(place))


def test_a_bucket_stands_for_its_times_within_one_percent() -> None:
    """Every time from a tenth of a millisecond to hours is within 1 % of what stands for its bucket."""
    for exponent in range(100, 978):
        ms = 10 ** (exponent / 100 - 2 + 0.0001)
        assert abs(ms_of(bucket_of(ms)) / ms - 1) < 0.01
    assert (bucket_of(0.0), bucket_of(1e12)) == (0, BUCKETS - 1)


@rows("spread", [0.01, 0.3, 1.0, 2.5])
@rows("n", [1, 2, 3, 7, 100, 5000])
def test_percentiles_are_within_two_percent_of_the_exact_ones(n: int, spread: float) -> None:
    """p50, p95 and p99 of the same data differ by less than 2 %, however few they are and however far apart."""
    chance, series, windows = random.Random(n), Series(), Windows(Clock())
    code = series.code("time")
    values = [chance.lognormvariate(math.log(800), spread) for _ in range(n)]
    for value in values:
        windows.open[code + bucket_of(value)] += 1
    steps = series.named(windows.counts("1h")).times("time")[""]
    for share in (0.5, 0.95, 0.99):
        found = quantile(steps, share)
        assert found is not None
        assert abs(found / exact(values, share) - 1) < 0.02


def test_percentile_of_nothing_is_none() -> None:
    """Without data there is no percentile."""
    assert quantile({}, 0.5) is None


@pytest.mark.parametrize("span", SPANS)
def test_a_span_has_what_happened_in_it(span: Span) -> None:
    """Of a count every second a span has those of its length, but for one slot at most, and knows how long it is."""
    clock = Clock()
    windows, step = Windows(clock), SLOT_S[span] / 20
    for _ in range(round(2.3 * LENGTH_S[span] / step)):
        clock.now += step
        add(windows, 0)
    seconds = windows.seconds(span)
    assert LENGTH_S[span] - SLOT_S[span] <= seconds <= LENGTH_S[span]
    assert windows.counts(span)[0] * step == pytest.approx(seconds, abs=step)


@pytest.mark.parametrize("span", SPANS)
def test_what_is_older_than_a_span_is_forgotten(span: Span) -> None:
    """A count leaves each span when its time is over, also when nothing else ever comes, and leaves nothing behind."""
    clock = Clock()
    windows = Windows(clock)
    add(windows, 3, 5)
    clock.now += LENGTH_S[span] - 2 * SLOT_S[span]
    assert windows.counts(span) == {3: 5}
    clock.now += 2 * SLOT_S[span]
    assert windows.counts(span) == {}


def test_a_server_that_slept_for_days_has_empty_spans() -> None:
    """After days without a request every span is empty, and counting goes on."""
    clock = Clock()
    windows = Windows(clock)
    add(windows, 1)
    clock.now += 10 * 86_400
    assert [windows.counts(span) for span in SPANS] == [{}, {}, {}]
    add(windows, 2)
    assert [windows.counts(span) for span in SPANS] == [{2: 1}, {2: 1}, {2: 1}]


def test_a_span_is_no_longer_than_the_server_lives() -> None:
    """Just after the start each span is as long as the server is old."""
    clock = Clock()
    windows = Windows(clock)
    clock.now += 42
    assert {windows.seconds(span) for span in SPANS} == {42}
