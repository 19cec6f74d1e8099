"""A server with more questions than places: who waits says so, who leaves is forgotten, who is refused is told why."""

import asyncio
import contextlib
import re
from typing import Any

import pytest
from servers import Server, eventually, serving
from starlette.datastructures import Headers
from starlette.types import Scope
from wire import Reply, dialled, head, post, reply, tell, valid_stream

from app.admission.load import Load
from app.question import Caller, Grant

HANG: dict[str, Any] = {"fast_model": "scripted:hang", "slow_model": "scripted:hang", "disconnect_grace_s": 0}
QUESTION = post(b'{"input": "Why?", "cache": "off"}')
STUCK = post(
    b'{"input": "Why?", "cache": "off", "fast": {"model": "scripted:hang"}, "slow": {"model": "scripted:hang"}}'
)
SAME = post(b'{"input": "Why?"}')


def gate(server: Server) -> Load:
    """The gate of that server."""
    found = server.parts.answers.desk._gate
    assert isinstance(found, Load)
    return found


def code(told: Reply) -> tuple[int, str, bool]:
    """Status and code of a refusal, and whether it says when to come again."""
    return told.status, told.json()["code"], "retry-after" in told.headers


async def test_who_waited_says_so_in_start() -> None:
    """A question that waited for a place tells for how long in `start`, and then runs like any other."""
    async with serving(load_max_races=1, disconnect_grace_s=0) as server:
        async with dialled(server.port, STUCK) as (reader, _):
            await reader.readuntil(b'"queued_ms":0,')
            waiting = asyncio.create_task(tell(server.port, QUESTION))
            await eventually(lambda: gate(server).waiting == 1)
            await asyncio.sleep(0.03)
        assert valid_stream((await waiting).body)[0].data["queued_ms"] >= 30


async def test_more_than_may_wait_are_refused() -> None:
    """Beyond the line a question is a 503 at once, one that waits in vain one in time; both say when to come again."""
    async with serving(load_max_races=1, queue_length=1, queue_timeout_s=0.3, **HANG) as server:
        async with dialled(server.port, QUESTION):
            await eventually(lambda: server.runs.live)
            waiting = asyncio.create_task(tell(server.port, QUESTION))
            await eventually(lambda: gate(server).waiting)
            assert code(await tell(server.port, QUESTION)) == (503, "queue_full", True)
            assert code(await waiting) == (503, "queue_timeout", True)
        assert gate(server).refused == {"queue_full": 1, "queue_timeout": 1}


async def test_who_leaves_while_it_waits_is_forgotten() -> None:
    """A client that leaves while its question waits takes no place later, and nothing of it is left."""
    async with serving(load_max_races=1, queue_timeout_s=30, **HANG) as server:
        async with dialled(server.port, QUESTION):
            await eventually(lambda: server.runs.live)
            async with dialled(server.port, QUESTION):
                await eventually(lambda: gate(server).waiting == 1)
            await eventually(lambda: gate(server).waiting == 0)
        await eventually(lambda: gate(server).racing == 0)
        assert server.journal is not None
        assert len(server.journal.openings) == 1


async def test_a_slow_body_is_no_wait() -> None:
    """What a client takes to send its question is no part of the time that it waits for a place."""
    loop = asyncio.get_running_loop()
    async with serving(load_max_races=1, **HANG) as server, contextlib.AsyncExitStack() as first:
        await first.enter_async_context(dialled(server.port, QUESTION))
        await eventually(lambda: server.runs.live)
        async with dialled(server.port, QUESTION[:-1]) as (reader, writer):
            await asyncio.sleep(0.05)
            began = loop.time()
            writer.write(QUESTION[-1:])
            await eventually(lambda: gate(server).waiting == 1)
            await first.aclose()
            await reader.readuntil(b'"queued_ms":')
            waited_ms = int(re.findall(rb"\d+", await reader.readuntil(b","))[0])
            assert waited_ms <= (loop.time() - began) * 1000 + 1


async def test_who_waits_for_who_waits_is_told_in_time() -> None:
    """Twenty who ask the same behind one that waits in vain are all told in its time, not one after another."""
    async with serving(load_max_races=1, queue_timeout_s=0.1, **HANG) as server, dialled(server.port, QUESTION):
        await eventually(lambda: server.runs.live)
        async with asyncio.timeout(1.0):
            told = await asyncio.gather(*(tell(server.port, SAME) for _ in range(20)))
        assert {code(each) for each in told} == {(503, "queue_timeout", True)}


async def test_what_is_shared_or_stored_needs_no_place() -> None:
    """While every place is taken a live run is still joined and a stored answer told again."""
    slow = "scripted:slow?first=0.05&gap=0"
    async with serving(load_max_races=1, queue_length=0, slow_model=slow) as server:
        stored = await tell(server.port, SAME)
        other = post(b'{"input": "Who?"}')
        live = [asyncio.create_task(tell(server.port, other)) for _ in range(3)]
        await eventually(lambda: gate(server).racing)
        again = await tell(server.port, SAME)
        sources = [answer.headers["x-run-source"] for answer in (stored, again, *await asyncio.gather(*live))]
        assert sources[:2] == ["live", "cache"]
        assert sorted(sources[2:]) == ["attached", "attached", "live"]


async def test_the_end_tells_who_waits(dsn: str) -> None:
    """At a shutdown whoever waits is told to ask another server, at once."""
    async with serving(dsn, load_max_races=1, queue_timeout_s=30, **HANG) as server, dialled(server.port, QUESTION):
        await eventually(lambda: server.runs.live)
        waiting = asyncio.create_task(tell(server.port, QUESTION))
        await eventually(lambda: gate(server).waiting)
        drained = asyncio.create_task(server.drain(30))
        assert code(await asyncio.wait_for(waiting, 5)) == (503, "shutting_down", True)
        assert not drained.done()  # the run that is live goes on
    await drained


async def begins(server: Server, request: bytes) -> int:
    """The status with which a stream begins that is not read further."""
    async with dialled(server.port, request) as (reader, _):
        return int((await reader.readline()).split()[1])


async def named(headers: Headers, scope: Scope) -> Caller:  # the shape of an identification
    """Whoever a header names; `few` may have one stream."""
    name = headers.get("x-caller", "anon")
    return Caller(name, grant=Grant(streams=1 if name == "few" else None))


@pytest.mark.parametrize(("name", "most"), [("few", 1), ("many", 3)])
async def test_streams_of_a_caller_are_bounded(name: str, most: int) -> None:
    """One more stream than a caller may have is a 429, however it is asked for; another caller's is not."""
    keyed: dict[str, Any] = {"auth": "iap", "iap_audience": "/x", "guard": False, "load_streams_per_caller": 3}
    as_name = f"X-Caller: {name}"
    asked, others = (post(b'{"input": "Why?", "cache": "off"}', who) for who in (as_name, "X-Caller: other"))
    async with serving(identify=named, **keyed, **HANG) as server, contextlib.AsyncExitStack() as rest:
        async with dialled(server.port, asked):
            for _ in range(most - 1):
                await rest.enter_async_context(dialled(server.port, asked))
            await eventually(lambda: server.runs.open_streams == most)
            events = f"/v1/runs/{next(iter(server.runs._live))}/events"
            ways = ("/v1/reason?input=Why", events, f"{events}%0A")
            for request in (asked, *(head("GET", way, as_name) for way in ways)):
                assert code(await tell(server.port, request)) == (429, "too_many_streams", True)
            assert (await tell(server.port, head("GET", "/api/experiments", as_name))).status == 200
            assert await begins(server, others) == 200
        await eventually(lambda: server.runs.open_streams < most)
        assert await begins(server, asked) == 200


async def test_a_late_server_refuses_new_runs_alone() -> None:
    """While the loop is late a question that needs a race is a 503; what is live or stored goes on."""
    async with serving(load_max_lag_s=0.2) as server:
        stored = await tell(server.port, SAME)
        gate(server)._strain = lambda: "the server is 0.30 s late"
        assert code(await tell(server.port, QUESTION)) == (503, "overloaded", True)
        assert (await tell(server.port, SAME)).headers["x-run-source"] == "cache"
        assert (await tell(server.port, head("GET", "/health/live"))).status == stored.status == 200


async def test_a_place_is_free_when_its_run_has_ended() -> None:
    """Questions one after another on one place leave it free, whatever became of their clients."""
    async with serving(load_max_races=1, queue_timeout_s=5, disconnect_grace_s=0) as server:
        for number in range(20):
            async with dialled(server.port, QUESTION) as (reader, _):
                if number % 2:
                    await reply(reader)
        await eventually(lambda: (gate(server).racing, gate(server).waiting) == (0, 0))
