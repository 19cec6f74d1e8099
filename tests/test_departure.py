"""How a response learns that its client has gone: from our own server, and by asking any other."""

import asyncio
from typing import Any

import pytest
from servers import eventually, serving
from starlette.types import Message
from wire import dialled, post

from app.http.departure import CONNECTION, Departure, is_whole

HANG = "scripted:hang"
LARGE = b"x" * 300_000  # more than the server takes in at once
BODIES = [b'{"input": "%s"}' % LARGE, b'{"input": "%s", "stream": false}' % LARGE]


@pytest.mark.parametrize("body", BODIES, ids=["a stream", "one object"])
async def test_leaving_behind_a_large_body_is_noticed(body: bytes) -> None:
    """A client whose body filled the server's buffer is seen to leave like any other."""
    async with serving(disconnect_grace_s=0, fast_model=HANG, slow_model=HANG) as server:
        async with dialled(server.port, post(body)):
            await eventually(lambda: server.runs.live)
        await eventually(lambda: server.runs.live == 0, 0.5)


async def test_leaving_behind_a_large_body_that_is_not_looked_at_is_noticed() -> None:
    """A client that came back with its whole question, which nobody needs, is seen to leave."""
    hanging = serving(disconnect_grace_s=0, fast_model=HANG, slow_model=HANG)
    async with hanging as server, dialled(server.port, post(BODIES[0])):
        await eventually(lambda: server.runs.open_streams == 1)
        [run] = server.runs._live.values()
        async with dialled(server.port, post(BODIES[0], f"Last-Event-ID: {run.run_id}:0")):
            await eventually(lambda: run.readers == 2)
        await eventually(lambda: run.readers == 1, 0.5)
        assert not run.stopping.done()


async def test_any_other_server_is_asked() -> None:
    """Without our server's word the client is gone when the server says so, and not with the rest of a body."""
    messages: list[Message] = [{"type": "http.disconnect"}, {"type": "http.request"}]
    left: list[int] = []

    async def receive() -> Message:
        """What the server says of the client."""
        return messages.pop()

    with Departure({"type": "http"}, receive, lambda: left.append(len(messages))):
        await eventually(lambda: left)
    assert left == [0]


@pytest.mark.parametrize("ours", [True, False])
async def test_nothing_is_told_after_the_end(ours: bool) -> None:
    """A response that has ended is told nothing, and leaves no task."""
    lost = asyncio.get_running_loop().create_future()
    scope: dict[str, Any] = {"extensions": {CONNECTION: {"lost": lost}}} if ours else {}
    left: list[bool] = []

    async def receive() -> Message:
        """What the server says of the client."""
        await asyncio.shield(lost)
        return {"type": "http.disconnect"}

    with Departure(scope, receive, lambda: left.append(True)):
        await asyncio.sleep(0)
    lost.set_result(None)
    await asyncio.sleep(0.01)
    assert left == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_one_who_left_before_is_told() -> None:
    """A connection that was lost before the response began is told as well."""
    lost = asyncio.get_running_loop().create_future()
    lost.set_result(None)
    left: list[bool] = []

    async def receive() -> Message:
        """What the server says of the client."""
        raise AssertionError

    with Departure({"extensions": {CONNECTION: {"lost": lost}}}, receive, lambda: left.append(True)):
        await asyncio.sleep(0)
    assert left == [True]


def test_whether_all_has_come_is_our_server_s_to_say() -> None:
    """A request is whole when our server says so; of any other server's it is not known."""
    assert is_whole({"extensions": {CONNECTION: {"lost": None, "whole": True}}})
    assert not is_whole({"extensions": {CONNECTION: {"lost": None}}})
    assert not is_whole({"extensions": {}})
    assert not is_whole({})
