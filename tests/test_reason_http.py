"""One question, one stream, over real sockets: its bytes, its headers, coming back to it, stopping it, leaving it."""

import asyncio
import itertools
import json
import signal
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from cells import rows
from entries import EPOCH, opening
from filing import filed
from servers import FAST, SLOW, Server, assert_quiet, eventually, serving
from tails import ENDLESS, HANG, QUESTION, SHORT, ask, lanes, opened, started
from wire import deaf, dialled, head, post, read_events, reply, tell, valid_stream

from app.http.callers import LOCAL
from app.http.server import bind, build
from app.main import create_app
from app.postgres.runs import RunStore
from app.record.entry import Interruption, Opening


async def test_a_stream_keeps_the_protocol() -> None:
    """A POST streams start, both lanes, final and done, every byte as the protocol says."""
    async with serving() as server:
        answer = await ask(server)
    events = valid_stream(answer.content)
    assert {event.run_id for event in events} == {answer.headers["x-run-id"]}
    start, done = events[0].data, events[-1].data
    assert start["lanes"] == {"fast": {"model": FAST}, "slow": {"model": SLOW}}
    assert (start["protocol"], start["policy"], start["source"], start["audit"]) == (1, "race", "live", "durable")
    assert (done["status"], done["final_lane"], done["verified"], done["audit"]) == (
        "completed",
        "slow",
        True,
        "durable",
    )


async def test_a_stream_has_its_headers() -> None:
    """A stream says what it is, whose run it is, and that nothing on the way may hold or change it."""
    async with serving() as server:
        answer = await server.client.post("/v1/reason", json=QUESTION, headers={"X-Request-ID": "mine-1"})
    headers = answer.headers
    assert headers["content-type"].partition(";")[0] == "text/event-stream"
    assert headers.get_list("cache-control") == ["no-cache, no-transform"]
    assert headers["x-accel-buffering"] == "no"
    assert (headers["x-run-source"], headers["x-request-id"]) == ("live", "mine-1")
    assert "content-security-policy" in headers
    assert headers["content-encoding"] == "identity"  # or proxies would compress it, and hold it back


async def test_a_body_may_stand_between_white_space() -> None:
    """What JSON takes for white space before and behind a body changes nothing."""
    body = b" \t\r\n" + json.dumps(QUESTION).encode() + b" \t\r\n"
    async with serving() as server:
        answer = await server.client.post("/v1/reason", content=body, headers={"Content-Type": "application/json"})
    assert valid_stream(answer.content)[-1].data["status"] == "completed"


async def test_a_get_is_the_same_question() -> None:
    """A GET asks what the POST with the same fields asks: same fingerprint, same answers."""
    fields: dict[str, Any] = {**QUESTION, "deadline_s": 7.5, "experiment": "e", "on_disconnect": "finish"}
    async with serving() as server:
        by_post = valid_stream((await ask(server, **fields)).content)
        by_get = valid_stream((await server.client.get("/v1/reason", params=fields)).content)
        assert server.journal is not None
        questions = [opening.question for opening in server.journal.openings]
    assert questions[0] == questions[1]
    for name in ("final", "done"):
        texts = [[e.data.get("text"), e.data.get("fingerprint")] for e in (*by_post, *by_get) if e.name == name]
        assert texts[0] == texts[1]


OUTCOMES = {
    "completed": lanes(SHORT, SHORT),
    "partial": lanes(SHORT, "scripted:error?first=0.02"),
    "failed": lanes("scripted:error?first=0", "scripted:empty?first=0"),
    "timeout": lanes("scripted:error?first=0", HANG, timeout_s=0.03),
}


@rows("status", OUTCOMES)
async def test_an_answer_without_a_stream_tells_the_same(status: str) -> None:
    """With `stream: false` the same events come as one object, 200 whatever the outcome."""
    async with serving() as server:
        stream = valid_stream((await ask(server, **OUTCOMES[status])).content)
        answer = await ask(server, stream=False, **OUTCOMES[status])
    whole = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert list(whole) == ["start", "preliminary", "lanes", "final", "done"]
    assert (whole["done"]["status"], stream[-1].data["status"]) == (status, status)
    assert whole["start"]["run_id"] == answer.headers["x-run-id"]
    names = {event.name for event in stream}
    for name in ("preliminary", "final"):
        assert (whole[name] is not None) == (name in names)
    ends = [(e.data["lane"], e.data["outcome"], e.data["reason"]) for e in stream if e.name == "lane_end"]
    assert [(lane["lane"], lane["outcome"], lane["reason"]) for lane in whole["lanes"]] == ends


async def test_an_answer_without_a_stream_is_cancelled_from_beside() -> None:
    """With `stream: false` a cancelled run is a 200 whose `done` says so."""
    async with serving() as server:
        asking = asyncio.create_task(ask(server, stream=False, **lanes(HANG, HANG)))
        await eventually(lambda: server.runs.live)
        run_id = next(iter(server.runs._live))
        await server.client.post(f"/v1/runs/{run_id}/cancel")
        assert (await asking).json()["done"]["status"] == "cancelled"


async def test_cancel_ends_the_stream() -> None:
    """A cancelled run ends with `done`, status `cancelled`, its preliminary standing; cancelling again is harmless."""
    async with serving() as server:
        tail = await started(server, **lanes(SHORT, HANG))
        for _ in range(2):
            assert (await server.client.post(f"/v1/runs/{tail.run_id}/cancel")).status_code == 200
        events = valid_stream(await tail.rest())
        again = await server.client.post(f"/v1/runs/{tail.run_id}/cancel")
    assert again.json() == {"run_id": tail.run_id, "ended": True}
    assert events[-1].data["status"] == "cancelled"
    assert (events[-2].name, events[-2].data["verified"]) == ("final", False)


async def test_accept_takes_the_preliminary() -> None:
    """An accepted preliminary is the unverified final, and `done` is partial, accepted."""
    async with serving() as server:
        tail = await started(server, **lanes(SHORT, HANG))
        assert (await server.client.post(f"/v1/runs/{tail.run_id}/accept")).status_code == 200
        events = valid_stream(await tail.rest())
        late = await server.client.post(f"/v1/runs/{tail.run_id}/accept")
    assert (events[-1].data["status"], events[-1].data["reason"]) == ("partial", "accepted")
    assert (events[-2].data["lane"], events[-2].data["change"]) == ("fast", "unverified")
    assert (late.status_code, late.json()["code"]) == (409, "nothing_to_accept")


async def test_nothing_can_be_accepted_before_there_is_something() -> None:
    """Accepting while there is no preliminary is a 409 and changes nothing."""
    async with serving() as server:
        tail = await opened(server, "POST", "/v1/reason", json={**QUESTION, **lanes(HANG, HANG)})
        refused = await server.client.post(f"/v1/runs/{tail.run_id}/accept")
        assert (refused.status_code, refused.json()["code"]) == (409, "nothing_to_accept")
        await server.client.post(f"/v1/runs/{tail.run_id}/cancel")
        assert valid_stream(await tail.rest())[-1].data["status"] == "cancelled"


async def test_a_live_run_can_be_resumed_anywhere() -> None:
    """Whoever comes back to a live run at any event gets the identical rest, by both addresses."""
    async with serving() as server:
        tail = await started(server, **lanes(SHORT, HANG))
        count = len(read_events(tail.raw))
        seen = [{"Last-Event-ID": f"{tail.run_id}:{seq}"} for seq in range(count)]
        paths = [f"/v1/runs/{tail.run_id}/events", "/v1/reason?input=ignored"]
        back = [await opened(server, "GET", paths[n % 2], headers=headers) for n, headers in enumerate(seen)]
        back.append(await opened(server, "GET", paths[0]))
        await server.client.post(f"/v1/runs/{tail.run_id}/cancel")
        whole = await tail.rest()
        rests = [await other.rest() for other in back]
        assert server.journal is not None
        assert len(server.journal.openings) == 1
    blocks = [block + b"\n\n" for block in whole.split(b"\n\n")[:-1]]
    assert rests == [*(b"".join(blocks[seq + 1 :]) for seq in range(count)), whole]


@pytest.mark.parametrize("kept", [1000, 0])
async def test_an_ended_run_can_be_resumed_anywhere(dsn: str, kept: int) -> None:
    """The rest of an ended run is equal to the byte, from memory or from the record; after `done` it is a 204."""
    async with serving(dsn, kept_runs=kept) as server:
        answer = await ask(server, **lanes(SHORT, SHORT))
        run_id = answer.headers["x-run-id"]
        assert (server.runs.find(run_id, LOCAL) is not None) == bool(kept)
        blocks = [block + b"\n\n" for block in answer.content.split(b"\n\n")[:-1]]
        for seq in range(-1, len(blocks)):
            headers = {} if seq < 0 else {"Last-Event-ID": f"{run_id}:{seq}"}
            rest = await server.client.get(f"/v1/runs/{run_id}/events", headers=headers)
            last = seq == len(blocks) - 1
            assert (rest.status_code, rest.content) == (204 if last else 200, b"".join(blocks[seq + 1 :]))
            assert rest.headers["x-run-id"] == run_id
        beyond = await server.client.get(f"/v1/runs/{run_id}/events?last_event_id={run_id}:{len(blocks)}")
        assert (beyond.status_code, beyond.json()["code"]) == (422, "bad_last_event_id")


async def test_an_interrupted_run_ends_truthfully(dsn: str) -> None:
    """Whoever resumes a run whose server died gets `done`, failed, interrupted, numbered on from what was seen."""
    async with serving(dsn) as server:
        store = server.parts.records
        assert isinstance(store, RunStore)
        run = opened_ago(1)
        await store.write(filed(run, Interruption(run, datetime.now(UTC))))
        for method, path in (("GET", f"/v1/runs/{run.run_id}/events"), ("GET", "/v1/reason"), ("POST", "/v1/reason")):
            interrupted(await came_back(server, run.run_id, 41, method, path), run.run_id, 42)


async def test_an_event_source_stops_at_an_interrupted_run(dsn: str) -> None:
    """Whoever has been given the `done` of an interrupted run, and comes back with its id, gets a 204."""
    async with serving(dsn) as server:
        store = server.parts.records
        assert isinstance(store, RunStore)
        runs = [opened_ago(age) for age in (1, 2)]
        await store.write(filed(*runs, *(Interruption(run, datetime.now(UTC)) for run in runs)))
        for run in runs:
            interrupted(await came_back(server, run.run_id, 7), run.run_id, 8)
        for run in runs:
            assert (await came_back(server, run.run_id, 8)).status_code == 204
        from_the_beginning = await server.client.get(f"/v1/runs/{runs[0].run_id}/events")
        interrupted(from_the_beginning, runs[0].run_id, 0)
        assert (await came_back(server, runs[0].run_id, 0)).status_code == 204


@pytest.mark.parametrize(("age_s", "over"), [(1, False), (51, False), (75, False), (81, True)])
async def test_an_open_record_is_believed_until_it_is_overdue(dsn: str, age_s: float, over: bool) -> None:
    """A run that is open in the record but not here is a 409 until 30 s after its deadline, then interrupted."""
    async with serving(dsn) as server:
        store = server.parts.records
        assert isinstance(store, RunStore)
        run = opened_ago(age_s)
        await store.write(filed(run))
        answer = await came_back(server, run.run_id, 3)
        if over:
            interrupted(answer, run.run_id, 4)
            assert (await came_back(server, run.run_id, 4)).status_code == 204
        else:
            assert (answer.status_code, answer.json()["code"]) == (409, "run_not_live")
            assert int(answer.headers["retry-after"]) > 0


def opened_ago(seconds: float) -> Opening:
    """The start of a run with a deadline of 50 s, that many seconds ago."""
    return opening((datetime.now(UTC) - EPOCH).total_seconds() - seconds, caller="local")


async def came_back(
    server: Server, run_id: str, seen: int, method: str = "GET", path: str = "/v1/reason"
) -> httpx.Response:
    """What a client is given that has seen a run up to that event."""
    body = json.dumps(QUESTION) if method == "POST" else None
    headers = {"Last-Event-ID": f"{run_id}:{seen}", "Content-Type": "application/json"}
    return await server.client.request(method, path, headers=headers, content=body)


def interrupted(answer: httpx.Response, run_id: str, seq: int) -> None:
    """The answer is the one `done` of a run whose server died, and has that number."""
    assert answer.status_code == 200
    (done,) = read_events(answer.content)
    assert (done.name, done.run_id, done.seq) == ("done", run_id, seq)
    assert (done.data["status"], done.data["reason"]) == ("failed", "interrupted")


async def test_a_post_that_comes_back_starts_no_second_race() -> None:
    """A POST with Last-Event-ID gets the rest of its run, live and ended, and opens none, whatever its body says."""
    async with serving() as server:
        tail = await started(server, **lanes(SHORT, HANG))
        count = len(read_events(tail.raw))
        headers = {"Last-Event-ID": f"{tail.run_id}:{count - 2}"}
        back = await opened(server, "POST", "/v1/reason", json=QUESTION, headers=headers)
        assert (back.run_id, server.runs.live, next(iter(server.runs._live.values())).readers) == (tail.run_id, 1, 2)
        await server.client.post(f"/v1/runs/{tail.run_id}/cancel")
        blocks = [block + b"\n\n" for block in (await tail.rest()).split(b"\n\n")[:-1]]
        assert await back.rest() == b"".join(blocks[count - 1 :])
        await eventually(lambda: server.runs.live == 0)
        ended = await came_back(server, tail.run_id, 0, "POST")
        after_done = await came_back(server, tail.run_id, len(blocks) - 1, "POST")
        assert server.journal is not None
        assert len(server.journal.openings) == 1
    assert ended.content == b"".join(blocks[1:])
    assert (after_done.status_code, after_done.content) == (204, b"")


async def test_a_longer_timeout_is_a_longer_wait_for_the_fast_lane() -> None:
    """A fast lane that is given more time has it for its first token and between tokens too, unless a limit is set."""
    asked = {**lanes(SHORT, SHORT), "fast": {"model": SHORT, "timeout_s": 20}}
    async with serving(fast_timeout_s=5) as server:
        await ask(server, **asked)
        assert server.journal is not None
        lane = server.journal.openings[-1].question.fast
        assert (lane.timeout_s, lane.first_token_timeout_s, lane.idle_timeout_s) == (20, 20, 20)
        await ask(server, **lanes(SHORT, SHORT))
        lane = server.journal.openings[-1].question.fast
        assert (lane.timeout_s, lane.first_token_timeout_s, lane.idle_timeout_s) == (5, 5, 5)
    async with serving(fast_timeout_s=5, fast_first_token_timeout_s=2, fast_idle_timeout_s=1) as server:
        await ask(server, **asked)
        assert server.journal is not None
        lane = server.journal.openings[-1].question.fast
        assert (lane.timeout_s, lane.first_token_timeout_s, lane.idle_timeout_s) == (20, 2, 1)


async def test_a_fast_lane_may_take_longer_than_the_default() -> None:
    """A fast lane whose first token comes behind the server's own limit completes when the request allows it."""
    late = "scripted:fast?first=0.05&gap=0&tokens=2"
    async with serving(fast_timeout_s=0.02) as server:
        allowed = valid_stream((await ask(server, fast={"model": late, "timeout_s": 5})).content)
        refused = valid_stream((await ask(server, fast={"model": late}, cache="off")).content)
    ends = [
        [e.data["outcome"] for e in log if e.name == "lane_end" and e.data["lane"] == "fast"]
        for log in (allowed, refused)
    ]
    assert ends == [["completed"], ["timeout"]]


PLACES = ("stored", "duplicate", "dead_lettered", "logged", "spooled", "in_flight")


async def test_health_counts_streams_and_records(dsn: str) -> None:
    """Health tells how many streams are open, and where every record is: the ledger balances."""
    async with serving(dsn) as server:
        before = (await server.client.get("/health/")).json()
        tails = [await started(server, cache="off", **lanes(SHORT, HANG)) for _ in range(2)]
        again = await opened(server, "GET", f"/v1/runs/{tails[0].run_id}/events")
        during = (await server.client.get("/health/")).json()
        await again.response.aclose()
        for tail in tails:
            await server.client.post(f"/v1/runs/{tail.run_id}/cancel")
            await tail.rest()
        await eventually(lambda: server.runs.live == 0)
        after = (await server.client.get("/health/")).json()
    assert [health["open_streams"] for health in (before, during, after)] == [0, 3, 0]
    assert [health["live_runs"] for health in (before, during, after)] == [0, 2, 0]
    for health in (before, during, after):
        ledger = health["record"]
        settled = sum(ledger[state] for state in PLACES)
        assert ledger["accepted"] == settled
    assert [health["record"]["accepted"] for health in (before, during, after)] == [0, 2, 4]
    assert (after["record"]["dead_lettered"], after["record"]["refused"]) == (0, 0)


def _references(schema: Any) -> list[str]:
    """Every reference in a document."""
    if isinstance(schema, dict):
        own = [schema["$ref"]] if isinstance(schema.get("$ref"), str) else []
        return own + [found for value in schema.values() for found in _references(value)]
    return [found for item in schema for found in _references(item)] if isinstance(schema, list) else []


def _resolves(document: dict[str, Any], reference: str) -> bool:
    """Whether a reference leads somewhere within the document."""
    place: Any = document
    for step in reference.removeprefix("#/").split("/"):
        if not isinstance(place, dict) or step not in place:
            return False
        place = place[step]
    return reference.startswith("#/")


async def test_the_documents_describe_the_question() -> None:
    """/openapi.json resolves within itself and describes the body of a POST and the parameters of a GET."""
    async with serving() as server:
        document = (await server.client.get("/openapi.json")).json()
        assert (await server.client.get("/docs")).status_code == 200
    assert [found for found in _references(document) if not _resolves(document, found)] == []
    question = document["paths"]["/v1/reason"]
    body = question["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert {"input", "messages", "fast", "slow", "policy", "deadline_s", "stream"} <= body["properties"].keys()
    [lane] = [kind for kind in body["properties"]["fast"]["anyOf"] if kind.get("type") == "object"]
    assert {"model", "timeout_s", "first_token_timeout_s", "temperature"} <= lane["properties"].keys()
    parameters = {parameter["name"]: parameter for parameter in question["get"]["parameters"]}
    assert {"input", "policy", "deadline_s", "last_event_id", "stream"} <= parameters.keys()
    assert not {"messages", "fast", "slow", "tags"} & parameters.keys()
    assert {parameter["in"] for parameter in parameters.values()} == {"header", "query"}
    assert "text/event-stream" in question["post"]["responses"]["200"]["content"]


async def test_the_record_of_a_run_is_there_when_done_is_durable(dsn: str) -> None:
    """A run whose `done` says durable is in the record and in the list at once."""
    async with serving(dsn) as server:
        answer = await ask(server, experiment="e1", **lanes(SHORT, SHORT))
        assert valid_stream(answer.content)[-1].data["audit"] == "durable"
        run_id = answer.headers["x-run-id"]
        record = (await server.client.get(f"/v1/runs/{run_id}")).json()
        listed = (await server.client.get("/api/experiments?experiment=e1")).json()["experiments"]
    assert (record["run_id"], record["status"]) == (run_id, "completed")
    assert [run["run_id"] for run in listed] == [run_id]
    assert "payload" not in listed[0]


async def test_a_run_ends_when_its_reader_leaves() -> None:
    """Without a grace, a run is cancelled when its last reader leaves."""
    async with serving(disconnect_grace_s=0) as server:
        tail = await started(server, **lanes(SHORT, HANG))
        await tail.response.aclose()
        await eventually(lambda: server.runs.live == 0, 0.5)
        assert server.journal is not None
        assert (server.journal.closings[-1].status, server.journal.closings[-1].reason) == ("cancelled", "client_gone")


async def test_an_answer_without_a_stream_ends_when_its_reader_leaves() -> None:
    """A client that leaves a `stream: false` request is a reader that leaves."""
    async with serving(disconnect_grace_s=0) as server:
        request = post(b'{"input": "x", "stream": false, "fast": {"model": "scripted:hang"}}')
        async with dialled(server.port, request):
            await eventually(lambda: server.runs.live)
        await eventually(lambda: server.runs.live == 0, 0.5)


async def test_a_reader_who_comes_back_in_time_gets_the_rest() -> None:
    """Within the grace a run waits for its reader, who then gets the rest; without one it is cancelled."""
    async with serving(disconnect_grace_s=15) as server:
        tail = await started(server, **lanes(SHORT, HANG))
        run = server.runs._live[tail.run_id]
        await tail.response.aclose()
        await eventually(lambda: run.readers == 0)
        assert run._absence is not None
        cancels_at = run._absence.when() - run.loop.time()
        last = read_events(tail.raw)[-1].seq
        back = await opened(server, "GET", "/v1/reason", headers={"Last-Event-ID": f"{tail.run_id}:{last}"})
        assert run.readers == 1
        assert not run._absence
        await server.client.post(f"/v1/runs/{tail.run_id}/cancel")
        valid_stream(tail.raw + await back.rest())
    assert 10 < cancels_at <= 15


async def test_a_reader_who_does_not_come_back_in_time_ends_the_run() -> None:
    """When the grace is over and nobody has come back, the run is cancelled, and not before."""
    async with serving(disconnect_grace_s=0.05) as server:
        tail = await started(server, **lanes(SHORT, HANG))
        run = server.runs._live[tail.run_id]
        leaves_at = run.loop.time()
        await tail.response.aclose()
        await eventually(lambda: run.readers == 0)
        await eventually(lambda: server.runs.live == 0)
        assert run.loop.time() - leaves_at > 0.04
        assert server.journal is not None
        assert server.journal.closings[-1].reason == "client_gone"


async def test_a_run_may_finish_alone() -> None:
    """With `on_disconnect: finish` a run goes on without a reader, to be resumed."""
    async with serving(disconnect_grace_s=0) as server:
        tail = await started(server, on_disconnect="finish", **lanes(SHORT, "scripted:slow?first=0.05&gap=0"))
        await tail.response.aclose()
        await eventually(lambda: server.runs.live == 0)
        whole = (await server.client.get(f"/v1/runs/{tail.run_id}/events")).content
    assert valid_stream(whole)[-1].data["status"] == "completed"
    assert whole.startswith(tail.raw)


async def test_a_run_may_finish_alone_for_who_asks_again() -> None:
    """Who asks again under the same key, now with `on_disconnect: finish`, may leave, and the run goes on."""
    key, asked = {"Idempotency-Key": "once"}, {**QUESTION, **lanes(SHORT, "scripted:slow?first=0.1&gap=0")}
    async with serving(disconnect_grace_s=0) as server:
        first = await opened(server, "POST", "/v1/reason", json=asked, headers=key)
        again = await opened(server, "POST", "/v1/reason", json={**asked, "on_disconnect": "finish"}, headers=key)
        assert again.run_id == first.run_id
        for tail in (first, again):
            await tail.response.aclose()
        await eventually(lambda: server.runs.live == 0)
        whole = (await server.client.get(f"/v1/runs/{first.run_id}/events")).content
    assert valid_stream(whole)[-1].data["status"] == "completed"


async def test_silence_is_filled_with_pings_of_one_line() -> None:
    """A silent stream is kept alive with `: ping` and one newline, and stays valid."""
    async with serving(ping_s=0.02) as server:
        tail = await started(server, **lanes(SHORT, HANG))
        quiet = len(tail.raw)
        await tail.until(b": ping\n: ping\n: ping\n")
        assert tail.raw[quiet:].replace(b": ping\n", b"") == b""
        await server.client.post(f"/v1/runs/{tail.run_id}/cancel")
        assert valid_stream(await tail.rest())[-1].data["status"] == "cancelled"


async def test_a_stream_that_speaks_is_not_pinged() -> None:
    """A stream with events has no pings."""
    async with serving(ping_s=0.2) as server:
        tail = await started(server, **lanes(SHORT, ENDLESS), deadline_s=0.5)
        assert b": ping" not in await tail.rest()


LONG = "scripted:long?first=0&gap=0&tokens=20000"


@pytest.mark.parametrize("how", ["stream", "resumed", "closing"])
async def test_a_client_that_never_reads_is_dropped(how: str) -> None:
    """A client that reads nothing of a long answer loses its connection after the send timeout, and holds nothing."""
    async with serving(send_timeout_s=0.1, kept_runs=0 if how == "resumed" else 1000) as server:
        asked = {"input": "x", "cache": "off", **lanes(LONG, LONG)}
        request = post(json.dumps(asked).encode(), *(["Connection: close"] if how == "closing" else []))
        if how == "resumed":
            run_id = (await ask(server, **asked)).headers["x-run-id"]
            request = head("GET", f"/v1/runs/{run_id}/events")
        await server.client.aclose()
        await eventually(lambda: server.connections == 0)
        with await deaf(server.port, request):
            await eventually(lambda: server.connections == 1)
            await eventually(lambda: server.connections == 0, 3.0)
            await assert_quiet(server)


async def test_a_slow_reader_gets_everything() -> None:
    """A client that reads slowly, but reads, gets every event."""
    async with serving(send_timeout_s=0.25) as server:
        body = json.dumps({"input": "x", **lanes(LONG, SHORT)}).encode()
        client = await deaf(server.port, post(body, "Connection: close"))
        loop, raw = asyncio.get_running_loop(), b""
        with client:
            for count in itertools.count():
                piece = await loop.sock_recv(client, 64 * 1024)
                if not piece:
                    break
                raw += piece
                if count % 8 == 0:
                    await asyncio.sleep(0.01)
    assert raw.endswith(b"0\r\n\r\n")


async def test_connections_are_used_again() -> None:
    """Requests in a pipeline on one connection are answered in order, streams among them."""
    async with serving() as server:
        stream = post(b'{"input": "x"}')
        requests = [head("GET", "/health/live"), stream, stream, head("GET", "/nowhere"), stream]
        async with dialled(server.port, b"".join(requests)) as (reader, _):
            replies = [await reply(reader) for _ in requests]
            assert server.connections == 1
    assert [answer.status for answer in replies] == [200, 200, 200, 404, 200]
    for answer in (replies[1], replies[2], replies[4]):
        valid_stream(answer.body)


@rows("most", [1, 40, 100_000])
async def test_an_offer_of_another_protocol_is_declined(most: int) -> None:
    """A question that offers h2c, as Java's client does at first, is answered, however it is split; so is the next."""
    offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
    body = b'{"input": "x"}'
    in_chunks = head("POST", "/v1/reason", "Content-Type: application/json", "Transfer-Encoding: chunked", *offer)
    requests = [
        post(body, *offer),
        in_chunks + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body),
        head("GET", "/health/live", *offer),
        post(b"GET /nowhere HTTP/1.1\r\n\r\n", *offer),
        head("GET", "/health/live"),
    ]
    async with serving() as server, dialled(server.port) as (reader, writer):
        sent = b"".join(requests)
        for at in range(0, len(sent), most):
            writer.write(sent[at : at + most])
            await asyncio.sleep(0)
        replies = [await reply(reader) for _ in requests]
    assert [answer.status for answer in replies] == [200, 200, 200, 422, 200]
    for answer in replies[:2]:
        assert valid_stream(answer.body)[-1].data["status"] == "completed"


@rows("version", [b"HTTP/1.1", b"HTTP/1.0"])
async def test_an_offer_with_the_last_request_is_declined(version: bytes) -> None:
    """Who offers another protocol and wants no further request on this connection is answered too."""
    offer = ("Connection: Upgrade, close", "Upgrade: websocket", "Connection: close")
    request = post(b'{"input": "x"}', *offer).replace(b"HTTP/1.1", version, 1)
    async with serving() as server, dialled(server.port, request) as (reader, _):
        said = await asyncio.wait_for(reader.read(), 5)
    assert said.startswith(b"HTTP/1.1 200")
    assert b'"status":"completed"' in said


async def test_a_client_of_http_1_0() -> None:
    """A client of HTTP/1.0, which knows no chunks, gets the bare stream, and one object, up to the connection's end."""
    async with serving() as server:
        for more in ({}, {"stream": False}):
            request = post(json.dumps({"input": "x", **more}).encode()).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
            async with dialled(server.port, request) as (reader, _):
                top, _, body = (await reader.read()).partition(b"\r\n\r\n")
            assert b"transfer-encoding" not in top
            assert top.count(b"\r\nconnection: ") == top.count(b"\r\nconnection: close") == 1
            done = json.loads(body)["done"] if more else valid_stream(body)[-1].data
            assert done["status"] == "completed"


async def test_too_many_runs_are_refused() -> None:
    """Above MAX_LIVE_RUNS a question is a 503 that says when to come again; an ended run makes room."""
    async with serving(max_live_runs=1) as server:
        tail = await started(server, **lanes(SHORT, HANG))
        refused = await ask(server)
        assert (refused.status_code, refused.json()["code"]) == (503, "too_many_runs")
        assert int(refused.headers["retry-after"]) > 0
        await server.client.post(f"/v1/runs/{tail.run_id}/cancel")
        await tail.rest()
        await eventually(lambda: server.runs.live == 0)
        assert (await ask(server)).status_code == 200


async def test_draining_refuses_new_runs_and_ends_live_ones() -> None:
    """A server that drains is alive but not ready, refuses questions, and ends every stream with `done`, shutdown."""
    async with serving() as server:
        tail = await started(server, **lanes(SHORT, HANG))
        assert (await server.client.get("/health/ready")).status_code == 200
        draining = asyncio.create_task(server.drain(30.0))
        await eventually(lambda: server.runs.draining)
        refused = await ask(server)
        assert (refused.status_code, refused.json()["code"]) == (503, "shutting_down")
        assert int(refused.headers["retry-after"]) > 0
        ready = await server.client.get("/health/ready")
        assert (ready.status_code, ready.json()["checks"]["process"]) == (503, "draining")
        assert (await server.client.get("/health/live")).status_code == 200
        assert (await server.client.get("/health")).json()["live_runs"] == 1
        await server.drain(0.0)
        done = valid_stream(await tail.rest())[-1].data
        await draining
    assert done["status"] == "shutdown"


async def test_a_signal_drains_and_then_stops_the_server() -> None:
    """A signal lets the live stream end with `done`, and only then the server stops; tests' servers catch none."""
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with serving() as server:
        listener = bind("127.0.0.1", 0)
        port = listener.getsockname()[1]
        uvicorn = build(create_app(server.parts, guard_loopback=True), server.drain, 0.05)
        task = asyncio.create_task(uvicorn._serve([listener]))
        await eventually(lambda: uvicorn.started)
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
        body = b'{"input": "x", "slow": {"model": "scripted:hang"}}'
        answering = asyncio.create_task(tell(port, post(body)))
        await eventually(lambda: server.runs.live)
        uvicorn.handle_exit(signal.SIGTERM, None)
        assert valid_stream((await answering).body)[-1].data["status"] == "shutdown"
        await asyncio.wait_for(task, 2)
