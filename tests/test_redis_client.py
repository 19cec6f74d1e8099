"""The connections to Redis: what they give, what they bound, what they leave behind."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from cells import rows
from redises import RedisServer, answering, clients_of

from app.errors import StartupError
from app.redis import client as client_module
from app.redis.client import Client, RedisUnavailable, Script

ECHO = Script("return {KEYS[1], ARGV[1], 7}")


@pytest_asyncio.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    """A client of a healthy, empty server."""
    async with Client(redis_url, "t", max_size=4) as client:
        yield client


async def test_replies_are_what_redis_sends(client: Client) -> None:
    """A command's reply comes as bytes, int, None or a list of these."""
    replies = await client.pipeline([("SET", "a", b"\x00\xff"), ("GET", "a"), ("GET", "b")], timeout_s=1)
    assert replies == [b"OK", b"\x00\xff", None]
    assert await client.call("RPUSH", "list", 1, 2.5, timeout_s=1) == 2
    assert await client.call("LRANGE", "list", 0, -1, timeout_s=1) == [b"1", b"2.5"]


def test_keys_carry_the_prefix() -> None:
    """A key's parts follow the prefix, so that several servers may share one Redis."""
    assert Client("redis://nowhere", "ours").key("answer", "x") == "ours:answer:x"


async def test_a_script_that_redis_forgot_is_sent_again(client: Client, redis_server: RedisServer) -> None:
    """A script runs whether Redis knows it, has never seen it, or has lost it."""
    for _ in range(2):
        assert await client.run(ECHO, ["k"], ["v"], timeout_s=1) == [b"k", b"v", 7]
    redis_server.do("SCRIPT FLUSH")
    assert await client.run(ECHO, ["k"], ["v"], timeout_s=1) == [b"k", b"v", 7]
    assert await clients_of(redis_server, 1) == 1


async def test_a_line_of_ones_own_blocks_nobody(client: Client, redis_server: RedisServer) -> None:
    """A blocking read on a line does not take a connection of the pool, which is closed with the block."""
    async with client.line() as line:
        read = asyncio.create_task(line.call("XREAD", "BLOCK", 0, "STREAMS", "s", "$", timeout_s=5))
        for _ in range(8):
            await client.call("PING", timeout_s=1)
        await client.call("XADD", "s", "1-1", "k", "v", timeout_s=1)
        while not read.done():
            await client.call("XADD", "s", "*", "k", "v", timeout_s=1)
        assert read.result()[0][0] == b"s"
        assert await line.run(ECHO, ["k"], ["v"], timeout_s=1) == [b"k", b"v", 7]
    assert await clients_of(redis_server, 1) == 1


async def test_a_line_that_failed_stays_closed(client: Client, redis_server: RedisServer) -> None:
    """A line after an error is not connected again behind the back of its holder."""
    async with client.line() as line:
        with pytest.raises(RedisUnavailable, match=r"within 0\.02 s"):
            await line.call("BLPOP", "nothing", 0, timeout_s=0.02)
        with pytest.raises(RedisUnavailable):
            await line.call("PING", timeout_s=1)


async def test_many_callers_share_few_connections(client: Client, redis_server: RedisServer) -> None:
    """Two hundred calls at once all get their own reply, over no more connections than the pool may have."""
    replies = await asyncio.gather(*(client.call("ECHO", n, timeout_s=5) for n in range(200)))
    assert replies == [str(n).encode() for n in range(200)]
    assert await clients_of(redis_server, 4) == 4


async def test_a_caller_that_leaves_takes_its_reply_along(client: Client) -> None:
    """A call that was cancelled, or came too late, leaves no reply for the next caller to take for its own."""
    await client.call("PING", timeout_s=1)
    for _ in range(20):
        gone = asyncio.create_task(client.call("EVAL", "return 'old'", 0, timeout_s=1))
        await asyncio.sleep(0)
        gone.cancel()
        assert await client.call("ECHO", "new", timeout_s=1) == b"new"
        with pytest.raises(asyncio.CancelledError):
            await gone


async def test_a_failed_pipeline_takes_its_later_replies_along(client: Client) -> None:
    """What a pipeline has not read when one of its commands fails is not taken for the reply to the next call."""
    with pytest.raises(RedisUnavailable):
        await client.pipeline([("HSET", "too few"), ("BLPOP", "nothing", 0.02)], timeout_s=1)
    assert await client.call("ECHO", "new", timeout_s=1) == b"new"


async def test_a_call_that_gave_up_sends_no_more() -> None:
    """What was not sent when the time was up is not sent later, when nobody waits for the reply."""
    size, came = 20_000_000, asyncio.get_running_loop().create_future()
    gave_up = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection."""
        received = 0
        with contextlib.suppress(ConnectionError):
            await gave_up.wait()
            while data := await reader.read(1 << 20):
                received += len(data)
        writer.close()
        came.set_result(received)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, Client(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", "t") as client:
        with pytest.raises(RedisUnavailable):
            await client.call("SET", "k", bytes(size), timeout_s=0.05)
        gave_up.set()
        assert await came < size


async def test_a_slow_start_serves_a_later_caller() -> None:
    """A Redis that takes longer to connect to than one call may last is reached after some calls all the same."""
    async with (
        answering(b"+OK\r\n", b"+PONG\r\n", after_s=0.05) as url,
        Client(url.replace("//", "//:secret@"), "t") as client,
    ):
        replies = []
        for _ in range(50):
            with contextlib.suppress(RedisUnavailable):
                replies.append(await client.call("PING", timeout_s=0.02))
                break
        assert replies == [b"PONG"]


async def test_a_restarted_redis_costs_no_call(client: Client, redis_server: RedisServer) -> None:
    """Connections that ended while nobody used them are not used again."""
    await client.call("PING", timeout_s=1)
    redis_server.kill()
    redis_server.start()
    await asyncio.sleep(0.005)  # in which the end of the connection is heard of
    assert await client.call("PING", timeout_s=1) == b"PONG"


async def test_a_connection_idle_for_long_is_not_trusted(
    client: Client, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that was idle for longer than a firewall may remember it is replaced."""
    before = await client.call("CLIENT", "ID", timeout_s=1)
    assert await client.call("CLIENT", "ID", timeout_s=1) == before
    monkeypatch.setattr(client_module, "IDLE_S", 0.0)
    assert await client.call("CLIENT", "ID", timeout_s=1) != before
    assert await clients_of(redis_server, 1) == 1


async def test_closing_waits_for_nobody(redis_server: RedisServer) -> None:
    """A client closes at once on a frozen Redis; who waits for a reply is told, and no task or connection is left."""
    client = Client(redis_server.url, "t")
    await client.call("PING", timeout_s=1)
    redis_server.freeze()
    waiting = asyncio.create_task(client.call("PING", timeout_s=5))
    await asyncio.sleep(0.01)
    started = time.monotonic()
    await client.close()
    with pytest.raises(RedisUnavailable):
        await waiting
    assert time.monotonic() - started < 1.0
    assert asyncio.all_tasks() == {asyncio.current_task()}
    redis_server.thaw()
    assert await clients_of(redis_server, 0) == 0
    with pytest.raises(RedisUnavailable, match="closed"):
        await client.call("PING", timeout_s=1)


async def test_closing_ends_an_opening() -> None:
    """A client that is closed while it connects leaves nothing behind, and tells who waited."""
    async with answering(b"+OK\r\n", after_s=30) as url:
        client = Client(url.replace("//", "//:secret@"), "t")
        waiting = asyncio.create_task(client.call("PING", timeout_s=5))
        await asyncio.sleep(0.01)
        started = time.monotonic()
        await client.close()
        assert time.monotonic() - started < 1.0
        with pytest.raises(RedisUnavailable):
            await waiting


@rows(
    "url",
    [
        "",
        "localhost:6379",
        "http://localhost",
        "redis://",
        "redis://:s3cret@/0",
        "redis://:s3cret@host:0",
        "redis://:s3cret@host:port",
        "redis://:s3cret@host:99999",
        "redis://:s3cret@host/first",
        "redis://:s3cret@host?nonsense=1",
        "redis://:s3cret@host?max_connections=5",
        "redis://:s3cret@host?health_check_interval=1",
        "redis://:s3cret@host?retry=s3cret",
        "rediss://:s3cret@host?ssl_ca_certs=/nowhere/s3cret.pem",
        "rediss://:s3cret@host?ssl_cert_reqs=s3cret",
        "redis://:s3cret@[::1",
        "unix://",
    ],
)
def test_a_wrong_address_is_refused_at_the_start(url: str) -> None:
    """A REDIS_URL that could never work is named at the start, and never repeated."""
    with pytest.raises(StartupError, match="REDIS_URL") as caught:
        Client(url, "t")
    assert "s3cret" not in str(caught.value)
    assert caught.value.__suppress_context__


@rows(
    "url",
    [
        "redis://host",
        "redis://user:p%40ss@host:6380/3",
        "redis://[::1]:6379/0?db=2",
        "rediss://:secret@host?ssl_cert_reqs=none",
        "unix:///run/redis.sock?db=1",
    ],
)
async def test_an_address_that_may_work_touches_no_network(url: str) -> None:
    """A client of any of the three forms of address opens and closes without a connection."""
    async with Client(url, "t"):
        pass


async def test_a_unix_socket_and_a_user_serve_as_well(redis_server: RedisServer) -> None:
    """The user, the password and the database of the address are those that Redis sees."""
    redis_server.do("ACL SETUSER ada on >s@cret ~* +@all")
    async with Client(f"unix://ada:s%40cret@{redis_server.socket}?db=3", "t") as client:
        said = await client.call("CLIENT", "INFO", timeout_s=1)
        assert b"user=ada" in said
        assert b"db=3" in said


async def test_a_wrong_password_is_told_and_not_shown(redis_server: RedisServer) -> None:
    """Redis that does not know us is unavailable; neither the message nor its causes hold the password."""
    async with Client(redis_server.url.replace("//", "//ada:wr0ng@"), "t") as client:
        with pytest.raises(RedisUnavailable, match="REDIS_URL") as caught:
            await client.call("PING", timeout_s=1)
    assert "wr0ng" not in f"{caught.value!r} {caught.value.__cause__!r} {client!r}"
