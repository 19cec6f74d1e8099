"""Replies to a client of HTTP/1.0, whom nothing but the end of the connection tells that all has come."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from servers import eventually
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send
from wire import dialled, head

from app.http.server import bind, build

OLD = head("GET", "/").replace(b"HTTP/1.1", b"HTTP/1.0", 1)


async def heard(*pieces: bytes, broken: bool = False) -> bytes:
    """The body of a stream of these pieces; broken: it fails behind them."""

    async def body() -> AsyncIterator[bytes]:
        """The pieces."""
        for piece in pieces:
            yield piece
        if broken:
            raise RuntimeError("the database went away")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        """Answers everything with that."""
        await StreamingResponse(body())(scope, receive, send)

    async def drain(_: float) -> None:
        """There are no runs."""

    listener = bind("127.0.0.1", 0)
    server = build(app, drain, 0.0)
    serving = asyncio.create_task(server._serve([listener]))
    try:
        await eventually(lambda: server.started)
        async with dialled(listener.getsockname()[1], OLD) as (reader, _):
            return (await reader.read()).partition(b"\r\n\r\n")[2]
    finally:
        server.should_exit = True
        await asyncio.wait_for(serving, 5)


async def test_a_piece_of_nothing_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    """A stream may have nothing to say for once, as at the end of an export; the client gets the rest of it."""
    assert await heard(b"a", b"", b"\r\n0\r\n\r\n", b"") == b"a\r\n0\r\n\r\n"
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_reply_that_is_broken_off_does_not_look_whole() -> None:
    """A stream that fails in the middle is reset, where the end of the connection is the end of a whole one."""
    with pytest.raises(ConnectionResetError):
        await heard(b"a", broken=True)
