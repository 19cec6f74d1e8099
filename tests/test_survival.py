"""Kaplan-Meier against printed tables and a simulation whose truth is known."""

import math
from random import Random
from typing import Final

import pytest

from app.experiments.survival import Finished, Quantile, kaplan_meier, kaplan_meier_counts

# Weeks of remission under 6-MP (Freireich and others 1963), and of maintained AML (Miller 1997); True: an event.
REMISSION: Final = [
    *((6.0, True), (6.0, True), (6.0, True), (6.0, False), (7.0, True), (9.0, False), (10.0, True), (10.0, False)),
    *((11.0, False), (13.0, True), (16.0, True), (17.0, False), (19.0, False), (20.0, False), (22.0, True)),
    *((23.0, True), (25.0, False), (32.0, False), (32.0, False), (34.0, False), (35.0, False)),
]
MAINTAINED: Final = [
    *((9.0, True), (13.0, True), (13.0, False), (18.0, True), (23.0, True), (28.0, False), (31.0, True)),
    *((34.0, True), (45.0, False), (48.0, True), (161.0, False)),
]


def simulated(n: int, cut_at: float = math.inf, seed: int = 7) -> list[tuple[float, bool]]:
    """Lanes that take exponential times of mean 1; 28 % are cancelled at a random moment, all are cut off at cut_at."""
    random = Random(seed)
    lanes = []
    for _ in range(n):
        takes, cancelled = random.expovariate(1), min(cut_at, random.expovariate(0.28 / 0.72))
        lanes.append((min(takes, cancelled), takes <= cancelled))
    return lanes


def test_remission() -> None:
    """The curve is the one printed in every textbook, a tie counting the event before the censoring."""
    curve = kaplan_meier(REMISSION)
    assert (curve.n, curve.finished, curve.censored) == (21, 9, 12)
    assert curve.times == (6, 7, 10, 13, 16, 22, 23)
    assert curve.survival == pytest.approx((0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448), abs=6e-4)
    assert curve.quantile(0.5) == Quantile(0.5, 23.0, 13.0, None)


def test_maintained() -> None:
    """Greenwood's standard errors are those that R prints."""
    curve = kaplan_meier(MAINTAINED)
    errors = [share * -math.log(share) * error for share, error in zip(curve.survival, curve.error, strict=True)]
    assert curve.survival == pytest.approx((0.909, 0.818, 0.716, 0.614, 0.491, 0.368, 0.184), abs=6e-4)
    assert errors == pytest.approx((0.0867, 0.1163, 0.1397, 0.1526, 0.1642, 0.1627, 0.1535), abs=6e-5)
    assert curve.quantile(0.5).value == 31


def test_log_log_interval() -> None:
    """The interval of a share is the log-log one: 0.620 to 0.952 for the first step of the 6-MP data."""
    found = kaplan_meier(REMISSION).finished_by(6)
    assert found.share == pytest.approx(1 - 18 / 21)
    assert (found.low, found.high) == pytest.approx((1 - 0.9516, 1 - 0.6197), abs=1e-4)
    assert found.at_risk == 21


def test_simulation() -> None:
    """With 28 % censored, p50 and p90 are within 3 % of the truth, which their intervals contain."""
    curve = kaplan_meier(simulated(20_000))
    assert curve.censored / curve.n == pytest.approx(0.28, abs=0.01)
    for p in (0.5, 0.9):
        truth, found = -math.log(1 - p), curve.quantile(p)
        assert found.value == pytest.approx(truth, rel=0.03)
        assert found.low is not None
        assert found.high is not None
        assert found.low <= truth <= found.high


def test_leaving_out_the_censored_is_wrong() -> None:
    """The finished lanes alone say a p90 that is far too low."""
    lanes = sorted(time for time, finished in simulated(20_000) if finished)
    assert lanes[int(0.9 * len(lanes))] < 0.85 * -math.log(0.1)


def test_not_reached() -> None:
    """A quantile beyond a timeout is None, not the timeout."""
    curve = kaplan_meier(simulated(20_000, cut_at=2.6))
    assert curve.quantile(0.9).value == pytest.approx(-math.log(0.1), rel=0.03)
    assert curve.quantile(0.95) == Quantile(0.95, None, None, None)
    assert curve.finished_by(2.7) == Finished(2.7, None, None, None, 0)
    assert curve.advise(0.95).timeout is None
    assert curve.advise(0.95).reached == pytest.approx(1 - math.exp(-2.6), abs=0.01)


def test_advice() -> None:
    """The advised timeout is the upper end of the quantile's interval."""
    curve = kaplan_meier(simulated(5_000))
    advice = curve.advise(0.9)
    assert (advice.timeout, advice.n) == (curve.quantile(0.9).high, 5_000)
    assert (advice.timeout or 0) > -math.log(0.1)


def test_no_lanes() -> None:
    """Of no lanes, and of lanes that were all cut short, nothing is reached."""
    assert kaplan_meier([]).quantile(0.5) == Quantile(0.5, None, None, None)
    assert kaplan_meier([]).finished_by(1.0) == Finished(1.0, None, None, None, 0)
    cut = kaplan_meier([(1.0, False), (2.0, False)])
    assert (cut.n, cut.censored, cut.quantile(0.5).value, cut.advise().reached) == (2, 2, None, 0.0)
    assert cut.finished_by(1.5) == Finished(1.5, 0.0, None, None, 1)


def test_everything_finished() -> None:
    """Without censoring the quantiles are those of the sample, and everything has finished at the end."""
    curve = kaplan_meier((float(time), True) for time in range(1, 101))
    assert [curve.quantile(p).value for p in (0.01, 0.5, 0.9, 0.99)] == [1, 50, 90, 99]
    assert curve.finished_by(1000.0).share == 1.0
    assert curve.quantile(0.99).high is None


def test_counts() -> None:
    """Lanes counted by time make the same curve."""
    rows = [(time, int(finished), int(not finished)) for time, finished in REMISSION]
    assert kaplan_meier_counts(rows) == kaplan_meier(REMISSION)


@pytest.mark.parametrize("time", [-1.0, math.nan, math.inf])
def test_no_time(time: float) -> None:
    """A time that is none is a mistake of the caller."""
    with pytest.raises(ValueError, match="time"):
        kaplan_meier([(1.0, True), (time, True)])


def test_no_quantile() -> None:
    """There is no 0 % and no 100 % quantile."""
    with pytest.raises(ValueError, match="quantile"):
        kaplan_meier(REMISSION).quantile(1.0)
