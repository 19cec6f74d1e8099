"""Every refusal: its status, its stable code, its problem+json; and nothing has happened."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio
from cells import rows
from fake_openai import FakeOpenAI, fake_openai
from servers import FAST, Server, eventually, serving
from wire import dialled, head, reply, tell

from app.http import body as body_module
from app.http.connection import MAX_HEAD_BYTES

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "xyzzy-what-nobody-may-repeat"
RUN = "0190a1b2-c3d4-7e5f-8a9b-0123456789ab"
JSON = {"Content-Type": "application/json"}
FLOOD = 8 << 20


@dataclass
class Site:
    """A server whose models are a real upstream that counts. counted is what had happened when last looked at."""

    server: Server
    upstream: FakeOpenAI
    counted: tuple[int, int] = (0, 0)

    def untouched(self) -> bool:
        """Since last looked at no run was opened, no model asked, nothing written down."""
        assert self.server.journal is not None
        before, self.counted = self.counted, (len(self.server.journal.openings), self.upstream.stats.connections)
        return before == self.counted

    async def refuses(self, method: str, path: str, status: int, code: str, **request: Any) -> httpx.Response:
        """The refusal of a request, complete, silent about what was sent, and without any effect."""
        answer = await self.server.client.request(method, path, **request)
        if method == "HEAD":
            assert (answer.status_code, self.untouched()) == (status, True)
            return answer
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (status, code), problem
        assert answer.headers["content-type"] == "application/problem+json"
        assert problem["status"] == status
        assert problem["type"] == "about:blank"
        assert problem["title"]
        assert problem["detail"]
        assert problem["request_id"] == answer.headers["x-request-id"]
        assert SECRET not in answer.text
        assert "Traceback" not in answer.text
        assert len(answer.content) < 8000
        assert self.untouched()
        return answer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site() -> AsyncIterator[Site]:
    """A server over a fake upstream, for all tests of this file: none of them may change it."""
    async with fake_openai() as upstream:
        models: dict[str, Any] = {
            "fast_model": "openai:20t",
            "slow_model": "openai:20t",
            "openai_base_url": upstream.base_url,
        }
        async with serving(**models) as server:
            yield Site(server, upstream)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def recorded(files_dsn: str) -> AsyncIterator[Server]:
    """A server over a real database."""
    async with serving(files_dsn) as server:
        yield server


def lane(**wishes: Any) -> dict[str, Any]:
    """A question with wishes for one lane."""
    return {"input": SECRET, "fast": wishes}


def turns(*roles: str) -> dict[str, Any]:
    """A conversation."""
    return {"messages": [{"role": role, "content": SECRET} for role in roles]}


WRONG_BODIES: dict[str, Any] = {
    "nothing": {},
    "no question": {"policy": "race"},
    "both": {"input": SECRET, **turns("user")},
    "empty": {"input": ""},
    "white space": {"input": " \n\t\u2003"},
    "null input": {"input": None},
    "number as input": {"input": 7},
    "list as input": {"input": [SECRET]},
    "no messages": {"messages": []},
    "object as messages": {"messages": {"role": "user", "content": SECRET}},
    "unknown role": turns("robot"),
    "empty content": {"messages": [{"role": "user", "content": ""}]},
    "white space content": {"messages": [{"role": "user", "content": " \n"}]},
    "number as content": {"messages": [{"role": "user", "content": 1}]},
    "further field of a message": {"messages": [{"role": "user", "content": "x", "name": SECRET}]},
    "missing role": {"messages": [{"content": SECRET}]},
    "assistant last": turns("user", "assistant"),
    "system alone": turns("system"),
    "501 messages": turns(*["user"] * 501),
    "unknown field": {"input": SECRET, "temprature": 1},
    "unknown field of a lane": lane(tiemout_s=1),
    "number as lane": {"input": SECRET, "slow": 3},
    "list as lane": {"input": SECRET, "slow": []},
    "number as policy": {"input": SECRET, "policy": 1},
    "null policy": {"input": SECRET, "policy": None},
    "number as model": lane(model=1),
    "empty model": lane(model=""),
    "long model": lane(model="scripted:" + "x" * 300),
    "negative timeout": lane(timeout_s=-1),
    "zero timeout": lane(timeout_s=0),
    "huge timeout": lane(timeout_s=3601),
    "infinite timeout": lane(timeout_s=float("inf")),
    "timeout that is no number": lane(timeout_s=float("nan")),
    "string as timeout": lane(timeout_s="1"),
    "bool as timeout": lane(timeout_s=True),
    "negative first token timeout": lane(first_token_timeout_s=-0.1),
    "huge idle timeout": lane(idle_timeout_s=1e308),
    "no tokens": lane(max_output_tokens=0),
    "half a token": lane(max_output_tokens=1.5),
    "too many tokens": lane(max_output_tokens=200_001),
    "more tokens than a machine word": lane(max_output_tokens=10**400),
    "too hot": lane(temperature=3),
    "too cold": lane(temperature=-0.01),
    "temperature that is no number": lane(temperature=float("nan")),
    "zero deadline": {"input": SECRET, "deadline_s": 0},
    "negative deadline": {"input": SECRET, "deadline_s": -5},
    "infinite deadline": {"input": SECRET, "deadline_s": float("-inf")},
    "string as deadline": {"input": SECRET, "deadline_s": "soon"},
    "unknown cache": {"input": SECRET, "cache": "maybe"},
    "unknown replay": {"input": SECRET, "replay": "slowly"},
    "unknown on_disconnect": {"input": SECRET, "on_disconnect": "weep"},
    "string as stream": {"input": SECRET, "stream": "false"},
    "number as stream": {"input": SECRET, "stream": 1},
    "empty label": {"input": SECRET, "experiment": ""},
    "long label": {"input": SECRET, "variant": "x" * 129},
    "number as label": {"input": SECRET, "prompt_class": 5},
    "string as tags": {"input": SECRET, "tags": SECRET},
    "empty tag": {"input": SECRET, "tags": [""]},
    "long tag": {"input": SECRET, "tags": ["x" * 65]},
    "33 tags": {"input": SECRET, "tags": ["x"] * 33},
    "a list": [SECRET],
    "a string": SECRET,
    "a number": 5,
    "null": None,
}

Q = b'{"input": "' + SECRET.encode() + b'"'
MALFORMED: dict[str, bytes] = {
    "no byte": b"",
    "not JSON": SECRET.encode(),
    "truncated": Q,
    "trailing comma": Q + b",}",
    "two documents": Q + b"}{}",
    "single quotes": b"{'input': 'x'}",
    "comment": Q + b"} // x",
    "invalid UTF-8": b'{"input": "\xff\xfe"}',
    "UTF-16": '{"input": "x"}'.encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + Q + b"}",
    "raw control character": b'{"input": "a\x00b"}',
    "deep list": b'{"input": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep list alone": b"[" * 100_000,
    "deep object": b'{"fast":' * 100_000 + b"1" + b"}" * 100_000,
    "same key twice": Q + b', "input": "other"}',
    "same key twice between white space": b" \t\r\n" + Q + b', "input": "other"} \n',
    "same key twice in a lane": Q + b', "fast": {"timeout_s": 1, "timeout_s": 2}}',
    "key escaped and plain": Q + b', "\\u0069nput": "other"}',
    "hex number": Q + b', "deadline_s": 0x10}',
    "form": b"input=" + SECRET.encode(),
    "very long unknown key": b'{"input": "x", "' + b"k" * 500_000 + b'": 1}',
    "very many unknown keys": json.dumps({f"k{n}": n for n in range(50_000)}).encode(),
}


@rows("name", WRONG_BODIES)
async def test_wrong_fields_are_refused(site: Site, name: str) -> None:
    """A body that is JSON but no question is a 422 that names the field."""
    content = json.dumps(WRONG_BODIES[name])
    await site.refuses("POST", "/v1/reason", 422, "invalid_request", content=content, headers=JSON)


@rows("name", MALFORMED)
async def test_malformed_bodies_are_refused(site: Site, name: str) -> None:
    """A body that is no JSON, or JSON with two meanings, is a 422."""
    await site.refuses("POST", "/v1/reason", 422, "invalid_request", content=MALFORMED[name], headers=JSON)


async def test_the_wrong_field_is_named(site: Site) -> None:
    """A refusal says which field is wrong and why, for machines too."""
    refused = (await site.refuses("POST", "/v1/reason", 422, "invalid_request", json=lane(timeout_s=-1))).json()
    assert refused["detail"].startswith("fast.timeout_s: ")
    assert refused["errors"] == [{"field": "fast.timeout_s", "problem": "Input should be greater than 0"}]


async def test_an_unknown_policy_is_told_the_known_ones(site: Site) -> None:
    """An unknown policy is a 422 that lists those known."""
    asked = {"input": SECRET, "policy": "duel"}
    refused = (await site.refuses("POST", "/v1/reason", 422, "unknown_policy", json=asked)).json()
    assert refused["known"] == ["race"]


@rows(
    ("model", "hint"),
    [
        ("nobody:x", "openai"),
        ("gpt-5", "provider:model"),
        (":", "provider"),
        ("openai:", "openai"),
        ("scripted:nobody", "fast"),
        ("scripted:fast?frist=1", "first"),
        ("scripted:fast?first=-1", "0 to 3600"),
        ("scripted:fast?first=nan", "0 to 3600"),
        ("scripted:fast?tokens=1e9", "100000"),
        ("local:/etc/passwd", "FAST_MODEL"),
        ("local:../../etc/passwd", "FAST_MODEL"),
        ("local:smollm2", "FAST_MODEL"),
        ("deliberate:5@local:/etc/passwd", "FAST_MODEL"),
        ("deliberate:x@scripted:fast", "deliberate"),
        ("deliberate:-1@scripted:fast", "deliberate"),
        ("deliberate:1000000@scripted:fast", "deliberate"),
        ("deliberate:3@nobody:x", "openai"),
        ("deliberate:2@deliberate:2@" + FAST, "wrapper"),
    ],
)
async def test_unknown_models_are_refused(site: Site, model: str, hint: str) -> None:
    """A model that is not known, or that only the operator may choose, is a 422 that helps."""
    for name in ("fast", "slow"):
        asked = {"input": SECRET, name: {"model": model}}
        refused = (await site.refuses("POST", "/v1/reason", 422, "unknown_model", json=asked)).json()
        assert hint in refused["detail"]


@rows("kind", [None, "", "text/plain", "application/x-www-form-urlencoded", "application/jsonp", "*/*"])
async def test_other_content_types_are_refused(site: Site, kind: str | None) -> None:
    """A body that is not declared as JSON is a 415: a foreign form cannot post it."""
    headers = {} if kind is None else {"Content-Type": kind}
    content = json.dumps({"input": SECRET})
    await site.refuses("POST", "/v1/reason", 415, "unsupported_media_type", content=content, headers=headers)


async def _pieces(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // 4096):
        yield b" " * 4096


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_too_large_is_refused(site: Site, chunked: bool) -> None:
    """A body of 2 MB is a 413, announced or not, and the connection can be used again."""
    content = _pieces(2 << 20) if chunked else b" " * (2 << 20)
    refused = await site.refuses("POST", "/v1/reason", 413, "body_too_large", content=content, headers=JSON)
    assert "1048576" in refused.json()["detail"]
    assert (await site.server.client.get("/health/live")).status_code == 200


async def test_a_body_announced_too_large_is_refused_unread(site: Site) -> None:
    """A body that is announced as too large is refused before a byte of it was sent."""
    request = head("POST", "/v1/reason", "Content-Type: application/json", "Content-Length: 99999999999999999999")
    answer = await tell(site.server.port, request)
    assert answer.status in {400, 413}
    assert site.untouched()


@pytest.mark.parametrize("framing", ["Content-Length: 100", "Transfer-Encoding: chunked"])
async def test_a_body_that_never_arrives_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch, framing: str) -> None:
    """A client that announces a body and does not send it is refused after a while."""
    monkeypatch.setattr(body_module, "BODY_TIMEOUT_S", 0.03)
    answer = await tell(site.server.port, head("POST", "/v1/reason", "Content-Type: application/json", framing))
    assert (answer.status, answer.json()["code"]) == (422, "invalid_request")
    assert site.untouched()


async def test_a_client_that_leaves_within_its_body_starts_nothing(site: Site) -> None:
    """A connection that ends before its body is complete opens no run."""
    lines = ("Content-Type: application/json", "Content-Length: 100")
    async with dialled(site.server.port, head("POST", "/v1/reason", *lines) + b'{"input": "x"}'):
        await eventually(lambda: site.server.uvicorn.server_state.tasks)
    await eventually(lambda: not site.server.uvicorn.server_state.tasks)
    assert site.untouched()


GARBAGE_IDS = ["garbage", "1", RUN, f"{RUN}:", f"{RUN}:-1", f"{RUN}:1.5", f"{RUN}:9999999999", f"{RUN}:0\t1", "é:1"]


@rows("given", GARBAGE_IDS)
async def test_a_question_with_a_wrong_last_event_id_is_refused(site: Site, given: str) -> None:
    """A POST that claims to come back, but not to what, is a 422 and starts no race, whatever its body asks."""
    headers = [(b"Last-Event-ID", given.encode()), (b"Content-Type", b"application/json")]
    content = json.dumps({"input": SECRET})
    await site.refuses("POST", "/v1/reason", 422, "bad_last_event_id", content=content, headers=headers)


async def test_a_question_that_comes_back_to_an_unknown_run_is_refused(site: Site) -> None:
    """A POST that comes back to a run that nobody knows is a 404 and starts no race."""
    headers = {**JSON, "Last-Event-ID": f"{RUN}:3"}
    content = json.dumps({"input": SECRET})
    await site.refuses("POST", "/v1/reason", 404, "run_not_found", content=content, headers=headers)


async def _flood(site: Site, beginning: bytes, piece: bytes) -> int:
    """How many bytes of an endless repetition can be sent before the connection is cut; at most 8 MiB."""
    sent = 0
    async with dialled(site.server.port, beginning) as (_, writer):
        with contextlib.suppress(ConnectionError):
            while sent < FLOOD:
                writer.write(piece)
                sent += len(piece)
                await asyncio.wait_for(writer.drain(), 5)
                await asyncio.sleep(0)  # lets the server, in the same loop, read as fast as we write
    return sent


CHUNKED = head("POST", "/v1/reason", "Content-Type: application/json", "Transfer-Encoding: chunked")
TRAILERS = {
    "many": (b"", b"X-Trailer: " + b"a" * 1000 + b"\r\n"),
    "one without an end": (b"X-Trailer: ", b"a" * 65_536),
    "a name without an end": (b"", b"a" * 65_536),
}


@rows("name", TRAILERS)
@rows("body", [b"", b'2\r\n{"\r\n'])
async def test_a_flood_of_trailers_is_cut_off(site: Site, name: str, body: bytes) -> None:
    """Trailers behind a chunked body, which nobody reads, are cut off before they fill the memory."""
    first, piece = TRAILERS[name]
    assert await _flood(site, CHUNKED + body + b"0\r\n" + first, piece) < FLOOD
    await eventually(lambda: not site.server.uvicorn.server_state.tasks)
    assert site.untouched()


HEADS = {
    "many lines": b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n" + b"X-Line: aaaa\r\n" * 5200,
    "one line": b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nX-Line: " + b"a" * 70_000,
    "a name": b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n" + b"a" * 70_000,
    "an address": b"GET /health/live?" + b"a" * 70_000,
}
TOO_LARGE = MAX_HEAD_BYTES + 1


@rows("name", HEADS)
@rows("earlier", [0, 1])
async def test_a_head_too_large_is_refused(site: Site, name: str, earlier: int) -> None:
    """A head above 64 KiB is a 400 and the end of its connection, whichever request of the connection it is."""
    async with dialled(site.server.port) as (reader, writer):
        for _ in range(earlier):
            writer.write(head("GET", "/health/live"))
            assert (await reply(reader)).status == 200
        writer.write(HEADS[name][:TOO_LARGE])
        answer = await asyncio.wait_for(reader.read(), 5)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert site.untouched()


async def test_who_still_sends_a_head_sees_why_it_is_refused(site: Site) -> None:
    """A client that is refused in the middle of a head is read on for a while, so that the answer is not lost."""
    async with dialled(site.server.port) as (reader, writer):
        writer.write(HEADS["many lines"] * 20)
        await writer.drain()
        answer = await asyncio.wait_for(reader.read(), 5)
    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_a_whole_head_too_large_is_refused(site: Site) -> None:
    """A head above 64 KiB is refused as well when its end arrives with it."""
    answer = await tell(site.server.port, HEADS["many lines"] + b"\r\n")
    assert answer.status == 400


async def test_a_head_just_below_the_bound_is_answered(site: Site) -> None:
    """A large head within the bound is answered."""
    assert (await tell(site.server.port, HEADS["one line"][: MAX_HEAD_BYTES - 4] + b"\r\n\r\n")).status == 200


@pytest.mark.parametrize("line", ["Content-Length: abc", "Content-Length: -1", "Transfer-Encoding: nonsense"])
async def test_broken_framing_is_refused_by_the_parser(site: Site, line: str) -> None:
    """A request whose length cannot be known is a 400."""
    answer = await tell(site.server.port, head("POST", "/v1/reason", "Content-Type: application/json", line) + b"{}")
    assert answer.status == 400
    assert site.untouched()


WRONG_QUERIES = {
    "no input": "",
    "empty input": "?input=",
    "white space": "?input=%20%0A",
    "messages": "?messages=[]",
    "a lane": f"?input={SECRET}&fast=x",
    "part of a lane": f"?input={SECRET}&fast.model=x",
    "tags": f"?input={SECRET}&tags=x",
    "unknown": f"?input={SECRET}&q=1",
    "input twice": f"?input={SECRET}&input=b",
    "policy twice": f"?input={SECRET}&policy=race&policy=race",
    "deadline that is no number": f"?input={SECRET}&deadline_s=nan",
    "infinite deadline": f"?input={SECRET}&deadline_s=inf",
    "word as deadline": f"?input={SECRET}&deadline_s=soon",
    "empty deadline": f"?input={SECRET}&deadline_s=",
    "word as stream": f"?input={SECRET}&stream=perhaps",
    "unknown cache": f"?input={SECRET}&cache=maybe",
    "long label": f"?input={SECRET}&variant={'x' * 129}",
}


@rows("name", WRONG_QUERIES)
async def test_wrong_queries_are_refused(site: Site, name: str) -> None:
    """A GET is as strict as a POST and takes the scalars alone."""
    await site.refuses("GET", "/v1/reason" + WRONG_QUERIES[name], 422, "invalid_request")


async def test_an_unknown_policy_is_refused_in_a_query_too(site: Site) -> None:
    """A GET with an unknown policy is told the known ones."""
    await site.refuses("GET", f"/v1/reason?input={SECRET}&policy=duel", 422, "unknown_policy")


@rows(
    "seen",
    [
        "garbage", "7", f"{RUN}", f"{RUN}:", f"{RUN}:-1", f"{RUN}:x", f"{RUN}:1.5", f"{RUN}:{'9' * 20}", f":{RUN}",
        f"{RUN.upper()}:1", f"{RUN}:1 ; drop", f"{RUN}:+1", f"x{RUN}:1",
    ],
)  # fmt: skip
async def test_a_garbled_last_event_id_is_refused(site: Site, seen: str) -> None:
    """A Last-Event-ID that no stream gave out is a 422 everywhere and starts no race."""
    headers = {"Last-Event-ID": seen}
    for path in (f"/v1/runs/{RUN}/events", "/v1/reason", f"/v1/reason?input={SECRET}"):
        await site.refuses("GET", path, 422, "bad_last_event_id", headers=headers)
    await site.refuses("GET", f"/v1/runs/{RUN}/events", 422, "bad_last_event_id", params={"last_event_id": seen})


async def test_a_last_event_id_of_another_run_is_refused(site: Site) -> None:
    """A Last-Event-ID of one run does not open the stream of another."""
    headers = {"Last-Event-ID": f"{RUN}:1"}
    await site.refuses("GET", f"/v1/runs/{RUN[:-1]}0/events", 422, "bad_last_event_id", headers=headers)


async def test_an_unknown_run_is_not_found(site: Site) -> None:
    """A run that nobody has heard of is a 404 for every question about it, and no new race."""
    paths = [("GET", ""), ("GET", "/events"), ("POST", "/cancel"), ("POST", "/accept")]
    for method, tail in paths:
        for run_id in (RUN, "garbage", "%00", "%F0%9F%98%80", "x" * 3000, "1" * 36):
            await site.refuses(method, f"/v1/runs/{run_id}{tail}", 404, "run_not_found")
    await site.refuses("GET", "/v1/reason", 404, "run_not_found", headers={"Last-Event-ID": f"{RUN}:3"})
    await site.refuses("GET", f"/api/experiments/{RUN}", 404, "run_not_found")


@pytest.mark.parametrize("query", ["x=1", f"last_event_id={RUN}:1&x=1", f"last_event_id={RUN}:1&last_event_id={RUN}:2"])
async def test_events_take_one_parameter_once(site: Site, query: str) -> None:
    """The events of a run take `last_event_id`, once, and nothing else."""
    await site.refuses("GET", f"/v1/runs/{RUN}/events?{query}", 422, "invalid_request")


@rows(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/reason", {"GET", "POST"}),
        ("DELETE", "/v1/reason", {"GET", "POST"}),
        ("PATCH", "/v1/reason", {"GET", "POST"}),
        ("OPTIONS", "/v1/reason", {"GET", "POST"}),
        ("GET", f"/v1/runs/{RUN}/cancel", {"POST"}),
        ("GET", f"/v1/runs/{RUN}/accept", {"POST"}),
        ("POST", f"/v1/runs/{RUN}/events", {"GET"}),
        ("POST", "/api/experiments", {"GET"}),
        ("DELETE", f"/api/experiments/{RUN}", {"GET"}),
        ("POST", "/health/ready", {"GET"}),
        ("HEAD", "/v1/reason", {"GET", "POST"}),
        ("POST", "/console/index.html", {"GET", "HEAD"}),
    ],
)
async def test_another_method_is_refused(site: Site, method: str, path: str, allowed: set[str]) -> None:
    """A method that an address does not take is a 405 that says which ones it does."""
    refused = await site.refuses(method, path, 405, "method_not_allowed")
    assert set(refused.headers["allow"].split(", ")) == allowed


@rows("path", ["/v1", "/v1/reasons", "/v1/reason/x", "/v1/session/", "/api", "/nowhere", "/console/no.js", "/.env"])
async def test_an_unknown_address_is_not_found(site: Site, path: str) -> None:
    """An address where nothing is, is a 404, and leads nowhere else."""
    await site.refuses("GET", path, 404, "not_found")


@pytest.mark.parametrize(
    "path", ["/console/../settings.py", "/console/%2e%2e/settings.py", "/console/..%2fsettings.py"]
)
async def test_the_console_serves_its_folder_alone(site: Site, path: str) -> None:
    """No path leads out of the console's folder."""
    answer = await tell(site.server.port, head("GET", path))
    assert answer.status == 404
    assert b"Settings" not in answer.body


WRONG_LISTS = [
    "limit=0", "limit=201", "limit=-1", "limit=x", "limit=1.5", "limit=", "limit=1&limit=2", "cursor=x", "cursor=",
    f"cursor={'A' * 31}", f"cursor={'A' * 33}", f"cursor={'9' * 501}", "cursor=%00", "since=soon",
    "since=", "until=2026-13-01", "since=99999999999999999999", "since=nan", "since=2026",
    "until=20260131", "since=-1.5", "status=fine", "status=", "outcome=fine",
    "source=dream", "agreement=perhaps", "min_latency_ms=-1", "min_latency_ms=nan", "min_latency_ms=inf",
    "min_latency_ms=x", "order=asc", "q=1", "status=failed&status=failed",
]  # fmt: skip


@rows("query", WRONG_LISTS)
async def test_wrong_lists_are_refused(site: Site, query: str) -> None:
    """A list with a wrong or unknown filter is a 422, never a list without it."""
    await site.refuses("GET", f"/api/experiments?{query}", 422, "invalid_request")


@rows(
    "query",
    [
        "since=0001-01-01T00:00:00%2B14:00", "until=9999-12-31T23:59:59-14:00", "since=2026-01-01", "since=1e10",
        f"cursor={'A' * 32}", f"cursor={'-' * 32}", f"cursor={'_' * 32}", "tag=%00", "model=%ED%A0%80",
        "experiment=" + "x" * 5000, "min_latency_ms=1e308", "variant=%27%3B%20DROP%20TABLE%20runs", "prompt_class=",
    ],
)  # fmt: skip
async def test_strange_filters_find_nothing(recorded: Server, query: str) -> None:
    """A filter that is strange but valid reaches the database and finds nothing; one that cannot be is refused."""
    answer = await recorded.client.get(f"/api/experiments?{query}")
    assert answer.status_code in {200, 422}, answer.text
    if answer.status_code == 200:
        assert answer.json() == {"experiments": [], "next_cursor": None}


@rows("run_id", ["garbage", "%00", "%F0%9F%98%80", RUN])
async def test_strange_runs_are_not_in_the_record(recorded: Server, run_id: str) -> None:
    """A word that is no run's id is a 404 of the record too."""
    for path in (f"/v1/runs/{run_id}", f"/v1/runs/{run_id}/events", f"/api/experiments/{run_id}"):
        answer = await recorded.client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "run_not_found")


async def test_a_refused_connection_goes_on(site: Site) -> None:
    """After a refusal the same connection takes the next request."""
    request = head("POST", "/v1/reason", "Content-Type: application/json", "Content-Length: 2") + b"[]"
    async with dialled(site.server.port, request * 3) as (reader, _):
        assert [(await reply(reader)).status for _ in range(3)] == [422, 422, 422]
    assert site.untouched()
