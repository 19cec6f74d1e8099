"""The client of a model's server: what it makes of every way a connection can end or a response can be framed."""

import asyncio
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import uvloop
from cells import rows
from raw_upstream import CLOSE, REQUEST, RESET, RawUpstream, Step, raw_upstream
from servers import eventually
from yarl import URL

from app.llm import pool as pools
from app.llm.connection import MAX_HEAD_BYTES, MAX_UNREAD_BYTES, Broken, Connection
from app.llm.pool import Pool, Unreachable

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 2\r\n\r\nhi"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
SOON_S = 1.0  # a busy machine's at once; what is left open stays so for as long as the pool


@asynccontextmanager
async def pooled(
    *connections: tuple[Step, ...], limit: int = 10, keep: bool = True
) -> AsyncIterator[tuple[Pool, RawUpstream]]:
    """A pool in front of a server that does this on its connections."""
    async with raw_upstream(*connections) as upstream:
        pool = Pool(URL(f"http://127.0.0.1:{upstream.port}/v1?a=b"), b"X-A: b\r\n", 1.0, limit, keep=keep)
        try:
            yield pool, upstream
        finally:
            pool.close()


async def whole(connection: Connection) -> bytes:
    """The body to its end."""
    body = b""
    while part := await connection.read():
        body += part
    return body


async def fetch(pool: Pool) -> bytes:
    """One request and the body of its response."""
    connection = await pool.post(b"{}")
    try:
        return await whole(connection)
    finally:
        pool.release(connection)


async def seen(upstream: RawUpstream, gone: int) -> None:
    """Return once upstream saw that many of its clients leave; TimeoutError when it takes longer than soon."""
    async with asyncio.timeout(SOON_S):
        while upstream.gone < gone:  # noqa: ASYNC110  # what is counted is counted in many places
            await asyncio.sleep(0.001)


FRAMED = {
    "by its length": (OK,),
    "in chunks": (CHUNKED,),
    "by the connection": (b"HTTP/1.1 200 OK\r\n\r\nhi", CLOSE),
    "by the connection, of HTTP/1.0": (b"HTTP/1.0 200 OK\r\n\r\nhi", CLOSE),
    "with a trailer": (CHUNKED.replace(b"0\r\n\r\n", b"0\r\nContent-Type: x\r\n\r\n"),),
    "behind an announcement": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK,),
    "with bare line feeds": (b"HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\nhi",),
    "byte by byte": tuple(step for byte in CHUNKED for step in (bytes([byte]), 0.0001)),
}


@pytest.mark.parametrize("name", FRAMED)
async def test_framing(name: str) -> None:
    """A body is read to its end however it is framed and split."""
    async with pooled((REQUEST, *FRAMED[name])) as (pool, _):
        assert await fetch(pool) == b"hi"


BROKEN: dict[str, tuple[Step, ...]] = {
    "closed before a byte": (CLOSE,),
    "reset before a byte": (RESET,),
    "closed in the head": (OK[:30], CLOSE),
    "not HTTP": (b"SSH-2.0-OpenSSH\r\n",),
    "no number for a length": (b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",),
    "two framings": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi!",),
    "an endless header": (b"HTTP/1.1 200 OK\r\nA: ", b"x" * (MAX_HEAD_BYTES + 1)),
    "endless headers": (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n" * MAX_HEAD_BYTES),
    "closed in a body with a length": (OK[:-1], CLOSE),
    "closed in a chunk": (CHUNKED[:-10], CLOSE),
    "closed before the last chunk": (CHUNKED[:-5], CLOSE),
    "reset in a body without a length": (b"HTTP/1.1 200 OK\r\n\r\nhi", 0.01, RESET),
    "an endless trailer": (CHUNKED[:-2] + b"A: ", 0.01, b"x" * (MAX_HEAD_BYTES + 1)),
    "a bad chunk": (CHUNKED.replace(b"\r\n2\r\n", b"\r\nzz\r\n"),),
    "another protocol": (b"HTTP/1.1 101 Go on\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n" + OK,),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_broken(name: str) -> None:
    """A response that is not whole, or no HTTP, is Broken; the connection is gone and nothing is asked twice."""
    async with pooled((REQUEST, *BROKEN[name])) as (pool, upstream):
        with pytest.raises(Broken):
            await fetch(pool)
        assert len(upstream.requests) == 1
        await eventually(lambda: not pool._open)


async def test_what_arrived_is_read_before_the_end() -> None:
    """What arrived before the connection broke is handed out first, however late it is read."""
    async with pooled((REQUEST, OK[:-1], RESET)) as (pool, _):
        connection = await pool.post(b"{}")
        await asyncio.sleep(0.02)
        assert await connection.read() == b"h"
        with pytest.raises(Broken):
            await connection.read()
        pool.release(connection)


async def test_request_on_the_wire() -> None:
    """A request has its target with the query, the host with the port, the headers given, and its length."""
    async with pooled((REQUEST, OK)) as (pool, upstream):
        await fetch(pool)
        head = f"POST /v1?a=b HTTP/1.1\r\nHost: 127.0.0.1:{upstream.port}\r\nX-A: b\r\nContent-Length: 2\r\n\r\n"
        assert upstream.requests == [head.encode() + b"{}"]


async def test_reuse() -> None:
    """A connection whose response was read to its end takes the next request."""
    async with pooled((REQUEST, OK, REQUEST, CHUNKED)) as (pool, upstream):
        assert [await fetch(pool), await fetch(pool)] == [b"hi", b"hi"]
        assert upstream.accepted == 1


NOT_KEPT: dict[str, tuple[Step, ...]] = {
    "says so": (OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),),
    "speaks HTTP/1.0": (OK.replace(b"1.1", b"1.0"),),
    "sends more than it said": (OK + b"!",),
    "sends two responses": (OK + OK,),
    "sends a second response later": (OK, 0.005, OK),
}


@pytest.mark.parametrize("name", NOT_KEPT)
async def test_not_reused(name: str) -> None:
    """A connection is not used again when the server closes it, or sends what was not asked for."""
    async with pooled((REQUEST, *NOT_KEPT[name], REQUEST), (REQUEST, OK)) as (pool, upstream):
        assert await fetch(pool) == b"hi"
        await eventually(lambda: not pool._open)
        assert await fetch(pool) == b"hi"
        assert upstream.accepted == 2


async def test_no_connection_is_kept_when_none_may_be() -> None:
    """A pool that may not keep connections opens one for each request."""
    async with pooled((REQUEST, OK, REQUEST), (REQUEST, OK), keep=False) as (pool, upstream):
        assert [await fetch(pool), await fetch(pool)] == [b"hi", b"hi"]
        await seen(upstream, 2)


@pytest.mark.parametrize("end", [CLOSE, RESET])
async def test_a_stale_connection(end: Step) -> None:
    """A request whose kept connection is closed without a byte of a response is sent over a new one."""
    async with pooled((REQUEST, OK, REQUEST, end), (REQUEST, OK)) as (pool, upstream):
        assert [await fetch(pool), await fetch(pool)] == [b"hi", b"hi"]
        assert (upstream.accepted, len(upstream.requests)) == (2, 3)


async def test_a_new_connection_is_not_tried_again() -> None:
    """A request is sent twice at most, and the second time not over a kept connection."""
    async with pooled((REQUEST, OK, REQUEST, CLOSE), (REQUEST, CLOSE)) as (pool, upstream):
        await fetch(pool)
        with pytest.raises(Broken):
            await fetch(pool)
        assert (upstream.accepted, len(upstream.requests)) == (2, 3)


async def test_a_response_that_began_is_not_tried_again() -> None:
    """A request is not sent again once a byte of its response came."""
    async with pooled((REQUEST, OK, REQUEST, b"H", 0.005, CLOSE)) as (pool, upstream):
        await fetch(pool)
        with pytest.raises(Broken):
            await fetch(pool)
        assert upstream.accepted == 1


async def test_a_connection_closed_while_it_was_kept() -> None:
    """A kept connection that the server has closed is not used, and forgotten."""
    async with pooled((REQUEST, OK, CLOSE), (REQUEST, OK)) as (pool, upstream):
        await fetch(pool)
        await eventually(lambda: not pool._open)
        await fetch(pool)
        assert len(upstream.requests) == 2


CANCELLED: dict[str, tuple[Step, ...]] = {"before the head": (), "in the head": (OK[:20],), "in the body": (OK[:-1],)}


@pytest.mark.parametrize("name", CANCELLED)
async def test_cancel(name: str) -> None:
    """A cancelled request closes its connection at once and gives its turn back."""
    async with pooled((REQUEST, *CANCELLED[name]), (REQUEST, OK), limit=1) as (pool, upstream):
        asking = asyncio.create_task(fetch(pool))
        await eventually(lambda: upstream.requests)
        await asyncio.sleep(0.01)  # in which what upstream says arrives
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await seen(upstream, 1)
        assert await fetch(pool) == b"hi"


async def test_cancel_while_connecting() -> None:
    """A request cancelled while its connection is made leaves no socket, no task, and its turn to the next."""
    async with pooled(*[(REQUEST,)] * 12, limit=1) as (pool, upstream):
        before = asyncio.all_tasks()
        for steps in range(12):  # of the loop, into whatever the connection waits for then
            asking = asyncio.create_task(fetch(pool))
            for _ in range(steps):
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.wait([asking])
        await eventually(lambda: asyncio.all_tasks() - before <= upstream.tasks)
        assert not pool._turns.locked()
        await asyncio.sleep(0.01)
        assert not pool._open
        assert not upstream.tasks


async def test_turns() -> None:
    """No more requests are under way than allowed; the others wait, and one that is cancelled loses its place."""
    async with pooled((REQUEST, 0.02, OK, REQUEST, OK), limit=1) as (pool, upstream):
        first, second, third = (asyncio.create_task(fetch(pool)) for _ in range(3))
        await asyncio.sleep(0.01)
        second.cancel()
        assert [await first, await third] == [b"hi", b"hi"]
        assert (upstream.accepted, len(upstream.requests)) == (1, 2)


async def test_a_reader_that_is_slow() -> None:
    """A body that nobody reads is not taken from the network without end; read, it goes on."""
    size = 64 * MAX_UNREAD_BYTES
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size
    async with pooled((REQUEST, head, b"x" * size, REQUEST, OK)) as (pool, _):
        connection = await pool.post(b"{}")
        await asyncio.sleep(0.05)
        assert connection._unread < 4 * MAX_UNREAD_BYTES
        assert len(await whole(connection)) == size
        pool.release(connection)
        assert await fetch(pool) == b"hi"


async def test_kept_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that nobody uses is closed after a while."""
    monkeypatch.setattr(pools, "KEEPALIVE_S", 0.02)
    async with pooled((REQUEST, OK), (REQUEST, 0.01, OK)) as (pool, upstream):
        began = time.monotonic()
        await asyncio.gather(fetch(pool), fetch(pool))
        await seen(upstream, 2)
        assert time.monotonic() - began >= 0.02
        assert not pool._idle


async def test_close_drops_everything() -> None:
    """Closing the pool drops what is kept and what is under way."""
    async with pooled((REQUEST, OK), (REQUEST, OK[:-1])) as (pool, upstream):
        await fetch(pool)
        pool._idle.clear()  # so that the next one makes a connection of its own
        connection = await pool.post(b"{}")
        pool.close()
        assert await connection.read() == b"h"
        with pytest.raises(Broken):
            await connection.read()
        pool.release(connection)
        await seen(upstream, 2)


async def test_no_such_host() -> None:
    """A name that does not resolve is unreachable, for everybody who waits, and asked for anew the next time."""
    pool = Pool(URL("http://nowhere.invalid/v1"), b"", 1.0, 10, keep=True)
    failures = await asyncio.gather(*(pool.post(b"") for _ in range(3)), return_exceptions=True)
    assert all(isinstance(failure, Unreachable) and not failure.late for failure in failures)
    pool._host, pool._port = "127.0.0.1", 1
    with pytest.raises(Unreachable):
        await pool.post(b"")
    assert isinstance(pool._resolved, list)


async def test_another_address() -> None:
    """When the first address of a host refuses, the next one is tried."""
    async with pooled((REQUEST, OK)) as (pool, upstream):
        good = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", upstream.port))
        pool._resolved, pool._resolved_at = [(*good[:4], ("127.0.0.1", 1)), good], asyncio.get_running_loop().time()
        assert await fetch(pool) == b"hi"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost, signed by itself, in one file with its key."""
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    public = path.with_suffix(".crt")
    subprocess.run([*command.split(), "-keyout", path, "-out", public], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + public.read_bytes())
    return path


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    """A server's side of TLS with that certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


async def test_tls(tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over TLS a request is answered, its connection used again, and a cancelled one dropped at once."""
    monkeypatch.setattr(pools, "_tls", partial(ssl.create_default_context, cafile=str(certificate)))
    async with raw_upstream((REQUEST, OK, REQUEST, OK, REQUEST), tls=tls) as upstream:
        pool = Pool(URL(f"https://localhost:{upstream.port}/"), b"", 1.0, 10, keep=True)
        assert [await fetch(pool), await fetch(pool)] == [b"hi", b"hi"]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(fetch(pool), 0.02)
        await seen(upstream, 1)
        assert (upstream.accepted, pool._open) == (1, set())


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_tls_of_somebody_else(
    tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """A certificate that nobody known signed, or for another name, is refused before anything is said."""
    if host == "127.0.0.1":
        monkeypatch.setattr(pools, "_tls", partial(ssl.create_default_context, cafile=str(certificate)))
    async with raw_upstream((REQUEST, OK), tls=tls) as upstream:
        pool = Pool(URL(f"https://{host}:{upstream.port}/"), b"", 1.0, 10, keep=True)
        with pytest.raises(Unreachable):
            await pool.post(b"{}")
        assert not upstream.requests


Case = Callable[[], Awaitable[None]]
ON_UVLOOP: dict[str, Case] = {
    **{f"framed {name}": partial(test_framing, name) for name in FRAMED},
    **{name: partial(test_broken, name) for name in BROKEN},
    **{f"not kept: {name}": partial(test_not_reused, name) for name in NOT_KEPT},
    **{f"cancelled {name}": partial(test_cancel, name) for name in CANCELLED},
    "stale, closed": partial(test_a_stale_connection, CLOSE),
    "stale, reset": partial(test_a_stale_connection, RESET),
    "cancelled while connecting": test_cancel_while_connecting,
    "read late": test_what_arrived_is_read_before_the_end,
    "read slowly": test_a_reader_that_is_slow,
    "closed": test_close_drops_everything,
}


@rows("name", ON_UVLOOP)
def test_on_the_loop_of_production(name: str) -> None:
    """The same holds on uvloop, whose transports are not asyncio's."""

    async def main() -> None:
        """On the loop of its own."""
        await ON_UVLOOP[name]()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
