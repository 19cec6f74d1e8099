"""The routes of the statistics: stats, agreement and the deadline curve."""

# ruff: noqa: F401, F811  # a fixture is imported by its name

import math
import random
from typing import Any

import pytest
from head_start import Pair, head_start
from pasts import EPOCH, Site, closing, lane, opening, past

from app.postgres.rollups import roll_up

EMPTY = {"n": 0, "hits": 0, "share": None, "low": None, "high": None}


async def test_nothing_is_said_of_nothing(past: Site) -> None:
    """Without a run every statistic says n = 0 and null, and fails nowhere."""
    stats = await past.get("/stats", by="class,day")
    assert (stats["total"]["n"], stats["groups"]) == (0, [])
    assert stats["total"]["lanes"]["fast"]["total"] == {
        "n": 0, "censored": 0, "p50_ms": None, "p95_ms": None, "p99_ms": None,
    }  # fmt: skip
    assert stats["total"]["cost"] == {"n": 0, "sum_usd": None}
    agreement = await past.get("/agreement")
    assert (agreement["total"]["agree"], agreement["classes"]) == (EMPTY, [])
    assert agreement["total"]["auroc_disagree_for_fast_wrong"]["value"] is None
    curve = await past.get("/deadline-curve")
    assert (curve["n"], curve["curve"], curve["quantiles"]["p50"]["ms"]) == (0, [], None)
    assert "n = 0" in curve["advised_timeout"]["reason"]


@pytest.mark.parametrize("rolled", [False, True])
async def test_stats_count_every_run(past: Site, rolled: bool) -> None:
    """Counts, times, tokens and cost, each with its n, rolled up or not; a replay counts in the cache's share alone."""
    runs = [closing(opening(at_s=i), fast=100, slow=1000 * (i + 1)) for i in range(4)]
    cached = closing(opening(at_s=9, source="cache"), latency_ms=1.0, cost_nano=None)
    cut = closing(opening(at_s=10), None, slow=lane("slow", 5000, "timeout"), status="partial", cost_nano=None)
    await past.keep(*runs, cached, cut)
    if rolled:
        await roll_up(past.pool, 8000.0)
    total = (await past.get("/stats"))["total"]
    assert (total["n"], total["status"]["completed"], total["status"]["partial"]) == (5, 4, 1)
    assert (total["cache"]["hits"], total["cache"]["n"], total["cache"]["share"]) == (1, 6, 1 / 6)
    assert total["cost"] == {"n": 4, "sum_usd": pytest.approx(0.044)}
    slow = total["lanes"]["slow"]
    assert (slow["outcome"]["completed"], slow["outcome"]["timeout"], slow["total"]["censored"]) == (4, 1, 1)
    assert slow["total"]["p50_ms"] == pytest.approx(3000, rel=0.02)
    assert slow["tokens"]["input"] == {"n": 5, "sum": 50}
    assert slow["tokens"]["cached"] == {"n": 0, "sum": None}
    assert total["lanes"]["fast"]["first_token"]["p50_ms"] == pytest.approx(50, rel=0.02)
    assert (total["source"], total["latency"]["n"]) == ({"live": 5, "cache": 1}, 5)
    replays = (await past.get("/stats", source="cache"))["total"]
    assert (replays["n"], replays["cache"]["share"], replays["latency"]["n"]) == (1, 1, 1)


@pytest.mark.parametrize("rolled", [False, True])
async def test_replays_alone_are_told_of(past: Site, rolled: bool) -> None:
    """Where there are only replays no run is counted, and the share of the cache is whole; no replay has a verdict."""
    await past.keep(*(closing(opening(at_s=at, source="cache", experiment="e")) for at in range(3)))
    if rolled:
        await roll_up(past.pool, 8000.0)
    report = await past.get("/stats", by="experiment")
    for group in (report["total"], *report["groups"]):
        assert (group["n"], group["cache"]["hits"], group["cache"]["share"]) == (0, 3, 1)
    assert len(report["groups"]) == 1
    assert ((await past.get("/agreement"))["total"]["n"], (await past.get("/deadline-curve"))["n"]) == (0, 0)


async def test_stats_by_keys(past: Site) -> None:
    """Runs are grouped by any of the keys, in the client's words."""
    await past.keep(*(closing(opening(experiment="e", prompt_class=c, at_s=0)) for c in ("a", "b", "b")))
    day = {"since": EPOCH.isoformat(), "until": "2026-03-02T00:00:00Z"}
    groups = (await past.get("/stats", by="experiment,class,hour", **day))["groups"]
    assert [(group["key"]["class"], group["n"]) for group in groups] == [("a", 1), ("b", 2)]
    assert groups[0]["key"]["experiment"] == "e"
    assert groups[0]["key"]["hour"].startswith("2026-03-01T00:00:00")
    (models,) = (await past.get("/stats", by="model"))["groups"]
    assert models["key"] == {"fast_model": "a:fast", "slow_model": "a:slow"}


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("/stats", {"by": "colour"}, "by"), ("/stats", {"by": "class,class"}, "by"), ("/stats", {"by": ""}, "by"),
    ("/stats", {"since": "soon"}, "since"), ("/stats", {"since": "2026"}, "since"),
    ("/stats", {"colour": "red"}, "colour"),
    ("/agreement", {"source": "dream"}, "source"), ("/agreement", {"until": "x"}, "until"),
    ("/agreement", {"model": ["a", "b"]}, "model"), ("/deadline-curve", {"lane": "third"}, "lane"),
    ("/deadline-curve", {"metric": "middle"}, "metric"), ("/deadline-curve", {"share": "1"}, "share"),
]  # fmt: skip


async def test_a_bad_parameter_is_named(past: Site) -> None:
    """A statistic asked with a bad parameter is a 422 that names the parameter."""
    for path, params, named in BAD:
        assert named in await past.refuses(path, **params)


async def test_statistics_are_of_the_caller_alone(past: Site) -> None:
    """What somebody else ran is in nobody's statistics."""
    await past.keep(*(closing(opening(caller="somebody")) for _ in range(3)))
    assert (await past.get("/stats"))["total"]["n"] == 0
    assert (await past.get("/agreement"))["total"]["n"] == 0
    assert (await past.get("/deadline-curve"))["n"] == 0


async def test_agreement_by_class(past: Site) -> None:
    """Each class has its shares with intervals, wait, cost and usable head start; the total has all."""
    sums = [closing(opening(prompt_class="sums"), v, 100, 600) for v in ("agree", "agree", "agree", "disagree")]
    other = closing(opening(), "unknown", 300, 200)
    await past.keep(*sums, other, closing(opening(source="cache")), closing(verdict=None))
    report = await past.get("/agreement")
    assert [(c["class"], c["n"]) for c in report["classes"]] == [("sums", 4), (None, 1)]
    first = report["classes"][0]
    assert (first["agree"]["share"], first["disagree"]["hits"]) == (0.75, 1)
    assert 0.30 < first["agree"]["low"] < 0.75 < first["agree"]["high"] < 0.96
    assert first["extra_wait_ms"] == {"n": 4, "mean": 500, "p50": 500, "p95": 500}
    assert (first["usable_head_start_ms"], first["wait_on_change_ms"]) == ({"n": 4, "mean": 375}, {"n": 1, "mean": 500})
    assert first["extra_cost_usd"] == {"n": 4, "mean": pytest.approx(0.01)}
    assert report["total"]["extra_wait_ms"]["mean"] == pytest.approx((4 * 500 - 100) / 5)
    assert (await past.get("/agreement", source="cache"))["total"]["n"] == 1


async def test_the_sums_say_what_the_runs_say(past: Site) -> None:
    """The report from the database's sums equals the definition, run by run."""
    dice = random.Random(1)
    pairs = [
        Pair(dice.choice(("agree", "disagree", "unknown")), dice.uniform(1, 900), dice.uniform(1, 900))
        for _ in range(60)
    ]
    await past.keep(*(closing(verdict=p.verdict, fast=p.fast_ms or 0.0, slow=p.slow_ms or 0.0) for p in pairs))
    total, truth = (await past.get("/agreement"))["total"], head_start(pairs)
    assert total["agree"] == truth.agree._asdict()
    assert total["extra_wait_ms"]["mean"] == pytest.approx(truth.extra_wait_ms.mean)
    assert total["usable_head_start_ms"]["mean"] == pytest.approx(truth.usable_ms.mean)
    assert total["wait_on_change_ms"]["mean"] == pytest.approx(truth.wait_on_change_ms.mean)


async def test_agreement_with_judgements(past: Site) -> None:
    """Where answers were judged the report says who was right, each number with the n of its own runs."""
    table = [("agree", True, True), ("agree", False, False), ("disagree", False, True), ("disagree", True, False)]
    runs = [closing(verdict=verdict) for verdict, _, _ in table] + [closing()]
    await past.keep(*runs)
    for run, (_, fast, slow) in zip(runs, table, strict=False):
        await past.say(run, fast_correct=fast, slow_correct=slow)
    await past.say(runs[-1], slow_correct=True)
    total = (await past.get("/agreement"))["total"]
    assert [total[name]["n"] for name in ("fast_correct", "slow_correct", "regret")] == [4, 5, 4]
    assert [total[name]["hits"] for name in ("regret", "reverse_regret", "correct_when_agreed")] == [1, 1, 1]
    assert total["auroc_disagree_for_fast_wrong"]["value"] == 0.5


async def test_the_deadline_curve_counts_censored_lanes(past: Site) -> None:
    """Lanes that were cut short count for as long as they ran, and what the data do not reach is null."""
    done = [closing(slow=float(100 * i)) for i in range(1, 8)]
    cut = [closing(verdict=None, slow=lane("slow", 700.0, "timeout")) for _ in range(3)]
    failed = closing(verdict=None, slow=lane("slow", 5.0, "failed"))
    await past.keep(*done, *cut, failed)
    curve = await past.get("/deadline-curve", lane="slow", metric="total", model="a:slow")
    assert [curve[name] for name in ("n", "events", "censored", "failed")] == [10, 7, 3, 1]
    assert curve["quantiles"]["p50"]["ms"] == 500
    assert curve["quantiles"]["p95"] == {"ms": None, "low": None, "high": None, "reached": False}
    assert curve["advised_timeout"]["ms"] is None
    assert "first 70% alone" in curve["advised_timeout"]["reason"]
    assert [round(point["share"], 6) for point in curve["curve"]] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    assert (await past.get("/deadline-curve", model="other"))["n"] == 0


async def test_a_lane_that_still_runs_is_not_counted(past: Site) -> None:
    """A run that is open says nothing yet of how long its lanes take."""
    await past.keep(opening(), closing())
    curve = await past.get("/deadline-curve")
    assert [curve[name] for name in ("n", "failed", "not_measured")] == [1, 0, 0]


async def test_the_model_of_a_curve_is_that_of_its_lane(past: Site) -> None:
    """A curve of the slow lane does not count the runs whose fast lane had that model."""
    await past.keep(closing())
    assert (await past.get("/deadline-curve", lane="slow", model="a:fast"))["n"] == 0
    assert (await past.get("/deadline-curve", lane="fast", model="a:fast"))["n"] == 1


async def test_a_first_token_counts_though_the_lane_failed_later(past: Site) -> None:
    """For the first token a lane has finished when it said something; one cut before that is censored."""
    late = lane("slow", 900.0, "failed", ttft_ms=300.0)
    silent = lane("slow", 800.0, "timeout", ttft_ms=None)
    refused = lane("slow", 1.0, "refused", ttft_ms=None)
    await past.keep(*(closing(verdict=None, slow=slow) for slow in (late, silent, refused)))
    curve = await past.get("/deadline-curve", metric="first_token")
    assert [curve[name] for name in ("n", "events", "censored", "failed")] == [2, 1, 1, 1]
    assert curve["curve"][0]["at"] == 300


async def test_a_timeout_is_advised(past: Site) -> None:
    """With enough lanes the advised timeout lies at the careful end of the quantile's interval, and says why."""
    await past.keep(*(closing(slow=float(i)) for i in range(1, 401)))
    curve = await past.get("/deadline-curve", share=0.9)
    assert curve["advised_timeout"]["ms"] == curve["quantiles"]["p90"]["high"] > curve["quantiles"]["p90"]["ms"]
    assert curve["advised_timeout"]["reason"].count(".") == 1
    assert "90%" in curve["advised_timeout"]["reason"]
    assert len(curve["curve"]) == 200
    assert curve["curve"][-1]["at"] == 400


@pytest.mark.parametrize("path", ["/stats", "/agreement", "/deadline-curve"])
async def test_every_filter_of_a_statistic_works(past: Site, path: str) -> None:
    """A run passes when all filters fit, and not when any one does not."""
    run = closing(opening(experiment="e", variant="v", prompt_class="c", at_s=0))
    await past.keep(run)
    fitting = {
        "since": EPOCH.isoformat(), "until": "2026-03-02T00:00:00Z", "experiment": "e", "variant": "v",
        "prompt_class": "c", "model": "a:slow", "policy": "race", "source": "live",
    }  # fmt: skip
    wrong = fitting | dict.fromkeys(fitting, "x") | {"since": fitting["until"], "until": EPOCH.isoformat()}
    wrong["source"] = "import"

    async def n(**params: str) -> int:
        """How many runs pass."""
        found = await past.get(path, **params)
        count: int = found.get("total", found)["n"]
        return count

    assert await n(**fitting) == 1
    assert {name: await n(**(fitting | {name: wrong[name]})) for name in fitting} == dict.fromkeys(fitting, 0)


async def test_a_database_that_is_away_is_a_503(past: Site) -> None:
    """A statistic that cannot be read now says so, and may be asked again."""
    await past.pool.close()
    for path in ("/stats", "/agreement", "/deadline-curve", "/compare?experiment=e&a=1&b=2", ""):
        answer = await past.client.get(f"/api/experiments{path}")
        assert (answer.status_code, answer.json()["code"]) == (503, "record_unavailable")
        assert answer.headers["retry-after"]
