"""How long lanes take when some were cut short: Kaplan-Meier, whose censored lanes count for as long as they ran.

A lane that was cancelled or timed out is right-censored: it would have taken at least that long. Leaving such lanes out
makes every quantile too low. Censoring is taken to say nothing about how long the lane would have gone on.
"""

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, NamedTuple

from app.experiments.intervals import LEVEL, z_of

_ROUNDING: Final = 1e-12  # a product of thousands of fractions is not exact to the last digit


class Quantile(NamedTuple):
    """The time by which the share p had finished, with its interval. None: not reached in the data."""

    p: float
    value: float | None
    low: float | None
    high: float | None


class Finished(NamedTuple):
    """The share that had finished by a time, with its interval; at_risk lanes were seen for at least that long.

    share is None past the last time anything was seen, unless everything had finished.
    """

    at: float
    share: float | None
    low: float | None
    high: float | None
    at_risk: int


class Advice(NamedTuple):
    """The timeout by which the share p finishes, at the careful end of its interval; None when the data do not say.

    reached is the largest share that the data speak of.
    """

    p: float
    timeout: float | None
    reached: float
    n: int
    finished: int


@dataclass(frozen=True, slots=True)
class Curve:
    """The Kaplan-Meier estimate: from times[i] on the share survival[i] is still running. Times in the caller's unit.

    loglog[i] is log(-log(survival[i])) and error[i] its standard error by Greenwood's formula. ends are all times at
    which a lane finished or was cut short, ended[i] how many lanes had by then.
    """

    n: int
    finished: int
    times: tuple[float, ...]
    survival: tuple[float, ...]
    loglog: tuple[float, ...]
    error: tuple[float, ...]
    ends: tuple[float, ...]
    ended: tuple[int, ...]

    @property
    def censored(self) -> int:
        """How many lanes were cut short."""
        return self.n - self.finished

    def quantile(self, p: float, level: float = LEVEL) -> Quantile:
        """When the share p (between 0 and 1) had finished, with a log-log interval; None is "not reached"."""
        if not 0 < p < 1:
            raise ValueError(f"{p} is no quantile")
        z, wanted = z_of(level), math.log(-math.log(1 - p))
        steps = list(zip(self.times, self.loglog, self.error, strict=True))
        at = bisect_left(self.survival, -(1 - p + _ROUNDING), key=lambda share: -share)
        return Quantile(
            p,
            self.times[at] if at < len(self.times) else None,
            next((time for time, middle, error in steps if middle + z * error >= wanted), None),
            next((time for time, middle, error in steps if middle - z * error >= wanted), None),
        )

    def finished_by(self, at: float, level: float = LEVEL) -> Finished:
        """The share that had finished by a time."""
        before = bisect_left(self.ends, at)
        at_risk = self.n - (self.ended[before - 1] if before else 0)
        index = bisect_right(self.times, at) - 1
        if not self.ends or (at > self.ends[-1] and (index < 0 or self.survival[index] > 0)):
            return Finished(at, None, None, None, at_risk)
        if index < 0 or self.survival[index] == 0:  # there is no variance to take an interval from
            return Finished(at, 0.0 if index < 0 else 1.0, None, None, at_risk)
        reach = z_of(level) * self.error[index]
        low, high = (-math.expm1(-math.exp(self.loglog[index] + side)) for side in (-reach, reach))
        return Finished(at, 1 - self.survival[index], low, high, at_risk)

    def advise(self, p: float = 0.95, level: float = LEVEL) -> Advice:
        """A timeout that lets at least the share p finish, with the confidence of the level."""
        reached = 1 - self.survival[-1] if self.survival else 0.0
        return Advice(p, self.quantile(p, level).high, reached, self.n, self.finished)


def kaplan_meier(lanes: Iterable[tuple[float, bool]]) -> Curve:
    """The curve of lanes, each given as how long it was seen and whether it finished then (else it is censored)."""
    seen = list(lanes)
    return _curve(Counter(time for time, finished in seen if finished), Counter(time for time, _ in seen))


def kaplan_meier_counts(rows: Iterable[tuple[float, int, int]]) -> Curve:
    """The same from counts: at a time so many lanes finished and so many were cut short; a time may come twice."""
    finished: Counter[float] = Counter()
    ended: Counter[float] = Counter()
    for time, completed, censored in rows:
        finished[time] += completed
        ended[time] += completed + censored
    return _curve(finished, ended)


def _curve(finished: Counter[float], ended: Counter[float]) -> Curve:
    """A lane that finished at a time is taken to have done so before those that were cut short at that time."""
    ends = sorted(ended)
    if not all(0 <= time < math.inf for time in ends):
        raise ValueError("a time must be a number from 0 on")
    by_then = tuple(accumulate(map(ended.__getitem__, ends)))
    n = at_risk = by_then[-1] if by_then else 0
    steps: list[tuple[float, float, float, float]] = []
    share, greenwood = 1.0, 0.0
    for time in ends:
        done = finished.get(time)
        if done:
            rest = at_risk - done
            share *= rest / at_risk
            greenwood += done / (at_risk * rest) if rest else math.inf
            steps.append((time, share, *_log_log(share, greenwood)))
        at_risk -= ended[time]
    times, survival, loglog, error = zip(*steps, strict=True) if steps else ((), (), (), ())
    return Curve(n, finished.total(), times, survival, loglog, error, tuple(ends), by_then)


def _log_log(share: float, greenwood: float) -> tuple[float, float]:
    """log(-log(share)) and its standard error; where nothing is left both are infinite: no upper bound follows."""
    if share == 0:
        return math.inf, math.inf
    hazard = -math.log(share)
    return math.log(hazard), math.sqrt(greenwood) / hazard
