"""Six recorded pairs whose statistics were worked out on paper."""

# ruff: noqa: F401, F811  # a fixture is imported by its name

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from pasts import Site, past

from app.experiments.feedback import Feedback
from app.http.callers import LOCAL
from app.record.importing import Import, read_lines

# The fast and the slow answer, how long each took, whether each was right.
PAIRS: list[tuple[str, str, int | None, int | None, bool, bool]] = [
    ("4", "4", 100, 400, True, True),
    ("5", "5", 200, 300, True, True),
    ("6", "6", 100, 50, False, False),
    ("7", "8", 100, 1100, False, True),
    ("9", "1", 300, 800, True, False),
    ("2", "3", None, None, False, True),
]


@pytest.fixture
async def six(past: Site) -> Site:
    """A past that holds these alone."""
    names = ("fast_text", "slow_text", "fast_latency_ms", "slow_latency_ms", "fast_correct", "slow_correct")
    found = [dict(zip(("question", *names), (f"{i}?", *pair), strict=True)) for i, pair in enumerate(PAIRS)]
    wanted = Import(LOCAL, "six", datetime(2026, 5, 1, tzinfo=UTC))
    runs = list(read_lines((json.dumps(line).encode() for line in found), wanted))
    await past.keep(*(run.closing for run in runs))
    said = [(run.closing.opening.run_id, Feedback(*one)) for run in runs for one in run.feedback.items()]
    await past.reads.put_many(LOCAL, said)
    return past


async def test_verdicts_and_judgements(six: Site) -> None:
    """Three of six agree; each share is of the runs that it is about."""
    total = (await six.get("/agreement"))["total"]
    hits = {
        name: (part["hits"], part["n"]) for name, part in total.items() if isinstance(part, dict) and "hits" in part
    }
    assert hits == {
        "agree": (3, 6), "disagree": (3, 6), "unknown": (0, 6), "fast_correct": (3, 6), "slow_correct": (4, 6),
        "regret": (2, 6), "reverse_regret": (1, 6), "correct_when_agreed": (2, 3),
    }  # fmt: skip
    assert total["auroc_disagree_for_fast_wrong"]["value"] == pytest.approx(6 / 9)


async def test_waits(six: Site) -> None:
    """The waits are 300, 100, -50, 1000 and 500 ms; one run was not measured and is in no mean."""
    total = (await six.get("/agreement"))["total"]
    means = {name: (total[name]["n"], total[name]["mean"]) for name in ("extra_wait_ms", "wait_on_change_ms")}
    assert means == {"extra_wait_ms": (5, 370.0), "wait_on_change_ms": (2, 750.0)}
    assert (total["usable_head_start_ms"]["n"], total["usable_head_start_ms"]["mean"]) == (5, 80.0)
    assert total["extra_wait_ms"]["p50"] == pytest.approx(300, rel=0.02)


async def test_times(six: Site) -> None:
    """The slow lane took 50, 300, 400, 800 and 1100 ms: a fifth of the answers at each, the median 400."""
    curve = await six.get("/deadline-curve")
    assert [curve[name] for name in ("n", "events", "censored", "failed", "not_measured")] == [5, 5, 0, 0, 1]
    points: list[Any] = [(point["at"], round(point["share"], 9)) for point in curve["curve"]]
    assert points == [
        (pytest.approx(50, rel=0.02), 0.2), (pytest.approx(300, rel=0.02), 0.4), (pytest.approx(400, rel=0.02), 0.6),
        (pytest.approx(800, rel=0.02), 0.8), (pytest.approx(1100, rel=0.02), 1.0),
    ]  # fmt: skip
    slow = (await six.get("/stats"))["total"]["lanes"]["slow"]
    assert slow["total"]["n"] == 5
    assert slow["total"]["p50_ms"] == pytest.approx(400, rel=0.02)
    assert (slow["cost"], slow["outcome"]) == ({"n": 0, "sum_usd": None}, {"completed": 6})
