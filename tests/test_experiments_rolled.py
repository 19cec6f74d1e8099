"""Statistics that the roll-ups answer say what the runs say, and say how they know."""

# ruff: noqa: F401, F811  # a fixture is imported by its name

import asyncio
import random
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from pasts import EPOCH, Site, closing, lane, opening, past

import app.postgres.experiments as reads_module
import app.postgres.rollups as rollups_module
from app.postgres.chores import Chore, Chores, Keep
from app.postgres.rollups import roll_up
from app.postgres.upkeep import Upkeep

FILTERS: list[dict[str, str]] = [
    {}, {"experiment": "e"}, {"variant": "a", "source": "live"}, {"prompt_class": "c"}, {"model": "b:slow"},
    {"model": "a:fast"}, {"source": "cache"}, {"prompt_class": "c", "model": "b:slow", "policy": "race"},
    {"since": "2026-03-01T03:20:00Z", "until": "2026-03-02T05:40:00Z"}, {"experiment": "none"},
]  # fmt: skip


def _lane(name: Any, dice: random.Random, middle: float) -> Any:
    """A lane that may end in any way, with times that may be unknown."""
    outcome = dice.choice(["completed"] * 6 + ["timeout", "cancelled", "failed", "refused"])
    unknown: dict[str, Any] = {"latency_ms": None} if dice.random() < 0.1 else {}
    if dice.random() < 0.2:
        unknown["ttft_ms"] = None
    if dice.random() < 0.2:
        unknown["cost_usd"] = None
    return lane(name, dice.lognormvariate(middle, 0.7), outcome, **unknown)


def _made_up(dice: random.Random) -> Any:
    """One of many kinds of runs, somewhere in fifty hours."""
    start = opening(
        at_s=dice.uniform(0, 50 * 3600),
        experiment=dice.choice([None, "e"]),
        variant=dice.choice([None, "a", "b"]),
        prompt_class=dice.choice([None, "c", "d"]),
        models=dice.choice([("a:fast", "a:slow"), ("a:fast", "b:slow")]),
        source=dice.choice(["live", "live", "cache"]),
    )
    verdict = dice.choice(["agree", "agree", "disagree", "unknown", None])
    return closing(start, verdict, _lane("fast", dice, 5), _lane("slow", dice, 5.5), latency_ms=700.0)


async def _filled(past: Site) -> None:
    """Some hundred runs, some of them judged, most of them rolled up."""
    dice = random.Random(7)
    runs = [_made_up(dice) for _ in range(400)]
    await past.keep(*runs[:380])
    await roll_up(past.pool, 8000.0)
    await past.keep(*runs[380:])
    for run in runs[:30]:
        await past.say(run, fast_correct=dice.random() < 0.5, slow_correct=dice.random() < 0.8)


def _near(one: Any, other: Any) -> bool:
    """Whether two reports are the same but for rounding to microseconds."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_near(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(_near(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other or (isinstance(one, float) and one == pytest.approx(other, abs=0.001)))


def _median_of_few(report: dict[str, Any]) -> Any:
    """The report without the quantiles of waits, which between two values may be anything."""
    for part in (report["total"], *report["classes"]):
        part["extra_wait_ms"] = {name: part["extra_wait_ms"][name] for name in ("n", "mean")}
    return report


async def test_agreement_of_many_is_that_of_their_runs(past: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts, means and judgements from the roll-ups equal those of the runs, and the report says what they rest on."""
    await _filled(past)
    for filters in FILTERS:
        exact = await past.get("/agreement", **filters)
        with monkeypatch.context() as patch:
            patch.setattr(reads_module, "EXACT_RUNS", 0)
            rolled = await past.get("/agreement", **filters)
        assert (exact.pop("approximate"), rolled.pop("approximate")) == (False, bool(rolled["total"]["n"])), filters
        assert _near(_median_of_few(exact), _median_of_few(rolled)), filters


async def test_waits_of_many_are_within_one_per_cent(past: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The median and the 95th percentile of the waits, negative ones too, are within 1 % of a wait that was seen."""
    slow = [100.0 + 10 * i for i in range(101)]
    await past.keep(*(closing(fast=600.0, slow=ms) for ms in slow), closing(opening(prompt_class="c"), None))
    exact = (await past.get("/agreement"))["total"]["extra_wait_ms"]
    monkeypatch.setattr(reads_module, "EXACT_RUNS", 0)
    report = await past.get("/agreement")
    rolled = report["total"]["extra_wait_ms"]
    assert [one["class"] for one in report["classes"]] == [None]
    assert (exact["p50"], rolled["n"], rolled["mean"]) == (0, 101, pytest.approx(exact["mean"]))
    assert (abs(rolled["p50"]) < 0.2, rolled["p95"]) == (True, pytest.approx(exact["p95"], rel=0.01))


async def test_the_curve_of_many_is_that_of_their_runs(past: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lanes that ended, were cut, failed or were not measured are counted alike, and quantiles are within 1 %."""
    await _filled(past)
    for filters, (name, metric) in product(FILTERS, (("fast", "total"), ("slow", "total"), ("slow", "first_token"))):
        asked = filters | {"lane": name, "metric": metric}
        exact = await past.get("/deadline-curve", **asked)
        with monkeypatch.context() as patch:
            patch.setattr(reads_module, "EXACT_RUNS", 0)
            rolled = await past.get("/deadline-curve", **asked)
        _same_curve(exact, rolled)


def _same_curve(exact: dict[str, Any], rolled: dict[str, Any]) -> None:
    """The runs' own times are told in whole milliseconds, which allows half of one more than 1 %."""
    counts = ("n", "events", "censored", "failed", "not_measured")
    assert [exact[name] for name in counts] == [rolled[name] for name in counts]
    assert rolled["approximate"] is (rolled["n"] > 0)
    for name, told in exact["quantiles"].items():
        assert rolled["quantiles"][name]["reached"] is told["reached"]
        assert told["ms"] is None or abs(rolled["quantiles"][name]["ms"] - told["ms"]) <= 0.01 * told["ms"] + 0.5


async def test_too_many_changes_are_left_to_the_next_roll_up(past: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader counts the newest changed hours itself, as many as it may, and says how many others it is behind."""
    monkeypatch.setattr(rollups_module, "DIRTY_RUNS_MAX", 3)
    await past.keep(*(closing(opening(at_s=3600.0 * hour)) for hour in (0, 0, 5, 5)))
    report = await past.get("/stats")
    assert (report["total"]["n"], report["behind"]) == (2, {"hours": 1})
    await roll_up(past.pool, 8000.0)
    report = await past.get("/stats")
    assert (report["total"]["n"], report["behind"]) == (4, {"hours": 0})


async def test_hours_are_told_of_a_few_days_alone(past: Site) -> None:
    """Grouping by hour without a beginning or over more than three days is a 422 that names the way out."""
    for span in ({}, {"since": EPOCH.isoformat()}, {"until": EPOCH.isoformat()}):
        assert "day" in await past.refuses("/stats", by="hour", **span)
    late = (EPOCH + timedelta(days=3)).isoformat()
    assert (await past.get("/stats", by="hour", since=EPOCH.isoformat(), until=late))["groups"] == []


async def test_runs_are_told_by_day(past: Site) -> None:
    """A day has the runs of all its hours, whole or cut, rolled up or not."""
    await past.keep(*(closing(opening(at_s=3600.0 * hour)) for hour in (1, 9, 23, 25)))
    await roll_up(past.pool, 8000.0)
    await past.keep(closing(opening(at_s=3600.0 * 30)))
    groups = (await past.get("/stats", by="day"))["groups"]
    told = [(group["key"]["day"], group["n"]) for group in groups]
    assert told == [("2026-03-01T00:00:00Z", 3), ("2026-03-02T00:00:00Z", 2)]
    groups = (await past.get("/stats", by="day", since="2026-03-01T08:30:00Z"))["groups"]
    assert [group["n"] for group in groups] == [2, 2]


async def test_a_long_chore_rests_longer(monkeypatch: pytest.MonkeyPatch, past: Site) -> None:
    """A chore that took a second pauses twenty, so that it never takes more than a twentieth of the time."""
    pauses: list[float] = []
    times = iter((0.0, 1.0, 100.0, 100.1))

    async def rest(seconds: float) -> None:
        """Note the pause; end after two."""
        pauses.append(seconds)
        if len(pauses) == 2:
            raise asyncio.CancelledError

    async def nothing() -> None:
        """No work."""

    monkeypatch.setattr("app.postgres.chores.asyncio.sleep", rest)
    with pytest.raises(asyncio.CancelledError):
        await Chores(Upkeep(past.pool), "one", Keep()).again(Chore("roll_up", nothing, 5.0, 20.0), lambda: next(times))
    assert pauses == [20.0, 5.0]
