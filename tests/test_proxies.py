"""The product behind nginx, haproxy and caddy as Debian delivers them: they change nothing and hold nothing back."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fake_openai import FakeOpenAI, fake_openai
from proxies import proxied
from servers import Server, eventually, serving
from wire import Reply, dialled, head, post, read_events, reply, valid_stream

from bench.fronts import GZIP, KINDS, LOCAL_NAME, NEEDED, Front, Wish

pytestmark = pytest.mark.asyncio(loop_scope="module")

FIRST, *OTHERS = KINDS
PROXIES = [FIRST, *(pytest.param(kind, marks=pytest.mark.long) for kind in OTHERS)]
TOKENS = 15
STEADY = {
    "fast": {"model": "scripted:fast?first=0&tokens=1"},
    "slow": {"model": f"scripted:slow?first=0.05&gap=0.02&tokens={TOKENS}"},
}
HANG = {"fast": {"model": "scripted:fast?gap=0"}, "slow": {"model": "scripted:hang"}}
BODY_BYTES = 400_000
LATER_S = 0.1


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fake() -> AsyncIterator[FakeOpenAI]:
    """What both lanes ask when their model says so."""
    async with fake_openai() as upstream:
        yield upstream


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(fake: FakeOpenAI) -> AsyncIterator[Server]:
    """The one server behind all proxies."""
    settings: dict[str, Any] = {"disconnect_grace_s": 0, "ping_s": 0.1, "max_body_bytes": BODY_BYTES}
    async with serving(openai_base_url=fake.base_url, fast_timeout_s=20, **settings) as running:
        yield running


@pytest.fixture(scope="module", params=PROXIES)
def front(request: pytest.FixtureRequest, server: Server) -> Iterator[Front]:
    """A proxy that knows where the server is, and nothing of event streams but what RUNBOOK.md asks for."""
    with proxied(Wish(request.param, (server.port,), NEEDED[request.param])) as running:
        yield running


def question(**fields: Any) -> bytes:
    """A question as JSON."""
    return json.dumps({"input": "Why?", "cache": "off", **fields}).encode()


async def answered(port: int, request: bytes) -> Reply:
    """What is answered to a client who stays until the connection is closed.

    Where one left as soon as it had the last byte, a proxy written in Go may close the connection to the server that
    the next question has got by then.
    """
    async with dialled(port, request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)) as (reader, _):
        answer = await asyncio.wait_for(reply(reader), 10)
        assert await asyncio.wait_for(reader.read(), 10) == b""
    return answer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    """A client that keeps its connections, and does not outlive the server."""
    async with httpx.AsyncClient(timeout=10, verify=False) as client:
        yield client


async def arrivals(http: httpx.AsyncClient, port: int, encoding: str = "identity") -> tuple[list[float], bytes]:
    """When the parts of a steady answer came, and what they were, decoded."""
    times, raw = [], b""
    headers = {"accept-encoding": encoding, "content-type": "application/json"}
    address = f"http://127.0.0.1:{port}/v1/reason"
    async with http.stream("POST", address, content=question(**STEADY), headers=headers) as response:
        async for part in response.aiter_bytes():
            times.append(time.perf_counter())
            raw += part
    return times, raw


def longest(times: list[float]) -> float:
    """The longest wait between two parts."""
    return max(later - earlier for earlier, later in itertools.pairwise(times))


async def one_by_one(http: httpx.AsyncClient, front: Front, server: Server, encoding: str) -> None:
    """Hold an answer through the proxy against one past it, asked for at the same moment."""
    (times, raw), (direct, _) = await asyncio.gather(arrivals(http, front.port, encoding), arrivals(http, server.port))
    assert len(valid_stream(raw)) > TOKENS
    assert len(times) > TOKENS * 2 / 3
    assert longest(times) < longest(direct) + LATER_S


async def test_events_come_one_by_one(http: httpx.AsyncClient, front: Front, server: Server) -> None:
    """A proxy passes each event on when it comes."""
    await one_by_one(http, front, server, "identity")


@pytest.mark.parametrize("kind", PROXIES)
async def test_compression_holds_nothing_back(kind: str, http: httpx.AsyncClient, server: Server) -> None:
    """A proxy that is told to compress event streams still passes each event on when it comes."""
    with proxied(Wish(kind, (server.port,), GZIP[kind])) as front:
        await one_by_one(http, front, server, "gzip")


async def test_a_haproxy_without_its_option_joins_events(http: httpx.AsyncClient, server: Server) -> None:
    """Without `option http-no-delay` haproxy holds events for up to 200 ms, loses none, and changes none."""
    with proxied(Wish("haproxy", (server.port,))) as front:
        times, raw = await arrivals(http, front.port)
    assert len(valid_stream(raw)) > TOKENS
    waits = [later - earlier for earlier, later in itertools.pairwise(times) if later - earlier > 0.01]
    assert len(waits) < TOKENS / 2


async def test_the_head_of_a_stream(front: Front, server: Server) -> None:
    """The headers that keep a stream whole and name its run come through; nginx keeps X-Accel-Buffering for itself."""
    answers = [await answered(port, post(question(), "X-Request-ID: abc")) for port in (front.port, server.port)]
    through, direct = (answer.headers for answer in answers)
    changed = {"date", "server", "connection", "x-run-id"} | ({"x-accel-buffering"} if front.kind == "nginx" else set())
    assert {name: through.get(name) for name in direct.keys() - changed} == {
        name: direct[name] for name in direct.keys() - changed
    }
    assert through["cache-control"] == "no-cache, no-transform"
    assert (through["x-request-id"], "x-run-id" in through) == ("abc", True)


async def test_keep_alives_come_while_models_think(front: Front) -> None:
    """Keep-alives of a silent stream come through one by one, so that no proxy finds it idle."""
    async with dialled(front.port, post(question(**HANG))) as (reader, _):
        await reader.readuntil(b"event: lane_end")
        begun = time.perf_counter()
        for _ in range(3):
            await asyncio.wait_for(reader.readuntil(b": ping\n"), 2)
        assert time.perf_counter() - begun < 0.3 + LATER_S * 2


@pytest.mark.parametrize("model", ["500t-20ms", "5t-stall0"], ids=["talking", "silent"])
async def test_upstream_hears_of_a_leaving(model: str, front: Front, fake: FakeOpenAI) -> None:
    """When a client leaves the proxy, upstream's connections are closed within a second of the grace."""
    lane = {"model": f"openai:{model}"}
    async with dialled(front.port, post(question(fast=lane, slow=lane))) as (reader, writer):
        await reader.readuntil(b"event: start")
        await eventually(lambda: fake.stats.active == 2)
        writer.close()
        await fake.until_idle(1.0)


async def test_a_large_body_arrives_whole(front: Front, fake: FakeOpenAI) -> None:
    """A question of hundreds of kilobytes, any character in it, reaches the models as it was sent."""
    asked = "“Why?” \U0001f600\u2028" * 8_000
    lane = {"model": "openai:1t"}
    answer = await answered(front.port, post(question(input=asked, fast=lane, slow=lane, stream=False)))
    assert (answer.status, answer.json()["done"]["status"]) == (200, "completed")
    assert fake.received[-1].body["messages"][-1]["content"] == asked


async def test_large_headers_arrive(front: Front) -> None:
    """Headers of a few kilobytes, as cookies and tokens are, do not get in the way."""
    large = [f"{name}: {'x' * 3500}" for name in ("Cookie", "Authorization", "X-Anything")]
    assert (await answered(front.port, post(question(stream=False), *large))).status == 200


async def test_a_stream_is_resumed(front: Front, server: Server) -> None:
    """A client that comes back through the proxy gets the rest to the byte; after `done` there is nothing, a 204."""
    whole = (await answered(front.port, post(question()))).body
    run_id, last = (events := read_events(whole))[0].run_id, events[-1].seq
    for seen, status in ((2, 200), (last, 204)):
        for target in (f"/v1/runs/{run_id}/events", "/v1/reason"):
            rest = await answered(front.port, head("GET", target, f"Last-Event-ID: {run_id}:{seen}"))
            assert rest.status == status
            assert whole.endswith(rest.body)
            assert [event.seq for event in read_events(rest.body)] == list(range(seen + 1, last + 1))


async def test_a_run_is_cancelled(front: Front) -> None:
    """A cancel goes through, and the stream that is open meanwhile ends with `done`."""
    async with dialled(front.port, post(question(**HANG))) as (reader, _):
        await reader.readuntil(b"event: lane_end")
        run_id = (await reader.readuntil(b"\ndata")).partition(b"id: ")[2].partition(b":")[0].decode()
        cancelled = await answered(front.port, head("POST", f"/v1/runs/{run_id}/cancel", "Content-Length: 0"))
        rest = await asyncio.wait_for(reader.readuntil(b"event: done"), 5)
        assert b'"cancelled"' in rest + await reader.readuntil(b"\n\n")
    assert (cancelled.status, cancelled.json()["run_id"]) == (200, run_id)


REFUSED = {
    "malformed": post(b"{"),
    "unknown field": post(question(colour="red")),
    "wrong type": head("POST", "/v1/reason", "Content-Type: text/plain", "Content-Length: 2") + b"{}",
    "too large": post(question(input="x" * BODY_BYTES * 2)),
    "unknown run": head("GET", "/v1/runs/01a202f6-e1c5-7238-a445-8267d231f009/events"),
    "bad id": head("GET", "/v1/reason", "Last-Event-ID: garbage"),
    "wrong method": head("DELETE", "/v1/reason"),
    "foreign page": post(question(), "Sec-Fetch-Site: cross-site"),
}


@pytest.mark.parametrize("request_bytes", REFUSED.values(), ids=REFUSED.keys())
async def test_refusals_stay_as_they_are(request_bytes: bytes, front: Front, server: Server) -> None:
    """A refusal comes through with its status, its code and its media type."""

    def told(answer: Reply) -> tuple[Any, ...]:
        """What a client goes by."""
        return answer.status, answer.headers["content-type"], answer.json()["code"], answer.json()["detail"]

    through, direct = [told(await answered(port, request_bytes)) for port in (front.port, server.port)]
    assert through == direct
    assert through[1] == "application/problem+json"


@pytest.mark.parametrize("kind", PROXIES)
async def test_a_public_name(kind: str, server: Server) -> None:
    """A server on loopback is reached by any name once the proxy calls it by a loopback one."""
    asked = head("GET", "/health/live", host="tandem.example")
    with proxied(Wish(kind, (server.port,), NEEDED[kind], LOCAL_NAME[kind])) as front:
        # caddy serves the names it was told, and here that is the address
        assert kind == "caddy" or (await answered(front.port, asked)).status == 200
    assert (await answered(server.port, asked)).json()["code"] == "foreign_page"
