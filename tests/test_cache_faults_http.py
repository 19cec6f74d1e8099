"""The whole server while Redis or PostgreSQL is ill: streams as ever, misses counted, and well again by itself.

More of it, and longer, in bench/cache_outages.py.
"""

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
from servers import Server, eventually, serving
from tails import SHORT, Tail, lanes, opened
from wire import read_events, valid_stream

from bench.proxy import Proxy

MODELS = lanes(SHORT, "scripted:slow?first=0.03&gap=0&tokens=5")
# What a question may wait beyond what the models and a healthy record take: a look into Redis and PostgreSQL, a claim.
LOOK_S: Final = 0.05 + 0.1 + 0.25
KEY_S: Final = 0.25 + 0.25  # and under a key: the record, and Redis
SLACK_S: Final = 2.5  # the gate before `start`, a busy machine; what is not bounded waits for 4 s and more
DIFFERENT: Final = {"run_id", "audit", "source", "cost_usd", "latency_ms", "ttft_ms", "usage", "fingerprint"}
_numbers = itertools.count()


@dataclass
class Surroundings:
    """What a server stands on, each behind a network that can fail, and how long first events took."""

    server: Server
    redis: RedisServer
    networks: Mapping[str, Proxy]
    waits: dict[str, list[float]] = field(default_factory=dict)

    async def ask(self, kind: str, what: str, headers: Mapping[str, str] | None = None) -> bytes:
        """A whole stream; how long its first event took is noted. The model says the same, whatever is asked."""
        words = [{"role": "system", "content": what}, {"role": "user", "content": "Why?"}]
        begun = time.perf_counter()
        tail = await opened(self.server, "POST", "/v1/reason", json={"messages": words, **MODELS}, headers=headers)
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
        await eventually(lambda: not unexpected(server))
        server.tasks |= asyncio.all_tasks()


def unexpected(server: Server) -> list[str]:
    """The tasks that are neither the server's own nor a network's."""
    tasks = asyncio.all_tasks() - server.tasks - {asyncio.current_task()}
    return [str(task) for task in tasks if not task.get_coro().__qualname__.startswith("Proxy.")]  # type: ignore[union-attr]


@contextlib.asynccontextmanager
async def frozen(it: Surroundings) -> AsyncIterator[None]:
    """Redis stands still."""
    it.redis.freeze()
    yield
    it.redis.thaw()


Fault = Callable[[Surroundings], contextlib.AbstractAsyncContextManager[None]]


def plain(raw: bytes) -> list[tuple[str, dict[str, Any]]]:
    """A valid stream, lane by lane, without what differs from one run to another."""
    events = sorted(valid_stream(raw), key=lambda event: event.data.get("lane", ""))
    return [(name, {key: data[key] for key in data.keys() - DIFFERENT}) for name, _, data, _ in events]


async def everything(it: Surroundings, repeated: str) -> list[bytes]:
    """The streams of questions of every kind at once: fresh, asked before, many of one, under a key, come back to."""
    number = next(_numbers)

    async def keyed() -> list[bytes]:
        """The same question twice under one key."""
        streams = [await it.ask("keyed", f"keyed {number}", {"Idempotency-Key": f"k-{number}"}) for _ in range(2)]
        rest = await it.resume(streams[0])
        assert streams[0].endswith(rest) > (rest == b"")
        return streams

    async def many() -> list[bytes]:
        """The same question from several at once."""
        return await asyncio.gather(*(it.ask("many", f"many {number}") for _ in range(5)))

    fresh, again = it.ask("fresh", f"fresh {number}"), it.ask("repeated", repeated)
    first, second, same, one = await asyncio.gather(fresh, again, many(), keyed())
    assert len(set(same)) == len(set(one)) == 1
    return [first, second, same[0], one[0]]


async def hit(it: Surroundings, level: str, repeated: str) -> None:
    """Ask until the level is hit again."""
    hits = (await it.stats(level))["hits"]
    async with asyncio.timeout(10):
        while (await it.stats(level))["hits"] == hits:
            if level == "postgres":
                it.redis.do("FLUSHALL")
            await it.ask("healing", repeated)
            await asyncio.sleep(0.02)


ILLS: dict[str, tuple[str, Fault]] = {
    "redis frozen": ("redis", frozen),
    "postgres silent": ("postgres", lambda it: it.networks["postgres"].black_hole()),
    "postgres noisy": ("postgres", lambda it: it.networks["postgres"].garbage()),
}


@pytest.mark.parametrize(
    ("which", "fault"),
    [pytest.param(*row, id=name, marks=[pytest.mark.long] * bool(nth)) for nth, (name, row) in enumerate(ILLS.items())],
)
async def test_ill_and_well(which: str, fault: Fault, dsn: str, redis_server: RedisServer) -> None:
    """While Redis or PostgreSQL is ill every stream is as ever and soon there; it is counted, and hits come back."""
    async with surrounded(dsn, redis_server) as it:
        healthy = plain(await it.ask("healthy", "before"))
        await hit(it, "redis", "before")
        before = await it.stats(which)
        async with fault(it):
            ill = await everything(it, "before")
            during = await it.stats(which)
        assert [plain(stream) for stream in ill] == [healthy] * len(ill)
        assert max(it.waits["keyed"]) < LOOK_S + KEY_S + SLACK_S
        assert max(wait for kind in ("fresh", "repeated", "many") for wait in it.waits[kind]) < LOOK_S + SLACK_S
        assert during["errors"] > before["errors"]
        assert during["misses"] > before["misses"]
        await hit(it, which, "before")
