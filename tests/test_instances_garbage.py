"""What somebody else wrote at the keys of the instances, by mistake or not."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from fleets import FRIEND, OPENER, PATIENT, Fleet, finish, fleet, flight, key, mirrored, say
from redises import RedisServer


@pytest.fixture
async def others(redis_url: str) -> AsyncIterator[Fleet]:
    """Instances over a Redis that is not theirs alone."""
    async with fleet(redis_url, PATIENT) as instances:
        yield instances


async def test_garbage_in_the_way(others: Fleet, redis_server: RedisServer) -> None:
    """What somebody else wrote at our keys is replaced by what belongs there, and readers get the truth."""
    a, b = await others.instance(), await others.instance()
    run, _, reading = await mirrored(a, b)
    ours = redis_server.ask("KEYS t:*").split()
    for name in [name for name in ours if name.startswith("t:")]:
        redis_server.ask(f"DEL {name}")
        redis_server.do(f"SET {name} garbage")
    say(run, "c")
    await asyncio.sleep(0.04)
    say(run, "d")
    finish(run)
    assert await asyncio.wait_for(reading, 3) == run.since(0)


@pytest.mark.parametrize(
    "entry", ["* e garbage", "* x y", "99999999-0 e garbage", 'NEXT-0 e "event: done\\n\\n"', '* e "event: done\\n\\n"']
)
async def test_garbage_in_a_stream(others: Fleet, redis_server: RedisServer, entry: str) -> None:
    """An entry that is not of the run's log is never told to a reader, who gets the whole log all the same."""
    a, b = await others.instance(), await others.instance()
    run, mirror, reading = await mirrored(a, b)
    redis_server.ask(f"XADD t:log:{run.run_id} {entry.replace('NEXT', str(run.size + 13))}")
    await asyncio.sleep(0.03)
    assert mirror.since(0) == run.since(0)
    say(run, "c")
    await asyncio.sleep(0.04)
    finish(run)
    assert await asyncio.wait_for(reading, 3) == run.since(0)


async def test_garbage_for_an_instance(others: Fleet, redis_server: RedisServer) -> None:
    """A message that is none is passed over, and those behind it are acted upon."""
    a, b = await others.instance(), await others.instance()
    run = await a.show()
    for words in ("garbage", "{}", '{"do":"stop"}', '{"do":"hold","sender":1,"runs":[]}', "{" + "x" * 100_000):
        await b.client.call("XADD", "t:control:A", "*", "m", words, timeout_s=1)
    await b.client.call("XADD", "t:control:A", "*", "x", "y", timeout_s=1)
    assert await b.others.stop(run.run_id, OPENER, "cancelled") is False
    assert a.others.state["garbage"] == 6


@pytest.mark.parametrize("words", ["garbage", '{"owner":"B"}', "[]", '{"owner":7}'])
async def test_garbage_for_a_flight(others: Fleet, redis_server: RedisServer, words: str) -> None:
    """A claim that is none keeps nobody from asking."""
    a, b = await others.instance(), await others.instance()
    run = a.open()
    assert await a.others.claim(key(), flight(run)) is None
    name = next(name for name in redis_server.ask("KEYS t:flight:*").split() if name.startswith("t:"))
    await b.client.call("SET", name, words, timeout_s=1)
    assert await b.others.claim(key(), flight(run)._replace(run_id="b")) is None


@pytest.mark.parametrize("guests", [True, False])
async def test_garbage_for_guests(others: Fleet, redis_server: RedisServer, guests: bool) -> None:
    """Where somebody else wrote at the key of a run's guests, nobody is let in by it, and a guest still is."""
    a, b = await others.instance(), await others.instance()
    run = await a.show()
    redis_server.do(f"SET t:guests:{run.run_id} garbage")
    found = await b.others.tail(run.run_id, FRIEND, guest=guests)
    assert (found is not None) is guests
