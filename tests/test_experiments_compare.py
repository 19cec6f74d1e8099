"""Two variants of an experiment against each other."""

# ruff: noqa: F401, F811  # a fixture is imported by its name

from typing import Any

import pytest
from pasts import Site, closing, lane, opening, past

from app.record.entry import Closing


def run(variant: str, question: str, **changes: Any) -> Closing:
    """A run of one variant."""
    return closing(opening(question, experiment="e", variant=variant), **changes)


async def contest(past: Site, metric: str, **params: Any) -> Any:
    """What the API says of variants a and b."""
    return await past.get("/compare", experiment="e", a="a", b="b", metric=metric, **params)


async def test_nothing_is_compared_with_nothing(past: Site) -> None:
    """Variants without a run say n = 0, null and why, for every metric."""
    for metric in ("correct", "agreement", "latency", "ttft", "cost"):
        report = await contest(past, metric)
        assert (report["a"]["n"], report["b"]["n"], report["difference"]["value"]) == (0, 0, None)
        assert "n = 0" in report["verdict"]


async def test_equal_questions_are_paired(past: Site) -> None:
    """Runs of the same question are paired, whatever their models, and questions of one variant alone are left out."""
    both = [run(v, f"q{i}", slow=float(1000 + i + (50 if v == "b" else 0))) for i in range(20) for v in "ab"]
    await past.keep(*both, *(run("a", f"only a {i}", slow=9000.0) for i in range(5)))
    report = await contest(past, "latency")
    assert (report["paired"], report["questions"]) == (True, {"n": 20, "of_both": 20})
    assert (report["a"]["runs"], report["a"]["n"], report["a"]["median"]) == (25, 25, 1012)
    assert report["difference"]["value"] == pytest.approx(50)
    assert report["difference"]["low"] > 49
    assert report["mcnemar"] is None
    assert "b is higher than a" in report["verdict"]


async def test_questions_that_differ_are_not_paired(past: Site) -> None:
    """Without common questions the variants are compared as two groups, and the report says so."""
    await past.keep(*(run(v, f"{v}{i}", slow=100.0 + i) for i in range(12) for v in "ab"))
    report = await contest(past, "latency")
    assert (report["paired"], report["questions"]) == (False, {"n": 24, "of_both": 0})
    assert "n is too small" in report["verdict"] or "No difference" in report["verdict"]


async def test_binary_metrics_have_mcnemar(past: Site) -> None:
    """For right or wrong the discordant pairs are tested, and the shares have intervals."""
    runs = {(v, i): run(v, f"q{i}") for i in range(30) for v in "ab"}
    await past.keep(*runs.values())
    for (variant, i), one in runs.items():
        await past.say(one, slow_correct=variant == "b" or i >= 12)
    report = await contest(past, "correct")
    assert (report["a"]["hits"], report["b"]["hits"], report["b"]["n"]) == (18, 30, 30)
    assert (report["mcnemar"]["n"], report["mcnemar"]["a_only"], report["mcnemar"]["b_only"]) == (30, 0, 12)
    assert report["mcnemar"]["p_exact"] < 0.001
    assert report["difference"]["value"] == pytest.approx(0.4)


async def test_too_few_runs_say_how_many_more(past: Site) -> None:
    """A difference that chance explains says about how many more questions it takes; few questions have no interval."""
    await past.keep(*(run(v, f"q{i}") for i in range(3) for v in "ab"))
    report = await contest(past, "latency")
    assert (report["difference"]["method"], report["difference"]["low"]) == ("none", None)
    assert "at least 7 more" in report["verdict"]
    more = [run(v, f"r{i}", verdict="agree" if (i + (v == "b")) % 3 else "disagree") for i in range(16) for v in "ab"]
    await past.keep(*more)
    report = await contest(past, "agreement")
    assert report["difference"]["low"] <= 0 <= report["difference"]["high"]
    assert report["difference"]["more"] > 0
    assert "more questions" in report["verdict"]


PARTS = [
    ("latency", "run", 400), ("latency", "fast", 100), ("ttft", "run", 50), ("ttft", "slow", 200),
    ("cost", "run", 0.011), ("cost", "fast", 0.001), ("cost", "slow", 0.01),
]  # fmt: skip


async def test_a_part_of_the_run_may_be_meant(past: Site) -> None:
    """A metric is that of the whole run, or of one lane."""
    await past.keep(run("a", "q"), run("b", "q"))
    for metric, part, value in PARTS:
        report = await contest(past, metric, part=part)
        assert report["a"]["mean"] == report["b"]["mean"] == pytest.approx(value), (metric, part)
        assert report["a"]["n"] == 1


async def test_runs_without_their_question_are_never_paired(past: Site) -> None:
    """A question whose text was not kept equals no other."""
    await past.keep(*(run(v, "") for _ in range(12) for v in "ab"))
    report = await contest(past, "latency")
    assert report["questions"] == {"n": 24, "of_both": 0}


async def test_a_lane_that_did_not_complete_has_no_latency(past: Site) -> None:
    """A lane that was cut short is not measured by the time it was given."""
    await past.keep(run("a", "q", slow=lane("slow", 5.0, "cancelled")), run("b", "q"))
    report = await contest(past, "latency", part="slow")
    assert (report["a"]["runs"], report["a"]["n"], report["b"]["n"]) == (1, 0, 1)


BAD: list[tuple[dict[str, str | None], str]] = [
    ({"experiment": None}, "experiment"), ({"experiment": ""}, "experiment"), ({"b": None}, "b"), ({"b": "x"}, "b"),
    ({"metric": "m"}, "metric"), ({"part": "third"}, "part"), ({"since": "soon"}, "since"), ({"x": "y"}, "x"),
]  # fmt: skip


async def test_a_bad_parameter_is_named(past: Site) -> None:
    """A comparison asked with a bad parameter is a 422 that names the parameter."""
    for params, named in BAD:
        asked = {"experiment": "e", "a": "x", "b": "y"} | params
        detail = await past.refuses("/compare", **{name: value for name, value in asked.items() if value is not None})
        assert detail.removeprefix("query.").startswith(f"{named}:")
