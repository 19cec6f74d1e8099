"""The whole server while Redis or PostgreSQL is ill: streams as ever, misses counted, and well again by itself."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest
from redises import RedisServer
from servers import Server, serving
from tails import QUESTION, SHORT, Tail, lanes, opened
from wire import Event, read_events, valid_stream

from bench.proxy import Proxy

MODELS = lanes(SHORT, "scripted:slow?first=0.03&gap=0&tokens=5")
# What a question may wait beyond what the models and a healthy record take: a look into Redis and PostgreSQL, a claim.
LOOK_S: Final = 0.05 + 0.1 + 0.25
KEY_S: Final = 0.25 + 0.25  # and under a key: the record, and Redis
SLACK_S: Final = 0.25  # the gate before `start`, a busy machine
TIMES: Final = ("run_id", "audit", "source", "cost_usd", "latency_ms", "ttft_ms", "slow", "fingerprint")
_numbers = itertools.count()


@dataclass
class Surroundings:
    """What a server stands on, each behind a network that can fail, and how long first events took."""

    server: Server
    redis: RedisServer
    networks: Mapping[str, Proxy]
    waits: dict[str, list[float]] = field(default_factory=dict)

    async def ask(self, kind: str, headers: Mapping[str, str] | None = None, **fields: Any) -> bytes:
        """A whole stream; how long its first event took is noted."""
        begun = time.perf_counter()
        tail = await opened(self.server, "POST", "/v1/reason", json={**QUESTION, **MODELS, **fields}, headers=headers)
        await tail.until(b"\n\n")
        self.waits.setdefault(kind, []).append(time.perf_counter() - begun)
        return await tail.rest()

    async def resume(self, whole: bytes) -> bytes:
        """What comes behind the third event of a stream."""
        seen = read_events(whole)[2]
        tail = Tail(
            await self.server.client.send(
                self.server.client.build_request(
                    "GET", f"/v1/runs/{seen.run_id}/events", headers={"Last-Event-ID": f"{seen.run_id}:{seen.seq}"}
                ),
                stream=True,
            )
        )
        return await tail.rest()

    async def stats(self, level: str) -> dict[str, Any]:
        """The counts of one level."""
        found: dict[str, Any] = (await self.server.client.get("/api/cache/stats")).json()["levels"][level]
        return found


@contextlib.asynccontextmanager
async def surrounded(dsn: str, redis: RedisServer) -> AsyncIterator[Surroundings]:
    """A server over both, which keeps no answer in its own memory."""
    parts = urlsplit(dsn)
    async with (
        Proxy(parse_qs(parts.query)["host"][0] + "/.s.PGSQL.5432") as postgres,
        Proxy(redis.socket) as network,
        serving(
            f"postgresql://tandem@127.0.0.1:{postgres.port}{parts.path}?sslmode=disable",
            redis_url=f"redis://127.0.0.1:{network.port}/0",
            cache_memory_entries=0,
        ) as server,
    ):
        server.tasks |= asyncio.all_tasks()
        yield Surroundings(server, redis, {"postgres": postgres, "redis": network})


@contextlib.asynccontextmanager
async def stopped(it: Surroundings, which: str) -> AsyncIterator[None]:
    """Nobody listens."""
    await it.networks[which].down()
    yield
    await it.networks[which].up()


@contextlib.asynccontextmanager
async def frozen(it: Surroundings, which: str) -> AsyncIterator[None]:  # noqa: ARG001  # as the others
    """Redis stands still."""
    it.redis.freeze()
    yield
    it.redis.thaw()


@contextlib.asynccontextmanager
async def black_hole(it: Surroundings, which: str) -> AsyncIterator[None]:
    """Bytes go in and nothing comes out; then the connections are cut."""
    it.networks[which].swallow = True
    yield
    it.networks[which].swallow = False
    await it.networks[which].down()
    await it.networks[which].up()


@contextlib.asynccontextmanager
async def garbage(it: Surroundings, which: str) -> AsyncIterator[None]:
    """Every reply is noise."""
    it.networks[which].spoil = True
    yield
    it.networks[which].spoil = False


Fault = Callable[[Surroundings, str], contextlib.AbstractAsyncContextManager[None]]


def plain(raw: bytes) -> list[tuple[str, int, dict[str, Any]]]:
    """A valid stream without what differs from one run to another."""
    return [_plain(event) for event in valid_stream(raw)]


def _plain(event: Event) -> tuple[str, int, dict[str, Any]]:
    return event.name, event.seq, {name: value for name, value in event.data.items() if name not in TIMES}


async def everything(it: Surroundings, repeated: str) -> list[bytes]:
    """The streams of questions of every kind: fresh, asked before, many at once, under a key, come back to."""
    number = next(_numbers)
    key = {"Idempotency-Key": f"k-{number}"}
    streams = [await it.ask("fresh", input=f"fresh {number}"), await it.ask("repeated", input=repeated)]
    at_once = await asyncio.gather(*(it.ask("at once", input=f"at once {number}") for _ in range(5)))
    assert len(set(at_once)) == 1
    keyed = [await it.ask("keyed", key, input=f"keyed {number}") for _ in range(2)]
    assert keyed[0] == keyed[1]
    rest = await it.resume(keyed[0])
    assert rest
    assert keyed[0].endswith(rest)
    return [*streams, at_once[0], keyed[0]]


async def hit(it: Surroundings, level: str, repeated: str) -> None:
    """Ask until the level is hit again."""
    hits = (await it.stats(level))["hits"]
    async with asyncio.timeout(10):
        while (await it.stats(level))["hits"] == hits:
            await it.ask("healing", input=repeated)
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("which", "fault"),
    [(which, fault) for which in ("redis", "postgres") for fault in (stopped, black_hole, garbage)] + [("redis", frozen)],
)
async def test_ill_and_well(which: str, fault: Fault, dsn: str, redis_server: RedisServer) -> None:
    """While Redis or PostgreSQL is ill every stream is as ever and soon there; it is counted, and hits come back."""
    async with surrounded(dsn, redis_server) as it:
        healthy = plain(await it.ask("healthy", input="asked before"))
        await hit(it, "redis", "asked before")
        before = await it.stats(which)
        async with fault(it, which):
            ill = await everything(it, "asked before")
            during = await it.stats(which)
        assert all(plain(stream) == healthy for stream in ill)
        for kind, waits in it.waits.items():
            print(which, fault.__name__, kind, [round(w*1000) for w in waits][:12])
        assert during["errors"] > before["errors"]
        assert during["misses"] > before["misses"]
        if which == "postgres":
            redis_server.do("FLUSHALL")
        await hit(it, which, "asked before")
