"""A reply that ends a connection reaches a client who is still sending, as proxies are that speak HTTP/1.0 to us."""

import asyncio

import pytest
from servers import eventually, serving
from wire import dialled, head, reply

from app.http import connection

BODY = b"x" * 4_000_000
CLOSING = head("POST", "/v1/reason", "Content-Type: text/plain", f"Content-Length: {len(BODY)}", "Connection: close")


async def test_a_refusal_reaches_who_is_still_sending() -> None:
    """A request that is refused before its body is read, on a connection that is to close, gets its reply."""
    async with serving() as server, dialled(server.port, CLOSING + BODY) as (reader, _):
        answer = await asyncio.wait_for(reply(reader), 5)
        assert (answer.status, answer.json()["code"]) == (415, "unsupported_media_type")
        assert await asyncio.wait_for(reader.read(), 5) == b""
        await eventually(lambda: server.connections == 0)


async def test_nobody_sends_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has had the reply and does not finish the request is hung up on after a while."""
    monkeypatch.setattr(connection, "LINGER_S", 0.05)
    async with serving() as server, dialled(server.port, CLOSING + b"x") as (reader, _):
        assert (await asyncio.wait_for(reply(reader), 5)).status == 415
        await eventually(lambda: server.connections == 0)
