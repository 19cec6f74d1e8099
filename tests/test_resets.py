"""Clients that reset their connection before the first byte leave nothing behind; one that comes back gets the rest."""

import asyncio
import socket
from typing import Any

import pytest
import uvloop
from fake_openai import FakeOpenAI, fake_openai
from servers import Server, assert_quiet, eventually, serving
from wire import dialled, head, post, read_events, reply, reset, tell, valid_stream

MANY = pytest.mark.parametrize("resets", [48, pytest.param(500, marks=pytest.mark.long)])
# Each wants a run of its own.
QUESTION = post(b'{"input": "Why?", "cache": "off"}')
BY_URL = head("GET", "/v1/reason?input=Why&cache=off")
WHOLE = post(b'{"input": "Why?", "cache": "off", "stream": false}')
# How long a client stays, in seconds: gone before it is accepted, while the run opens, while the models are silent.
STAYS = (None, 0.0, 0.001, 0.004)


def models(upstream: FakeOpenAI, name: str) -> dict[str, Any]:
    """Both lanes on the fake upstream."""
    return {"fast_model": f"openai:{name}", "slow_model": f"openai:{name}-think1", "openai_base_url": upstream.base_url}


async def ask_and_reset(port: int, request: bytes, stays_s: float | None) -> None:
    """Ask, stay a little, and reset."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(request)
    if stays_s is not None:
        await asyncio.sleep(stays_s)
    reset(connection)


async def reset_many(server: Server, resets: int) -> None:
    """Reset connections; within a second no run, task or connection is left, and every run tells why it ended."""
    for number in range(resets):
        await ask_and_reset(server.port, (QUESTION, BY_URL, WHOLE)[number % 3], STAYS[number % len(STAYS)])
    await assert_quiet(server, 1.0)
    await eventually(lambda: server.connections == 0, 1.0)
    assert server.journal is not None
    assert len(server.journal.closings) == len(server.journal.openings) > 0
    assert {closing.reason for closing in server.journal.closings} == {"client_gone"}


@MANY
async def test_resets_leave_nothing(resets: int) -> None:
    """Connections reset before the first byte leave no run, task or connection after a second, nor one upstream."""
    async with fake_openai() as upstream, serving(disconnect_grace_s=0, **models(upstream, "20t-5000ttft")) as server:
        await reset_many(server, resets)
        stats = upstream.stats
        await eventually(lambda: stats.open_connections == 0, 1.0)
        assert (stats.active, stats.aborted, stats.done) == (0, stats.requests, 0)
        assert stats.requests > 0


@MANY
def test_resets_leave_nothing_on_the_loop_of_production(resets: int) -> None:
    """The same holds on uvloop, whose transports are not asyncio's."""

    async def main() -> None:
        """On the loop of its own."""
        async with serving(disconnect_grace_s=0, fast_model="scripted:hang", slow_model="scripted:hang") as server:
            await reset_many(server, resets)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


async def _reset_midway(server: Server) -> bytes:
    """Ask, read until the first token came, and leave."""
    raw = b""
    async with dialled(server.port, QUESTION) as (reader, _):
        await reader.readuntil(b"\r\n\r\n")
        while b"event: delta" not in raw:
            size = int(await reader.readline(), 16)
            raw += (await reader.readexactly(size + 2))[:-2]
    return raw


async def test_a_client_that_comes_back_gets_the_rest() -> None:
    """Within the default grace a client that was cut off resumes with no gap, and no model is asked again."""
    async with fake_openai() as upstream, serving(**models(upstream, "20t-10ms")) as server:
        raw = await _reset_midway(server)
        last = read_events(raw)[-1]
        await eventually(lambda: next(iter(server.runs._live.values())).readers == 0)
        back = await tell(server.port, head("GET", "/v1/reason?input=Why", f"Last-Event-ID: {last.run_id}:{last.seq}"))
        events = valid_stream(raw + back.body)
        assert (events[-1].data["status"], upstream.stats.requests) == ("completed", 2)


async def test_a_client_cut_off_before_the_first_byte_finds_its_run() -> None:
    """A run whose client was reset before the first byte goes on for the grace; asking for it starts no second race."""
    async with fake_openai() as upstream, serving(**models(upstream, "20t-50ttft")) as server:
        await ask_and_reset(server.port, QUESTION, 0.02)
        await eventually(lambda: upstream.stats.requests == 2)
        run_id = next(iter(server.runs._live))
        back = await tell(server.port, head("GET", f"/v1/runs/{run_id}/events"))
        assert valid_stream(back.body)[-1].data["status"] == "completed"
        assert upstream.stats.requests == 2


async def test_keep_alive_after_a_cancelled_stream_does_not_leak() -> None:
    """A connection whose stream was cancelled by another one takes the next request."""
    async with fake_openai() as upstream, serving(**models(upstream, "20t-5000ttft")) as server:
        async with dialled(server.port, QUESTION + head("GET", "/health/live")) as (reader, _):
            await eventually(lambda: upstream.stats.requests == 2)
            run_id = next(iter(server.runs._live))
            await tell(server.port, head("POST", f"/v1/runs/{run_id}/cancel", "Content-Length: 0"))
            assert valid_stream((await reply(reader)).body)[-1].data["status"] == "cancelled"
            assert (await reply(reader)).status == 200
        await eventually(lambda: upstream.stats.open_connections == 0, 0.25)
