"""The level of stored answers in Redis, and the idempotency keys, on a real one."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from app.answers.level import Size, Stored
from app.question import Caller, Key
from app.reasoning.elsewhere import Used
from app.redis.answers import RedisAnswers
from app.redis.client import Client, RedisUnavailable
from app.redis.keys import RedisKeys

ADA, BOB = Caller("ada"), Caller("bob")


@pytest_asyncio.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    """A client of a healthy, empty server."""
    async with Client(redis_url, "t") as client:
        yield client


@pytest.fixture
def answers(client: Client) -> RedisAnswers:
    """An empty level."""
    return RedisAnswers(client)


def stored(scope: str, fingerprint: str, encoded: bytes = b"answer", lives_s: float = 60.0) -> Stored:
    """An answer on its way to a level."""
    return Stored(Key(scope, fingerprint), "run", time.time() + lives_s, encoded)


async def test_an_answer_goes_when_its_time_is_up(answers: RedisAnswers) -> None:
    """An answer is gone at its expiry, and one that has expired already is not stored."""
    await answers.put([stored("a", "f"), stored("a", "g", lives_s=0.0), stored("a", "h", lives_s=-9)])
    assert (await answers.size()).entries == 1
    await answers.put([stored("a", "f", lives_s=0.03)])
    async with asyncio.timeout(5):
        while await answers.get(Key("a", "f")) is not None:  # noqa: ASYNC110  # Redis tells nobody
            await asyncio.sleep(0.01)
    assert await answers.size() == Size(0, 0)


async def test_every_answer_has_an_expiry(client: Client, answers: RedisAnswers) -> None:
    """Nothing that is put stays for ever."""
    await answers.put([stored("a", "f", lives_s=100)])
    (name,) = await client.call("KEYS", "*", timeout_s=1)
    assert 90_000 < await client.call("PTTL", name, timeout_s=1) <= 100_000


async def test_clear_takes_one_scope_or_all(client: Client, answers: RedisAnswers) -> None:
    """A scope is cleared whole and alone; all is everything of ours, and nothing of others."""
    await client.call("SET", "foreign", "x", timeout_s=1)
    await client.call("SET", "t:idempotency:x", "x", timeout_s=1)
    await answers.put([stored(scope, f"{n}") for scope in ("a", "b*?[") for n in range(1500)])
    assert await answers.clear("a") == 1500
    assert (await answers.size()).entries == 1500
    assert await answers.clear("nobody") == 0
    assert await answers.clear(None) == 1500
    assert await client.call("DBSIZE", timeout_s=1) == 2


async def test_prefixes_are_worlds_apart(redis_url: str, answers: RedisAnswers) -> None:
    """Two servers with different prefixes neither see nor clear each other's answers."""
    await answers.put([stored("a", "f")])
    async with Client(redis_url, "tt") as other:
        assert await RedisAnswers(other).get(Key("a", "f")) is None
        assert await RedisAnswers(other).clear(None) == 0
    assert (await answers.size()).entries == 1


async def test_nothing_to_put_asks_nobody() -> None:
    """An empty batch, or one of expired answers, needs no Redis."""
    async with Client("redis://127.0.0.1:1", "t") as client:
        await RedisAnswers(client).put([])
        await RedisAnswers(client).put([stored("a", "f", lives_s=-1)])


async def test_the_first_use_of_a_key_wins(client: Client) -> None:
    """Whoever comes later is told the first use; the same use told twice stays the first."""
    keys = RedisKeys(client, 60)
    first, second = Used("run-1", "f1"), Used("run-2", "f2")
    assert await keys.first(ADA, "k", first) == first
    assert await keys.first(ADA, "k", second) == first
    assert await keys.first(ADA, "k", first) == first
    assert await keys.first(BOB, "k", second) == second
    assert await keys.first(ADA, "other", second) == second


async def test_of_many_at_once_one_is_first(client: Client) -> None:
    """Fifty instances that use a key at the same moment all hear of the same use."""
    uses = await asyncio.gather(*(RedisKeys(client, 60).first(ADA, "k", Used(f"run-{n}", "f")) for n in range(50)))
    assert len(set(uses)) == 1


async def test_a_key_is_kept_for_its_time(client: Client) -> None:
    """A key may be used anew when its time is up."""
    keys = RedisKeys(client, 0.02)
    await keys.first(ADA, "k", Used("run-1", "f1"))
    await asyncio.sleep(0.03)
    assert await keys.first(ADA, "k", Used("run-2", "f2")) == Used("run-2", "f2")


async def test_a_key_that_holds_something_else_is_an_error(client: Client) -> None:
    """A value that is no use of a key is not taken for one."""
    keys = RedisKeys(client, 60)
    await keys.first(ADA, "k", Used("run-1", "f1"))
    (name,) = await client.call("KEYS", "*", timeout_s=1)
    await client.call("SET", name, "nonsense", timeout_s=1)
    with pytest.raises(RedisUnavailable):
        await keys.first(ADA, "k", Used("run-2", "f2"))
