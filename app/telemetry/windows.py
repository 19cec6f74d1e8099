"""Counts of the last five minutes, hour and day, in rings of time slots: what people look at.

A count belongs to a code, a small number that its owner knows the meaning of. It is added to the slot of now alone; a
slot that is over is poured into the next coarser one. Each span is a sum that is kept up to date, so that reading it
looks at no slot but the unfinished ones.
"""

import time
from array import array
from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final, Literal

Span = Literal["5m", "1h", "24h"]

# How long a slot is, in seconds, and how many there are of it: a span ends now and began up to one slot too late. Each
# length is a multiple of the one before.
_RINGS: Final[dict[Span, tuple[int, int]]] = {"5m": (10, 30), "1h": (120, 30), "24h": (1800, 48)}
SPANS: Final[tuple[Span, ...]] = tuple(_RINGS)
_FINEST_S: Final = _RINGS["5m"][0]
_LONGEST_S: Final = 1800 * 48

_Slot = tuple["array[int]", "array[int]"]  # codes and their counts: a tenth of what a dict takes


@dataclass(slots=True)
class _Ring:
    slot_s: int
    slots: int
    open: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))  # the slot that is not over
    _over: deque[_Slot] = field(default_factory=deque)
    _sum: Counter[int] = field(default_factory=Counter)  # of all that are over

    def turn(self) -> dict[int, int]:
        """The open slot is over; what was in it."""
        ended = self.open.copy()
        self.open.clear()
        self._over.append((array("Q", ended), array("Q", ended.values())))
        self._sum.update(ended)
        if len(self._over) >= self.slots:
            for code, count in zip(*self._over.popleft(), strict=True):
                self._sum[code] -= count
                if not self._sum[code]:
                    del self._sum[code]
        return ended

    def counts(self) -> Counter[int]:
        """All of it."""
        counts = self._sum.copy()
        counts.update(self.open)
        return counts


class Windows:
    """Counts by code. Belongs to one event loop; clock is monotonic, in seconds.

    open: the slot of now, the same dict for good. Who counts calls `turn` and then adds to it what there is to count.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._rings = {span: _Ring(*shape) for span, shape in _RINGS.items()}
        self._finest = self._rings["5m"]
        self.open = self._finest.open
        self._tick = 0  # the slots of the finest ring that are over
        self._due = self._began + _FINEST_S

    def turn(self) -> None:
        """End the slots that are over."""
        if self._clock() >= self._due:
            self._turn()

    def counts(self, span: Span) -> Counter[int]:
        """What there was within the span."""
        self.turn()
        counts = self._rings[span].counts()
        for finer in SPANS[: SPANS.index(span)]:
            counts.update(self._rings[finer].open)
        return counts

    def seconds(self, span: Span) -> float:
        """How long the span is that `counts` tells of."""
        slot_s, slots = _RINGS[span]
        since = self._clock() - self._began
        return min(since, slot_s * (slots - 1) + since % slot_s)

    def _turn(self) -> None:
        """The same, knowing that there are some; after more than a day there is nothing left."""
        tick = int((self._clock() - self._began) // _FINEST_S)
        if (tick - self._tick) * _FINEST_S > 2 * _LONGEST_S:
            self._rings = {span: _Ring(*shape) for span, shape in _RINGS.items()}
            self.open.clear()
            self._rings["5m"].open = self.open
            self._finest, self._tick = self._rings["5m"], tick
        while self._tick < tick:
            self._tick += 1
            self._end_slot(self._tick * _FINEST_S)
        self._due = self._began + (tick + 1) * _FINEST_S

    def _end_slot(self, at_s: int) -> None:
        """A slot of the finest ring is over at that time, and perhaps the coarser ones it is poured into."""
        ended = self._finest.turn()
        for span in SPANS[1:]:
            ring = self._rings[span]
            for code, count in ended.items():
                ring.open[code] += count
            if at_s % ring.slot_s:
                return
            ended = ring.turn()


def quantile(steps: Mapping[float, int], share: float) -> float | None:
    """As PostgreSQL's percentile_cont has it, of values with how often each came; None of nothing."""
    ordered = sorted(steps.items())
    if not ordered:
        return None
    so_far = list(accumulate(count for _, count in ordered))
    place = share * (so_far[-1] - 1)
    below = int(place)
    low, high = (ordered[bisect_left(so_far, rank + 1)][0] for rank in (below, min(below + 1, so_far[-1] - 1)))
    return low + (high - low) * (place - below)
