"""Redis ill or away: every call ends in time with one error, and works again by itself."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import pytest
from cells import rows
from redises import RedisServer, answering, clients_of

from app.answers.level import Stored
from app.question import Caller, Key
from app.reasoning.elsewhere import Used
from app.redis.answers import RedisAnswers
from app.redis.client import Client, RedisUnavailable
from app.redis.keys import RedisKeys
from bench.proxy import Proxy

TIMEOUT_S = 0.05
WELL_S = 5.0  # for what is expected to work, however busy the machine is
BUSY_S = 1.0  # what a busy machine may add; a call that is not bounded never ends
KEY = Key("s", "f")

Fault = Callable[[RedisServer, Proxy], AbstractAsyncContextManager[None]]


@contextlib.asynccontextmanager
async def stopped(server: RedisServer, _: Proxy) -> AsyncIterator[None]:
    """The process is gone and comes back."""
    server.kill()
    yield
    server.start()


@contextlib.asynccontextmanager
async def frozen(server: RedisServer, _: Proxy) -> AsyncIterator[None]:
    """It accepts and never answers."""
    server.freeze()
    yield
    server.thaw()


@contextlib.asynccontextmanager
async def black_hole(_: RedisServer, network: Proxy) -> AsyncIterator[None]:
    """The network swallows everything."""
    network.swallow = True
    yield
    network.swallow = False


@contextlib.asynccontextmanager
async def cut(_: RedisServer, network: Proxy) -> AsyncIterator[None]:
    """The network is down."""
    await network.down()
    yield
    await network.up()


@contextlib.asynccontextmanager
async def replies_lost(_: RedisServer, network: Proxy) -> AsyncIterator[None]:
    """Every reply is lost, with its connection."""
    network.lose_every = 1
    yield
    network.lose_every = 0


@contextlib.asynccontextmanager
async def out_of_memory(server: RedisServer, _: Proxy) -> AsyncIterator[None]:
    """It takes no more."""
    server.do("CONFIG SET maxmemory 1")
    yield
    server.do("CONFIG SET maxmemory 0")


@contextlib.asynccontextmanager
async def read_only(server: RedisServer, _: Proxy) -> AsyncIterator[None]:
    """It became the replica of another."""
    server.do("REPLICAOF 127.0.0.1 1")
    yield
    server.do("REPLICAOF NO ONE")


FAULTS = [stopped, frozen, black_hole, cut, replies_lost, out_of_memory, read_only]


@contextlib.asynccontextmanager
async def through(server: RedisServer) -> AsyncIterator[tuple[Client, Proxy]]:
    """A client, and the network to the server that it uses."""
    async with Proxy(server.socket) as network, Client(f"redis://127.0.0.1:{network.port}", "t") as client:
        yield client, network


async def put(client: Client, timeout_s: float = WELL_S) -> None:
    """Store one answer."""
    await RedisAnswers(client, timeout_s).put([Stored(KEY, "r", time.time() + 60, b"x" * 20_000)])


async def fails_in_time(action: Awaitable[object]) -> None:
    """It raises RedisUnavailable, within its timeout."""
    started = time.monotonic()
    with pytest.raises(RedisUnavailable):
        await action
    assert time.monotonic() - started < TIMEOUT_S + BUSY_S


@pytest.mark.parametrize("fault", FAULTS)
async def test_each_fault_ends_in_time_and_heals(fault: Fault, redis_server: RedisServer) -> None:
    """A put fails in time whatever is wrong, works again without a word from us, and leaves no task or connection."""
    async with through(redis_server) as (client, network):
        await put(client)
        async with fault(redis_server, network):
            for _ in range(2):
                await fails_in_time(put(client, TIMEOUT_S))
        await put(client)
        assert await RedisAnswers(client, WELL_S).get(KEY) == b"x" * 20_000
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert await clients_of(redis_server, 0) == 0


@rows(
    "reply",
    [
        b"",
        b"\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"$100\r\nonly this",
        b"$x\r\n",
        b"*3\r\n$1\r\na\r\n",
        b"*1\r\n" * 5000,
        b"*99999999999\r\n",
        b"x" * 200_000,
        b":7\r\n",
        b"*0\r\n",
        b"\x00\xff\xfe",
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"-MOVED nonsense\r\n",
        b"-\r\n",
    ],
)
async def test_bytes_that_are_no_reply_are_an_error(reply: bytes) -> None:
    """What is cut short, no Redis, or not what was asked for, is RedisUnavailable in time and nothing else."""
    async with answering(reply) as url, Client(url, "t") as client:
        await fails_in_time(RedisAnswers(client, TIMEOUT_S).get(KEY))
        await fails_in_time(RedisAnswers(client, TIMEOUT_S).size())
        await fails_in_time(RedisKeys(client, 60, TIMEOUT_S).first(Caller("a"), "k", Used("r", "f")))


async def test_the_wrong_kind_of_value_is_an_error_until_it_is_replaced(redis_server: RedisServer) -> None:
    """A key that holds no string is no answer; the next put under it repairs it."""
    async with Client(redis_server.url, "t") as client:
        answers = RedisAnswers(client, WELL_S)
        await put(client)
        name = (await client.call("KEYS", "*", timeout_s=1))[0]
        await client.pipeline([("DEL", name), ("RPUSH", name, "x")], timeout_s=1)
        with pytest.raises(RedisUnavailable, match="WRONGTYPE"):
            await answers.get(KEY)
        await put(client)
        assert await answers.get(KEY) == b"x" * 20_000


async def test_a_crowd_before_a_frozen_redis_is_let_go_in_time(redis_server: RedisServer) -> None:
    """A hundred calls to a frozen Redis all end within one timeout, those that wait for a connection too."""
    async with Client(redis_server.url, "t", max_size=4) as client:
        redis_server.freeze()
        started = time.monotonic()
        calls = [client.call("PING", timeout_s=TIMEOUT_S) for _ in range(100)]
        ended = await asyncio.gather(*calls, return_exceptions=True)
        assert time.monotonic() - started < TIMEOUT_S + BUSY_S
        assert {type(error) for error in ended} == {RedisUnavailable}
        redis_server.thaw()
        assert await client.call("PING", timeout_s=1) == b"PONG"
