"""What the questions about the past say to somebody who reads the answers: units, reasons, refusals, nothing secret."""

# ruff: noqa: F401, F811  # a fixture is imported by its name

from dataclasses import replace
from typing import Any

import httpx
import pytest
from cells import rows
from journals import Underway
from pasts import EPOCH, Site, closing, lane, opening, parts_over, past
from servers import serving

from app.main import create_app
from app.postgres.pool import Pool
from app.record.redaction import Redactor

KEY = "sk-proj-Abc1def2Ghi3jkl4Mno5pqr6Stu7"
MAIL = "jane.doe@example.org"
HEALTH = {"/health/", "/health/detailed", "/health/live", "/health/ready"}  # which take nothing and refuse nothing


async def test_feedback_is_masked(past: Site) -> None:
    """A secret in what is said about a run is masked before it is kept, as one in a question is."""
    run = closing()
    await past.keep(run)
    path = f"/api/experiments/{run.opening.run_id}/feedback/note"
    said = (await past.client.put(path, json={"value": f"it is {KEY}", "comment": f"Bearer {KEY}"})).json()
    assert KEY not in str(said)
    assert "[masked:openai_key]" in said["value"]
    async with past.pool.connection() as connection:
        assert KEY not in str(await connection.fetch("SELECT * FROM feedback"))


@pytest.mark.parametrize("name", ["experiment", "variant", "prompt_class", "tag"])
async def test_a_masked_label_is_found_by_its_own_words(past: Site, name: str) -> None:
    """Lists, exports and statistics look for a label as the record has it."""
    label = f"of {KEY}"
    labels: dict[str, Any] = {"tags": (label,)} if name == "tag" else {name: label}
    run = closing(opening(**labels))
    await past.keep(Redactor("full", 1000)(run))
    wanted = {name: label}
    assert len((await past.get("", 200, **wanted))["experiments"]) == 1
    assert (await past.client.get("/api/experiments/export", params=wanted)).text.count("\n") == 1
    if name != "tag":
        assert (await past.get("/stats", 200, **wanted))["total"]["n"] == 1
        assert (await past.get("/agreement", 200, **wanted))["total"]["n"] == 1
        assert (await past.get("/deadline-curve", 200, **wanted))["n"] == 1


@rows(("mode", "kept"), [("full", True), ("redacted", False), ("hash_only", False), ("none", False)])
def test_a_remark_is_kept_like_a_label(mode: Any, kept: bool) -> None:
    """Personal data in it stay under `full` alone; its other words stay in every mode."""
    said = Redactor(mode, 1000).remark(f"right, says {MAIL} with {KEY}")
    assert (MAIL in said, KEY in said, "right, says" in said) == (kept, False, True)


async def test_feedback_on_a_run_whose_record_is_on_its_way(past: Site, pool: Pool, dsn: str) -> None:
    """Feedback that comes before the record is a 409 to be repeated, not a run that does not exist."""
    parts = replace(parts_over(pool, dsn), pending=Underway())
    transport = httpx.ASGITransport(create_app(parts, guard_loopback=False))
    async with httpx.AsyncClient(transport=transport, base_url="http://past") as client:
        path = f"/api/experiments/{opening().run_id}/feedback/note"
        answers = [await client.put(path, json={"value": 1}), await client.delete(path)]
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(409, "run_not_live")] * 2


@pytest.mark.parametrize("value", [None, [1], {"a": 1}])
async def test_a_wrong_value_of_feedback_is_told_once(past: Site, value: object) -> None:
    """The refusal names the field once and says what it takes."""
    answer = await past.client.put("/api/experiments/x/feedback/note", json={"value": value})
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"field": "value", "problem": "Input should be true, false, a number or a text"}]


async def test_a_wrong_status_is_told_with_all_that_are_known(past: Site) -> None:
    """The refusal names the parameter as the client wrote it, and every value it takes."""
    told = await past.refuses("", status="dream")
    assert told.startswith("query.status: Input should be ")
    assert "'running'" in told
    assert "literal[" not in told


async def test_an_offset_may_lose_its_plus(past: Site) -> None:
    """`+` in a query means a space; a time that was sent with it unescaped is understood all the same."""
    await past.keep(closing(opening(at_s=0)))
    later, then = [await past.client.get(f"/api/experiments?since=2026-03-01T0{at}:00:00+02:00") for at in (3, 2)]
    assert (len(later.json()["experiments"]), len(then.json()["experiments"])) == (0, 1)


async def test_too_few_lanes_are_told(past: Site) -> None:
    """Where nothing was cut short and the lanes are too few, the advice asks for more of them, not for longer ones."""
    await past.keep(*(closing(slow=float(i)) for i in range(1, 11)))
    reason = (await past.get("/deadline-curve", share=0.999))["advised_timeout"]["reason"]
    assert reason == "10 lanes are too few to be sure of 99.9% with 95 % confidence: collect more."


async def test_times_have_the_digits_they_are_worth(past: Site) -> None:
    """A quantile that is exact to 1 % is told with three digits."""
    await past.keep(*(closing(slow=1234.5678) for _ in range(3)))
    p50 = (await past.get("/stats"))["total"]["lanes"]["slow"]["total"]["p50_ms"]
    assert p50 == float(f"{p50:.3g}") == pytest.approx(1234, rel=0.02)


async def test_agreement_is_of_a_run_and_of_no_lane(past: Site) -> None:
    """A comparison that asks for the agreement of one lane is refused rather than answered for the run."""
    told = await past.refuses("/compare", experiment="e", a="a", b="b", metric="agreement", part="slow")
    assert told.startswith("part: ")


async def test_the_documentation_tells_refusals_and_parameters(dsn: str) -> None:
    """Every address says how it refuses, in the form in which it does, and what each of its parameters means."""
    async with serving(dsn) as server:
        paths = (await server.client.get("/openapi.json")).json()["paths"]
    assert {"/v1/reason", "/v1/runs/{run_id}", "/api/logs", "/api/cache", "/api/experiments/compare"} < paths.keys()
    found = [(path, operation) for path, of in paths.items() for operation in of.values() if path not in HEALTH]
    for path, operation in found:
        assert "422" not in operation["responses"], path
        assert set(operation["responses"]["default"]["content"]) == {"application/problem+json"}
        assert [one["name"] for one in operation.get("parameters", []) if not one.get("description")] == [], path


async def test_the_documentation_tells_headers(past: Site) -> None:
    """Both ways to ask tell of the headers that they look at, and all streams of those that they send."""
    paths = (await past.client.get("/openapi.json")).json()["paths"]
    asks = [paths["/v1/reason"][method] for method in ("get", "post")]
    taken = [{one["name"] for one in ask["parameters"] if one["in"] == "header"} for ask in asks]
    assert taken == [{"Idempotency-Key", "Last-Event-ID"}] * 2
    for stream in (*asks, paths["/v1/runs/{run_id}/events"]["get"]):
        assert set(stream["responses"]["200"]["headers"]) == {"X-Run-ID", "X-Run-Source"}
