"""Instances that die and a Redis that is ill, while runs are read elsewhere."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
from fleets import FRIEND, OPENER, PATIENT, QUICK, Fleet, finish, fleet, flight, key, mirrored, say, until
from races import events, read
from redises import RedisServer

from app.reasoning.elsewhere import Used
from app.redis import relay
from bench.servers import free_port


@pytest.fixture
async def others(redis_url: str) -> AsyncIterator[Fleet]:
    """Instances over a Redis that is healthy at first."""
    async with fleet(redis_url, PATIENT) as instances:
        yield instances


def last(log: bytes) -> tuple[str, int, str, str | None, str]:
    """Name, number, status, reason and audit of the last event."""
    name, seq, data = events(log)[-1]
    return name, seq, data["status"], data["reason"], data["audit"]


# -- owners


async def test_the_owner_dies(others: Fleet) -> None:
    """When the owner dies every mirror ends with the same truthful `done`, numbered on, also one that is made later."""
    a, b, c = [await others.instance() for _ in range(3)]
    _, mirror, reading = await mirrored(a, b)
    await a.die()
    told = await reading
    assert last(told) == ("done", 3, "failed", "interrupted", "pending")
    assert mirror.interrupted
    later = await c.others.tail(mirror.run_id, OPENER)
    assert later is not None
    assert await read(later.attach()) == told


async def test_the_owner_dies_behind_done(others: Fleet) -> None:
    """A run that has said `done` is not interrupted when its owner dies, and never gets a second one."""
    a, b = await others.instance(), await others.instance()
    run, _, reading = await mirrored(a, b)
    finish(run)
    await until(lambda: not a.others.state["shown"])
    await a.die()
    assert await reading == run.since(0)
    await asyncio.sleep(0.05)
    late = await b.others.tail(run.run_id, OPENER)
    assert late is not None
    assert (late.interrupted, late.since(0)) == (False, run.since(0))


async def test_the_last_word_is_looked_for(others: Fleet) -> None:
    """A `done` that is in Redis and has not come yet is found before anybody is told of an interruption."""
    a, b = await others.instance(), await others.instance()
    run, mirror, reading = await mirrored(a, b)
    b.others._tasks[2].cancel()  # the inbox: nothing comes by itself any more
    finish(run)
    await until(lambda: not a.others.state["shown"])
    await a.die()
    assert await reading == run.since(0)
    assert not mirror.interrupted


async def test_an_owner_that_shuts_down(others: Fleet) -> None:
    """What ended just before its instance shuts down is read elsewhere to the end."""
    a, b = await others.instance(), await others.instance()
    run, _, reading = await mirrored(a, b)
    finish(run)
    await a.__aexit__(None, None, None)
    assert await reading == run.since(0)


async def test_nothing_is_left(redis_server: RedisServer) -> None:
    """When instances have shut down no task of theirs is left, no connection, and no key that does not expire."""
    before = asyncio.all_tasks()
    async with fleet(redis_server.url) as others:
        a, b = await others.instance(), await others.instance()
        run, _, reading = await mirrored(a, b)
        await a.others.claim(key(), flight(run))
        await b.others.tail(run.run_id, FRIEND, guest=True)
        await until(lambda: run.guests)
        finish(run)
        await reading
    assert asyncio.all_tasks() == before
    keys = [line for line in redis_server.ask("KEYS *").split() if line.startswith("t:")]
    assert keys
    assert all("log" in name or "guests" in name for name in keys), keys
    assert all(int(redis_server.ask(f"PTTL {name}")[1:]) > 0 for name in keys)
    await until(lambda: redis_server.ask("CLIENT LIST TYPE normal").count(" addr=") == 1)


# -- Redis


async def illness(server: RedisServer, kind: str) -> None:
    """Make Redis ill and well again; what it held outlasts a freeze, though not the leases."""
    begin, end = ILLNESSES[kind]
    begin(server)
    for _ in range(4 if kind in ("killed", "flushed") else 13):
        await asyncio.sleep(0.04)
    end(server)


ILLNESSES: dict[str, tuple[Callable[[RedisServer], None], Callable[[RedisServer], None]]] = {
    "killed": (RedisServer.kill, RedisServer.start),
    "frozen": (RedisServer.freeze, RedisServer.thaw),
    "flushed": (lambda server: server.do("FLUSHALL"), lambda _: None),
    "full": (lambda server: server.do("CONFIG SET maxmemory 1"), lambda server: server.do("CONFIG SET maxmemory 0")),
    "read-only": (lambda server: server.do("REPLICAOF 127.0.0.1 1"), lambda server: server.do("REPLICAOF NO ONE")),
}


@pytest.mark.parametrize("kind", ILLNESSES)
async def test_redis_is_ill(others: Fleet, redis_server: RedisServer, kind: str) -> None:
    """A reader elsewhere gets every byte of a run though Redis stops, answers nobody, takes nothing, loses all."""
    a, b, c = [await others.instance() for _ in range(3)]
    run, _, reading = await mirrored(a, b)
    assert await a.others.claim(key(), flight(run)) is None
    ill = asyncio.create_task(illness(redis_server, kind))
    for number in range(10):
        say(run, f"{number}")
        await asyncio.sleep(0.04)
    await ill
    await until(lambda: b.others.state["status"] == "ok" and a.others.state["status"] == "ok", 4)
    await until(lambda: run.readers and redis_server.ask("EXISTS t:instance:A") == ":1\r\n", 4)
    await asyncio.sleep(0.04)
    claimed = await b.others.claim(key(), flight(run)._replace(run_id="other"))
    assert claimed is not None
    assert claimed.run_id == run.run_id
    finish(run)
    assert await asyncio.wait_for(reading, 4) == run.since(0)
    late = await c.others.tail(run.run_id, OPENER)
    assert late is not None
    assert await asyncio.wait_for(read(late.attach()), 4) == run.since(0)


async def test_a_silent_run_comes_back(others: Fleet, redis_server: RedisServer) -> None:
    """What Redis has lost of a run that says nothing more is there again, though nothing new comes."""
    a, b, c = [await others.instance() for _ in range(3)]
    run, _, _ = await mirrored(a, b)
    redis_server.do("FLUSHALL")
    found = None
    async with asyncio.timeout(2):
        while found is None:
            found = await c.others.tail(run.run_id, OPENER)
            await asyncio.sleep(0.01)
    assert found.since(0) == run.since(0)
    run.stop("cancelled")
    finish(run)


async def test_readers_elsewhere_are_believed_in(others: Fleet, redis_server: RedisServer) -> None:
    """A run that was read elsewhere when Redis went away is not cancelled for want of readers."""
    a, b = await others.instance(), await others.instance()
    run, _, reading = await mirrored(a, b)
    await until(lambda: run.readers)
    redis_server.freeze()
    for _ in range(9):
        await asyncio.sleep(0.04)
    assert run.readers == 1
    redis_server.thaw()
    for _ in range(8):
        await asyncio.sleep(0.04)
        assert run.readers == 1
    finish(run)
    assert await reading == run.since(0)


async def test_redis_stays_away(redis_server: RedisServer) -> None:
    """A mirror that nothing can come to any more ends a while after the run's deadline, truthfully and in time."""
    async with fleet(redis_server.url) as others:
        a, b = await others.instance(), await others.instance()
        run = await a.show(deadline_s=0.1)
        mirror = await b.others.tail(run.run_id, OPENER)
        assert mirror is not None
        redis_server.kill()
        told = await asyncio.wait_for(read(mirror.attach()), 2)
        assert last(told)[2:4] == ("failed", "interrupted")


async def test_redis_was_never_there() -> None:
    """Without a Redis everything goes on as if this were the only instance, and is waited for by nobody for long."""
    began = time.monotonic()
    async with fleet(f"redis://127.0.0.1:{free_port()}/0", there=False) as others:
        a = await others.instance()
        run = a.open()
        assert await a.others.claim(key(), flight(run)) is None
        assert await a.others.tail(run.run_id, OPENER) is None
        assert await a.others.stop(run.run_id, OPENER, "cancelled") is None
        assert await a.others.first(OPENER, "k", Used("1", "f")) == Used("1", "f")
        await a.others.unclaim(key(), flight(run))
        finish(run)
        assert a.others.state["status"] == "away"
        assert a.others.state["unanswered"] == 4
    assert time.monotonic() - began < 5


async def test_a_frozen_redis_delays_nobody_for_long(redis_server: RedisServer) -> None:
    """Once Redis has failed to answer a few times it is not waited for, and when it is well it is asked again."""
    async with fleet(redis_server.url, replace(QUICK, command_s=0.1)) as others:
        a = await others.instance()
        redis_server.freeze()
        for _ in range(3):
            await a.others.tail("0190", OPENER)
        began = time.monotonic()
        for _ in range(50):
            assert await a.others.tail("0190", OPENER) is None
        assert time.monotonic() - began < 50 * 0.1 / 2  # half of what waiting each time would take
        redis_server.thaw()
        run = a.open()
        while await a.others.tail(run.run_id, OPENER) is not run:  # noqa: ASYNC110  # as the client would
            await asyncio.sleep(0.02)


async def test_what_ended_meanwhile(others: Fleet, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the runs that end while Redis is away only the last ones are kept for it."""
    monkeypatch.setattr(relay, "MOST_ENDED", 3)
    a = await others.instance()
    redis_server.kill()
    runs = [a.open() for _ in range(10)]
    for run in runs:
        finish(run)
    await until(lambda: a.others.state["shown"] == 3, 3)
    assert a.others.state["dropped"] == 7
    redis_server.start()
    await until(lambda: a.others.state["shown"] == 0, 3)
