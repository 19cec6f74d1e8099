"""The request log as it goes on: one line a finished question, telling everything but what was asked and said."""

import json
import logging
from typing import Any

import entries
import httpx
import pytest
from cells import rows
from servers import serving
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app import logs
from app.errors import TooManyRuns
from app.events import Done, Payload, Start, Usage, frame
from app.experiments.logs import word
from app.http.callers import anybody
from app.http.door import Door
from app.http.edge import Edge
from app.http.problems import problem
from app.http.requests import TOLD, RequestLines, Told
from app.question import Caller, Labels
from app.reasoning.log import Log
from app.record.redaction import Redactor

PATH = "/v1/reason"
KEY = "AKIA" + "IOSFODNN7EXAMPLE"
FIELDS = (
    "request_id", "run_id", "source", "fingerprint", "status", "http_status", "duration_ms", "experiment", "variant",
    "prompt_class", "tags", "input_chars", "output_bytes",
)  # fmt: skip
RUN_ID = entries.opening().run_id
BEGIN = Start(RUN_ID, "race", {"fast": {"model": "a"}, "slow": {"model": "b"}}, 1000, "durable")


def ended(**changes: Any) -> Done:
    """The end of a run that went well, unless changed."""
    values: dict[str, Any] = {"status": "completed", "final_lane": "slow", "verified": True, "reason": None}
    values |= {"usage": Usage(), "cost_usd": None, "latency_ms": 5.0, "slow": False, "fingerprint": "f" * 64}
    return Done(**{**values, "audit": "durable", **changes})


def a_log(*end: Done) -> Log:
    """A log from its start to its end, if it has one."""
    log = Log(RUN_ID, Caller("me"), "f" * 64)
    events: list[Payload] = [BEGIN, *end]
    log.relay(b"".join(frame(RUN_ID, at, event) for at, event in enumerate(events)))
    return log


def answering(told: Told, body: bytes = b"") -> ASGIApp:
    """An application that accepts a question and answers in two writes."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        """Leave what the line needs, and answer."""
        scope[TOLD] = told
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body"})

    return app


async def line_of(
    app: ASGIApp, caplog: pytest.LogCaptureFixture, method: str = "POST", path: str = PATH, *, guard: bool = False
) -> dict[str, Any] | None:
    """The fields of the line that one request leaves, if it leaves one."""
    caplog.set_level(logging.INFO, "tandem.requests")
    lines = RequestLines(PATH, Redactor("redacted", 1000).remark)
    edge: Any = Edge(app, door=Door(anybody, guard_loopback=guard), watches=[lines])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(edge), base_url="http://tandem") as client:
        await client.request(method, path, headers={"X-Request-ID": "mine"})
    found = [record for record in caplog.records if record.name == "tandem.requests"]
    assert len(found) <= 1
    return {name: getattr(found[0], name) for name in FIELDS} if found else None


async def test_an_answered_question_leaves_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """The line names the run, how the request came to it, how it fared, how long it took and its sizes, but no text."""
    labels = Labels(f"exp {KEY}", "for jane@example.com", None, ("plain", KEY))
    log, question = a_log(ended()), entries.question("a secret question", labels)
    line = await line_of(answering(Told(log, "attached", question), b"x" * 100), caplog)
    assert line is not None
    assert 0 <= line.pop("duration_ms") < 1000
    assert line == {
        "request_id": "mine",
        "run_id": RUN_ID,
        "source": "attached",
        "fingerprint": "f" * 64,
        "status": "ok",
        "http_status": 200,
        "experiment": "exp [masked:aws_access_key]",
        "variant": "for [masked:email]",
        "prompt_class": None,
        "tags": ["plain", "[masked:aws_access_key]"],
        "input_chars": 17,
        "output_bytes": 100,
    }
    assert "secret" not in str(vars(caplog.records[-1]))


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (ended(), "ok"),
        (ended(slow=True), "slow"),
        (ended(source="cache"), "cache_hit"),
        (ended(status="partial", reason="lane_failed"), "check_failed"),
        (ended(status="partial", reason="accepted"), "ok"),
        (ended(status="timeout"), "error"),
        (None, None),
    ],
    ids=lambda one: one if isinstance(one, str) else None,
)
async def test_the_last_event_tells_how_a_request_fared(
    caplog: pytest.LogCaptureFixture, end: Done | None, status: str | None
) -> None:
    """The status is that of the run's `done`; a client that leaves before it has none."""
    log = a_log(*([] if end is None else [end]))
    line = await line_of(answering(Told(log, "live", entries.question())), caplog)
    assert line is not None
    assert (line["status"], line["http_status"]) == (status, 200)


@rows(
    ("status", "reason", "source", "slow", "expected"),
    [
        ("running", None, "live", True, None),
        ("failed", None, "cache", True, "error"),
        ("shutdown", "accepted", "live", False, "error"),
        ("partial", None, "cache", True, "check_failed"),
        ("partial", "accepted", "live", True, "slow"),
        ("completed", None, "cache", True, "cache_hit"),
        ("cancelled", "client_gone", "live", False, "ok"),
        ("cancelled", None, "live", True, "slow"),
    ],
)
def test_the_first_word_that_applies_is_the_status(
    status: str, reason: str | None, source: str, slow: bool, expected: str | None
) -> None:
    """Of the words for how a request fared the gravest stands, and a run that goes on has none."""
    assert word(status, reason, source, slow=slow) == expected


async def test_a_refused_question_leaves_a_line(caplog: pytest.LogCaptureFixture) -> None:
    """What is refused by a route, or before every route, is an error of no run."""
    for app, guard, http_status in ((problem(TooManyRuns("full"), "mine"), False, 503), (Response(), True, 403)):
        caplog.clear()
        line = await line_of(app, caplog, guard=guard)
        assert line is not None
        assert (line["status"], line["http_status"], line["run_id"], line["tags"]) == ("error", http_status, None, [])
        assert line["output_bytes"] > 0


async def test_a_client_that_comes_back_is_told_by_the_headers(caplog: pytest.LogCaptureFixture) -> None:
    """Of a request that asks nothing new the line has the run it was about."""
    line = await line_of(Response(status_code=204, headers={"X-Run-ID": RUN_ID, "X-Run-Source": "live"}), caplog, "GET")
    assert line is not None
    assert (line["run_id"], line["source"], line["status"], line["http_status"]) == (RUN_ID, "live", "ok", 204)


@pytest.mark.parametrize(("method", "path"), [("GET", "/health"), ("POST", "/v1/reason/x"), ("OPTIONS", PATH)])
async def test_no_other_request_leaves_a_line(caplog: pytest.LogCaptureFixture, method: str, path: str) -> None:
    """Only questions are logged."""
    assert await line_of(Response("hello"), caplog, method, path) is None


async def test_a_client_that_leaves_before_an_answer_leaves_a_line(caplog: pytest.LogCaptureFixture) -> None:
    """A request that nobody waited for has neither an HTTP status nor a status, and nothing went out."""

    async def unanswered(scope: Scope, receive: Receive, send: Send) -> None:
        """Ends without a word."""

    with pytest.raises(AssertionError):  # the test client misses the answer
        await line_of(unanswered, caplog)
    (record,) = [record for record in caplog.records if record.name == "tandem.requests"]
    assert vars(record)["http_status"] is vars(record)["status"] is None


@pytest.mark.parametrize("kind", ["json", "text"])
async def test_a_line_reads_well(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Machines get the fields at the top of one JSON object; people get a sentence with the ids."""
    await line_of(answering(Told(a_log(ended()), "live", entries.question()), b"hello"), caplog)
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(logging.root, "level", logging.INFO)
    logs.configure(kind, "INFO")
    text = logging.root.handlers[0].format(caplog.records[-1])
    assert "\n" not in text
    if kind == "json":
        told = json.loads(text)
        assert (told["logger"], told["severity"], told["output_bytes"], told["tags"]) == (
            "tandem.requests", "INFO", 5, [],
        )  # fmt: skip
        assert set(FIELDS) < told.keys()
    else:
        assert "live 200 ok in " in text
        assert text.endswith(f"request_id=mine run_id={RUN_ID}")


async def test_a_quiet_log_costs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Above INFO no line is made."""
    lines = RequestLines(PATH, Redactor("full", 1000).remark)
    caplog.set_level(logging.WARNING, "tandem.requests")
    edge: Any = Edge(Response(), door=Door(anybody, guard_loopback=False), watches=[lines])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(edge), base_url="http://tandem") as client:
        assert (await client.post(PATH)).status_code == 200
    assert caplog.records == []


async def test_a_server_writes_a_line_for_each_question(caplog: pytest.LogCaptureFixture) -> None:
    """Asked by POST, by GET or wrongly, each question leaves its line, and its bytes are counted."""
    caplog.set_level(logging.INFO, "tandem.requests")
    async with serving() as server:
        posted = await server.client.post(PATH, json={"input": "Why?", "tags": ["t"], "cache": "off"})
        got = await server.client.get(PATH, params={"input": "Why not?", "experiment": "e", "cache": "off"})
        refused = await server.client.post(PATH, json={"input": ""})
        records = [vars(record) for record in caplog.records if record.name == "tandem.requests"]
    answers = (posted, got, refused)
    assert [record["request_id"] for record in records] == [answer.headers["x-request-id"] for answer in answers]
    assert [record["output_bytes"] for record in records] == [len(answer.content) for answer in answers]
    assert [record["run_id"] for record in records] == [answer.headers.get("x-run-id") for answer in answers]
    assert [(record["status"], record["input_chars"]) for record in records] == [("ok", 4), ("ok", 8), ("error", None)]
    assert [(record["experiment"], record["tags"]) for record in records] == [(None, ["t"]), ("e", []), (None, [])]


async def test_lines_may_be_switched_off(caplog: pytest.LogCaptureFixture) -> None:
    """With REQUEST_LOG=false there is none."""
    caplog.set_level(logging.INFO, "tandem.requests")
    async with serving(request_log=False) as server:
        assert (await server.client.post(PATH, json={"input": ""})).status_code == 422
    assert [record for record in caplog.records if record.name == "tandem.requests"] == []
