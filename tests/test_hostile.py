"""Clients that mean harm, on real sockets: each is bounded in time and memory, told once in the log, hurts nobody."""

import asyncio
import contextlib
import gzip
import json
import logging
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from clock import jump
from servers import Server, assert_quiet, eventually, serving
from wire import deaf, dialled, head, post, reply, tell, valid_stream

from app.http import connection, notices
from app.http.connection import MAX_HEADERS, MAX_PIPELINED, Bounds
from app.http.notices import Notices
from app.http.server import build
from app.http.stream import WRITE_BYTES

QUESTION = post(b'{"input": "Why?", "cache": "off"}')
LIVE = head("GET", "/health/live")
_NEVER = {"model": "scripted:hang"}
HANGING = post(json.dumps({"input": "Why?", "cache": "off", "fast": _NEVER, "slow": _NEVER}).encode())
QUICK_S = 0.05
# For a head: short only where one is late, and not so short that a busy machine takes a good one for late.
HEAD_S = 0.15
BEGUN = head("POST", "/v1/reason", "Content-Type: application/json")[:-2]


@contextlib.asynccontextmanager
async def besieged(caplog: pytest.LogCaptureFixture, *said: str, **settings: Any) -> AsyncIterator[Server]:
    """A server that is attacked; afterwards it answers as before, and has said so much and no more."""
    with caplog.at_level(logging.WARNING):
        async with serving(**settings) as server:
            yield server
            await eventually(lambda: server.connections == 0)
            assert valid_stream((await tell(server.port, QUESTION)).body)[-1].data["status"] == "completed"
            await assert_quiet(server)
    told = [record.getMessage() for record in caplog.records if record.name == notices.__name__]
    assert len(told) == len(said)
    assert all(words in line for words, line in zip(said, told, strict=True))


async def ends(port: int, *pieces: bytes, every_s: float = 0.01) -> bytes:
    """What a client hears until it is cut off that sends these pieces, and the last of them again and again."""
    async with dialled(port, pieces[0]) as (reader, writer):
        heard = asyncio.create_task(_hear(reader))
        number = 1
        while not heard.done():
            await asyncio.wait([heard], timeout=every_s)
            writer.write(pieces[min(number, len(pieces) - 1)])
            number += 1
        return heard.result()


async def _hear(reader: asyncio.StreamReader) -> bytes:
    """Everything that comes before the end, however that comes."""
    heard = b""
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(65_536):
            heard += piece
    return heard


def watched(monkeypatch: pytest.MonkeyPatch, callback: str) -> list[bytes]:
    """What the parser goes on to tell the protocol by that callback."""
    seen, original = [], getattr(connection.Protocol, callback)

    def tell(self: connection.Protocol, *told: bytes) -> None:
        """Note it, and pass it on."""
        seen.append(told[0])
        original(self, *told)

    monkeypatch.setattr(connection.Protocol, callback, tell)
    return seen


SLOW_HEADS = {
    "a line at a time": (b"GET / HTTP/1.1\r\n", b"X-A: b\r\n"),
    "a byte at a time": (b"G", b"E", b"T", b" ", b"/", b"a"),
    "empty lines": (b"\r\n", b"\r\n"),
    "behind an answer": (LIVE + b"GET /", b"x"),
    "empty lines behind an answer": (LIVE, b"\r\n"),
}


@pytest.mark.parametrize("name", SLOW_HEADS)
async def test_a_slow_head_is_cut_off(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """A head that trickles in is answered 408 when its time is over, however steadily it comes."""
    async with besieged(caplog, "did not come in time", load_head_timeout_s=HEAD_S) as server:
        async with asyncio.timeout(5):
            heard = await ends(server.port, *SLOW_HEADS[name])
        assert b"HTTP/1.1 408" in heard
        assert server.runs.live == 0


async def test_who_says_nothing_is_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    """Two hundred connections on which nothing is said end without a word, and with one line in the log."""
    siege = besieged(caplog, "did not come in time", load_head_timeout_s=HEAD_S)
    async with siege as server, contextlib.AsyncExitStack() as stack:
        idle = [await stack.enter_async_context(dialled(server.port)) for _ in range(200)]
        async with asyncio.timeout(5):
            assert {await reader.read() for reader, _ in idle} == {b""}
        assert (await tell(server.port, LIVE)).status == 200


async def test_a_slow_head_behind_a_stream_waits_for_it(caplog: pytest.LogCaptureFixture) -> None:
    """The stream of a client that has begun its next request is not cut by that; the request then is."""
    lasting = {"fast_model": "scripted:fast?first=0.25&gap=0", "slow_model": "scripted:slow?first=0.25&gap=0"}
    siege = besieged(caplog, "did not come in time", load_head_timeout_s=HEAD_S, **lasting)
    async with siege as server, dialled(server.port, QUESTION + b"GET / HT") as (reader, _), asyncio.timeout(5):
        assert valid_stream((await reply(reader)).body)[-1].data["status"] == "completed"
        assert (await reader.read()).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("framing", ["Content-Length: 1000000", "Transfer-Encoding: chunked"])
async def test_a_slow_body_is_cut_off(
    framing: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body that trickles in is refused, and then the connection of who goes on with it ends."""
    monkeypatch.setattr("app.http.body.BODY_TIMEOUT_S", QUICK_S)
    monkeypatch.setattr(connection, "LINGER_S", QUICK_S)
    async with besieged(caplog, "body that had been refused") as server:
        begun, piece = BEGUN + framing.encode() + b"\r\n\r\n", b"1\r\n \r\n" if "chunked" in framing else b" "
        async with asyncio.timeout(5):
            heard = await ends(server.port, begun, piece)
        assert b"HTTP/1.1 422" in heard
        assert server.runs.live == 0


async def _pour(port: int, beginning: bytes, piece: bytes) -> int:
    """How many bytes can be sent, of 2 GB, before the connection is cut."""
    sent = 0
    async with dialled(port, beginning) as (_, writer):
        with contextlib.suppress(ConnectionError):
            while sent < 2 << 30:
                writer.write(piece)
                sent += len(piece)
                await writer.drain()
                await asyncio.sleep(0)  # lets the server, in the same loop, read as fast as we write
    return sent


@pytest.mark.parametrize("path", ["/v1/reason", "/v1/runs/x/cancel", "/nowhere"])
@pytest.mark.parametrize("framing", ["Content-Length: 2147483648", "Transfer-Encoding: chunked"])
async def test_a_body_of_two_gigabytes_is_cut_off(path: str, framing: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever is asked, a huge body is read a little further than its refusal, and never to its end."""
    async with besieged(caplog, "body that had been refused") as server:
        piece = b"10000\r\n" + b" " * 65536 + b"\r\n" if "chunked" in framing else b" " * 65536
        begun = head("POST", path, "Content-Type: application/json", framing)
        assert await _pour(server.port, begun, piece) < connection.LINGER_BYTES + (16 << 20)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity, gzip"])
async def test_a_compressed_body_is_refused(encoding: str, caplog: pytest.LogCaptureFixture) -> None:
    """A body that would have to be unpacked is a 415; nobody unpacks it."""
    bomb = gzip.compress(json.dumps({"input": "a" * (8 << 20)}).encode())
    async with besieged(caplog) as server:
        told = await tell(server.port, post(bomb, f"Content-Encoding: {encoding}"))
        assert (told.status, told.json()["code"]) == (415, "unsupported_media_type")
        assert "content-encoding" in told.json()["detail"]
        plain = await tell(server.port, post(b'{"input": "Why?"}', "Content-Encoding: identity"))
        assert plain.status == 200


@pytest.mark.parametrize("count", [MAX_HEADERS, 10_000])
async def test_too_many_headers_are_refused(count: int, caplog: pytest.LogCaptureFixture) -> None:
    """More headers than a request may have are a 400, though they are short; as many as it may are none."""
    async with besieged(caplog, "head of a request was too large") as server:
        told = await tell(server.port, b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"a:\r\n" * count + b"\r\n")
        assert told.status == 400
        most = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n" + b"a:\r\n" * (MAX_HEADERS - 1) + b"\r\n"
        assert (await tell(server.port, most)).status == 200


async def test_a_head_is_not_read_beyond_its_bound(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of ten thousand headers that came in one read those beyond the bound are not even parsed."""
    seen = watched(monkeypatch, "on_header")
    async with besieged(caplog, "head of a request was too large") as server:
        told = await tell(server.port, b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"a:\r\n" * 10_000 + b"\r\n")
        assert (told.status, len(seen)) == (400, MAX_HEADERS + 1)


@pytest.mark.parametrize("earlier", [0, 1])
async def test_who_is_heard_out_is_not_kept(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, earlier: int
) -> None:
    """A client that is refused for an address, and does not leave, is left after a while, whatever it asked before."""
    monkeypatch.setattr(connection, "LINGER_S", 0.05)
    async with besieged(caplog, "head of a request was too large") as server, dialled(server.port) as (reader, writer):
        for _ in range(earlier):
            writer.write(LIVE)
            assert (await reply(reader)).status == 200
        writer.write(b"GET /" + b"a" * 66_000 + b" HTTP/1.1\r\n\r\n")
        assert (await reply(reader)).status == 400
        await eventually(lambda: server.connections == 0, 1)


async def test_a_flood_of_pipelined_requests_is_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    """A client that sends requests and waits for no answer is cut off beyond a few; that few are all answered."""
    async with besieged(caplog, "before their answers") as server:
        async with dialled(server.port, LIVE * (MAX_PIPELINED + 1)) as (reader, _):
            assert {(await reply(reader)).status for _ in range(MAX_PIPELINED + 1)} == {200}
        async with dialled(server.port, LIVE * 5000) as (reader, _):
            with contextlib.suppress(ConnectionError):
                await reader.read()


@pytest.mark.parametrize("first", ["stream", "last word"])
async def test_leaving_with_requests_in_line_is_no_fault(first: str, caplog: pytest.LogCaptureFixture) -> None:
    """A client that leaves, or is left, while a request of its waits behind the one that is answered, is no error."""
    last = post(b"{}", "Connection: keep-alive").replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    begun = head("POST", "/nowhere", "Content-Length: 9")
    async with besieged(caplog, disconnect_grace_s=0) as server:
        async with dialled(server.port, (HANGING if first == "stream" else last) + begun) as (reader, _):
            if first == "stream":
                await reader.readuntil(b"event: start")
            else:
                assert (await reader.read()).count(b"HTTP/1.1 ") == 1
        await eventually(lambda: server.connections == 0, 1)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_what_lies_behind_the_end_is_not_read(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a flood that came in one read no request is parsed any more once the connection has ended."""
    seen = watched(monkeypatch, "on_url")
    async with besieged(caplog, "before their answers") as server, dialled(server.port, LIVE * 2000) as (reader, _):
        with contextlib.suppress(ConnectionError):
            await reader.read()
        flood = len(seen)
    assert flood < MAX_PIPELINED * 4


async def test_refusals_do_not_cut_into_a_stream(caplog: pytest.LogCaptureFixture) -> None:
    """What is wrong behind a request whose answer is under way ends the connection and puts no word into the answer."""
    async with besieged(caplog, "no HTTP/1.1") as server:
        async with dialled(server.port, QUESTION) as (reader, writer):
            begun = await reader.readuntil(b"event: start")
            writer.write(b"\x16\x03\x01 no HTTP at all\r\n\r\n")
            rest = b""
            with contextlib.suppress(ConnectionError):
                rest = await reader.read()
        assert b"400" not in begun + rest


async def test_a_refusal_takes_the_place_of_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    """What is wrong behind a question whose answer has not begun is told instead; the client has left, by no fault."""
    async with besieged(caplog, "no HTTP/1.1", disconnect_grace_s=0) as server:
        assert (await tell(server.port, HANGING + b"\x16 garbage\r\n\r\n")).status == 400
        await eventually(lambda: server.connections == 0, 1)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_nothing_is_said_behind_the_last_word(caplog: pytest.LogCaptureFixture) -> None:
    """What is wrong in the rest of a body behind an answer that ends its connection gets no second answer."""
    begun = head("POST", "/nowhere", "Connection: close", "Transfer-Encoding: chunked")
    async with besieged(caplog, "no HTTP/1.1") as server:
        async with dialled(server.port, begun) as (reader, writer):
            assert (await reply(reader)).status == 404
            writer.write(b"no number of a chunk\r\n")
            assert await reader.read() == b""
            await eventually(lambda: len(caplog.records) > 0, 1)
        await eventually(lambda: server.connections == 0, 1)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_storm_of_garbage_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """A hundred connections with garbage are each told 400, and the log is told once."""
    async with besieged(caplog, "no HTTP/1.1") as server:
        for _ in range(100):
            assert (await tell(server.port, b"\x16\x03\x01\x02\x00\x01\r\n\r\n")).status == 400


def test_a_flood_is_summed_up(caplog: pytest.LogCaptureFixture) -> None:
    """The first of its kind is told at once, the others in a line every ten seconds, and a later one at once again."""

    async def main() -> None:
        """Three hundred at once, two a little later, one after a calm."""
        told = Notices()
        for _ in range(300):
            told.tell("malformed", "192.0.2.1")
        told.tell("never_read", "192.0.2.2")
        await asyncio.sleep(15)
        for _ in range(2):
            told.tell("malformed", "192.0.2.1")
        await asyncio.sleep(30)
        told.tell("malformed", "192.0.2.3")
        await asyncio.sleep(11)
        assert told.counts == {"malformed": 303, "never_read": 1}

    with caplog.at_level(logging.WARNING):
        jump(main())
    told = [record.getMessage().split(":")[0] for record in caplog.records]
    first = "a connection from {} was closed".format
    more = "{} more connections were closed within 10 s".format
    assert told == [first("192.0.2.1"), first("192.0.2.2"), more(299), more(2), first("192.0.2.3")]


async def test_a_client_that_never_reads_is_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    """A client that reads nothing of a long answer is dropped when nothing of it was taken for SEND_TIMEOUT_S."""
    long = {"model": "scripted:long?first=0&gap=0&tokens=20000"}
    request = post(json.dumps({"input": "Why?", "cache": "off", "fast": long, "slow": long}).encode())
    async with besieged(caplog, "did not read its answer", send_timeout_s=QUICK_S, disconnect_grace_s=0) as server:
        with await deaf(server.port, request):
            await eventually(lambda: server.connections)
            await eventually(lambda: server.connections == 0)


async def test_who_does_not_read_costs_one_write(caplog: pytest.LogCaptureFixture) -> None:
    """Of megabytes that a client does not read the server holds one write beside the log, not all of them again."""
    long = {"model": "scripted:long?first=0&gap=0&tokens=15000"}
    request = post(json.dumps({"input": "Why?", "cache": "off", "fast": long, "slow": long}).encode())
    async with besieged(caplog, disconnect_grace_s=0) as server:
        with await deaf(server.port, request):
            await eventually(lambda: server.connections)
            [protocol] = server.uvicorn.server_state.connections
            await eventually(protocol.transport.get_write_buffer_size, 10.0)
            await eventually(lambda: not server.runs.live, 10.0)
            assert 0 < protocol.transport.get_write_buffer_size() < 2 * WRITE_BYTES


async def test_more_connections_than_may_be_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """A connection too many is told 503 and closed; those that are there go on, and a place that is free is taken."""
    siege = besieged(caplog, "too many connections", load_max_connections=20, disconnect_grace_s=0)
    async with siege as server, contextlib.AsyncExitStack() as stack:
        for _ in range(20):
            await stack.enter_async_context(dialled(server.port, HANGING))
        await eventually(lambda: server.runs.open_streams == 20)
        for _ in range(5):
            async with dialled(server.port) as (reader, _):
                told = await reply(reader)
            assert (told.status, told.json()["code"], told.headers["retry-after"]) == (503, "overloaded", "5")
            assert told.json()["request_id"] == told.headers["x-request-id"]
        assert server.runs.open_streams == 20


async def test_who_vanishes_is_noticed() -> None:
    """The system is asked to look after connections: who confirms nothing, or gives no sign of life, is given up."""
    async with serving() as server, dialled(server.port):
        await eventually(lambda: server.connections == 1)
        [protocol] = server.uvicorn.server_state.connections
        accepted = protocol.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000


async def test_connections_are_no_more_than_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a process may open few files, half of them are for connections, whatever was set."""
    monkeypatch.setattr("resource.getrlimit", lambda _: (100, 100))

    async def drain(grace_s: float) -> None:  # as a server has it
        """Nothing."""

    async def nothing(scope: Any, receive: Any, send: Any) -> None:  # as ASGI has it
        """Nothing."""

    server = build(nothing, drain, 0.0, Bounds(connections=5000))
    http: Any = server.config.http
    assert http.keywords["bounds"].connections == 50
