"""What the cache may rely on: every level keeps these rules, Redis, PostgreSQL and the dict that tests make ill."""

import os
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import uuid_utils
from levels import DictLevel

from app.answers.level import Level, Stored
from app.postgres.answers import PostgresAnswers
from app.postgres.pool import Pool
from app.question import Key
from app.redis.answers import RedisAnswers
from app.redis.client import Client

OLD, NEW = (str(uuid_utils.uuid7(nanoseconds=at * 10**15)) for at in (1000, 2000))
MINE, YOURS = Key("caller:me", "a" * 64), Key("caller:you", "a" * 64)


@pytest.fixture
def dict_level() -> Level:
    """The one that tests make ill."""
    return DictLevel()


@pytest_asyncio.fixture
async def redis_level(redis_url: str) -> AsyncIterator[Level]:
    """On an empty Redis."""
    async with Client(redis_url, "t") as client:
        yield RedisAnswers(client)


@pytest.fixture
def postgres_level(pool: Pool) -> Level:
    """On a fresh database."""
    return PostgresAnswers(pool)


@pytest.fixture(params=["dict_level", "redis_level", "postgres_level"])
def level(request: pytest.FixtureRequest) -> Level:
    """An empty level of each kind."""
    found: Level = request.getfixturevalue(request.param)
    return found


def stored(encoded: bytes, key: Key = MINE, run_id: str = OLD, for_s: float = 60.0) -> Stored:
    """An answer that may be served for so long from now on."""
    return Stored(key, run_id, time.time() + for_s, encoded)


async def test_byte_for_byte(level: Level) -> None:
    """What was put under a key is what is got, every byte of it; another key or scope has nothing."""
    encoded = b"\x00\n\xff" + os.urandom(20_000)
    await level.put([stored(encoded)])
    assert await level.get(MINE) == encoded
    assert (await level.get(YOURS), await level.get(Key(MINE.scope, "b" * 64))) == (None, None)
    await level.put([])
    size = await level.size()
    assert (size.entries, len(encoded) <= size.bytes < len(encoded) + 100) == (1, True)


async def test_newest_run(level: Level) -> None:
    """The answer of the newest run stands, in whatever order they come, also in one batch."""
    await level.put([stored(b"old"), stored(b"new", run_id=NEW), stored(b"old")])
    assert await level.get(MINE) == b"new"
    await level.put([stored(b"old")])
    assert await level.get(MINE) == b"new"


async def test_older_run_gives_way(level: Level) -> None:
    """An answer of a newer run takes the place of an older one's."""
    await level.put([stored(b"old")])
    await level.put([stored(b"new", run_id=NEW)])
    assert (await level.get(MINE), (await level.size()).entries) == (b"new", 1)


async def test_expired(level: Level) -> None:
    """What has expired is neither got nor counted nor there to be removed, and makes room for an older run's."""
    await level.put([stored(b"new", run_id=NEW, for_s=-1)])
    assert (await level.get(MINE), (await level.size()).entries, await level.remove(MINE)) == (None, 0, False)
    await level.put([stored(b"new", run_id=NEW, for_s=-1)])
    await level.put([stored(b"old")])
    assert await level.get(MINE) == b"old"


async def test_forgotten(level: Level) -> None:
    """One answer, those of a scope, or all are forgotten; it is told what there was, and other scopes stay."""
    keys = [Key(scope, name * 64) for scope in ("caller:me", "caller:you", "global") for name in "ab"]
    await level.put([stored(b"x", key) for key in keys])
    assert [await level.remove(keys[0]), await level.remove(keys[0])] == [True, False]
    assert await level.clear("caller:me") == 1
    assert (await level.get(keys[1]), await level.get(keys[2])) == (None, b"x")
    assert (await level.clear(None), (await level.size()).entries) == (4, 0)
