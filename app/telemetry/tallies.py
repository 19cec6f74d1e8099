"""Counters and histograms by labels: each adds up since the start, for Prometheus, and over windows, for people.

prometheus-client writes them down; to count is ours, as its own counters know no windows. A tally belongs to one event
loop, which also makes the copies that are written down.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Final, Literal, NamedTuple, Protocol

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from app.telemetry.scale import bucket_of
from app.telemetry.series import Series
from app.telemetry.windows import Windows

Labels = tuple[str, ...]
Kind = Literal["counter", "gauge"]
_KINDS: Final[dict[Kind, type[CounterMetricFamily] | type[GaugeMetricFamily]]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
}


class Family(Protocol):
    """All series of one name."""

    def copied(self) -> Metric:
        """As they are now, in the words of prometheus-client."""
        ...


class Cell:
    """One series of a counter, in whole units of `scale`."""

    __slots__ = ("_code", "_slot", "value")

    def __init__(self, slot: dict[int, int], code: int) -> None:
        self._slot = slot
        self._code = code
        self.value = 0

    def add(self, count: int = 1) -> None:
        """So many more."""
        self.value += count
        self._slot[self._code] += count


class Count(dict[Labels, Cell]):
    """A counter: its series by their labels, each made when it is first named."""

    def __init__(self, tallies: "Tallies", about: "About", scale: float) -> None:
        self._tallies = tallies
        self._about = about
        self._scale = scale

    def __missing__(self, labels: Labels) -> Cell:
        """A new one."""
        code = self._tallies.series.code(self._about.name, *labels)
        made = self[labels] = Cell(self._tallies.windows.open, code)
        return made

    def copied(self) -> Metric:
        """As Family has it."""
        family = CounterMetricFamily(self._about.name, self._about.words, labels=self._about.labels)
        for labels, cell in self.items():
            family.add_metric(labels, cell.value * self._scale)
        return family


class TimesCell:
    """One series of a histogram."""

    __slots__ = ("_bounds", "_code", "_slot", "counts", "sum_ms")

    def __init__(self, bounds: Sequence[float], slot: dict[int, int], code: int) -> None:
        self._bounds = bounds
        self._slot = slot
        self._code = code
        self.counts = [0] * (len(bounds) + 1)
        self.sum_ms = 0.0

    def observe(self, ms: float) -> None:
        """One more time, in milliseconds."""
        self.counts[bisect_left(self._bounds, ms)] += 1
        self.sum_ms += ms
        self._slot[self._code + bucket_of(ms)] += 1


class Times(dict[Labels, TimesCell]):
    """A histogram with these upper bounds in seconds, ascending; otherwise as Count."""

    def __init__(self, tallies: "Tallies", about: "About", bounds: Sequence[float]) -> None:
        self._tallies = tallies
        self._about = about
        self._bounds = [bound * 1000 for bound in bounds]
        self._told = [*map(str, bounds), "+Inf"]

    def __missing__(self, labels: Labels) -> TimesCell:
        """A new one."""
        code = self._tallies.series.code(self._about.name, *labels)
        made = self[labels] = TimesCell(self._bounds, self._tallies.windows.open, code)
        return made

    def copied(self) -> Metric:
        """As Family has it."""
        family = HistogramMetricFamily(self._about.name, self._about.words, labels=self._about.labels)
        for labels, cell in self.items():
            buckets = [*zip(self._told, accumulate(cell.counts), strict=True)]
            family.add_metric(labels, buckets, cell.sum_ms / 1000)
        return family


class About(NamedTuple):
    """What a family is called, what it is about, by which labels it is told apart."""

    name: str
    words: str
    labels: Sequence[str] = ()


class Tallies:
    """Makes counters and histograms, and knows all of them. clock: monotonic, in seconds.

    Who counts at some moment says `windows.turn` first, once for all that is counted then.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.windows = Windows(clock)
        self.series = Series()
        self.families: list[Family] = []

    def count(self, name: str, words: str, *labels: str, scale: float = 1) -> Count:
        """A counter of whole units, each of which is so much."""
        made = Count(self, About(name, words, labels), scale)
        self.families.append(made)
        return made

    def times(self, name: str, words: str, labels: Sequence[str], bounds: Sequence[float]) -> Times:
        """A histogram."""
        made = Times(self, About(name, words, labels), bounds)
        self.families.append(made)
        return made


class Reading(NamedTuple):
    """Values read at one moment."""

    about: About
    values: Mapping[Labels, float]
    kind: Kind = "gauge"

    def copied(self) -> Metric:
        """As Family has it."""
        family = _KINDS[self.kind](self.about.name, self.about.words, labels=self.about.labels)
        for labels, value in self.values.items():
            family.add_metric(labels, value)
        return family


def gauge(name: str, words: str, value: float) -> Reading:
    """One value without labels."""
    return Reading(About(name, words), {(): value})


def counter(name: str, words: str, value: float) -> Reading:
    """The same, of what only rises."""
    return gauge(name, words, value)._replace(kind="counter")


def gauges(name: str, words: str, label: str, values: Iterable[tuple[str, float]]) -> Reading:
    """Values by one label."""
    return Reading(About(name, words, (label,)), {(each,): value for each, value in values})


def counters(name: str, words: str, label: str, values: Iterable[tuple[str, float]]) -> Reading:
    """The same, of what only rises."""
    return gauges(name, words, label, values)._replace(kind="counter")
