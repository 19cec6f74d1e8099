"""The PostgreSQL level of stored answers, on a real database."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import uuid_utils
from filing import do, value

from app.answers.level import Level, LevelUnavailable, Size, Stored
from app.postgres import upkeep as upkeep_module
from app.postgres.answers import PostgresAnswers
from app.postgres.pool import Pool
from app.postgres.upkeep import Upkeep
from app.question import Key
from bench.proxy import Proxy

OLD, NEW = (str(uuid_utils.uuid7(nanoseconds=at * 10**15)) for at in (1000, 2000))
MINE, YOURS = Key("caller:me", "a" * 64), Key("caller:you", "a" * 64)


@pytest.fixture
def answers(pool: Pool) -> Level:
    """The level on a fresh database."""
    return PostgresAnswers(pool)


def stored(encoded: bytes, key: Key = MINE, run_id: str = OLD, for_s: float = 60.0) -> Stored:
    """An answer that may be served for so long from now on."""
    return Stored(key, run_id, time.time() + for_s, encoded)


async def test_the_longer_life_of_an_answer_counts(answers: Level) -> None:
    """Of two answers of the newest run the one with the longer life stays."""
    await answers.put([stored(b"new", run_id=NEW)])
    await answers.put([stored(b"shorter", run_id=NEW, for_s=50)])
    assert await answers.get(MINE) == b"new"
    await answers.put([stored(b"longer", run_id=NEW, for_s=70)])
    assert await answers.get(MINE) == b"longer"


async def test_an_expired_answer_is_none(answers: Level, dsn: str) -> None:
    """What has expired is neither got nor counted, makes room for an older run's answer, and was not there."""
    await answers.put([stored(b"new", run_id=NEW, for_s=-1), stored(b"yours", YOURS, for_s=-1)])
    assert (await answers.get(MINE), await answers.size()) == (None, Size(0, 0))
    assert await answers.remove(YOURS) is False
    await answers.put([stored(b"old")])
    assert await answers.get(MINE) == b"old"
    assert await value(dsn, "SELECT count(*) FROM answers") == 1


async def test_writers_of_the_same_answers_never_block_each_other(answers: Level) -> None:
    """Batches with the same keys in opposite order, written at the same time, are all stored."""
    batch = [stored(b"x" * 2000, Key("global", f"{n:064}"), run_id) for n in range(50) for run_id in (OLD, NEW)]
    await asyncio.gather(*(answers.put(batch[::order]) for order in (1, -1, 1, -1)))
    assert (await answers.size()).entries == 50


async def test_expired_answers_are_deleted_in_small_steps(
    answers: Level, pool: Pool, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chore takes all that has expired, some at a time, and nothing else."""
    monkeypatch.setattr(upkeep_module, "BATCH", 3)
    await answers.put([stored(b"x", Key("global", f"{n:064}"), for_s=-1 if n < 7 else 60) for n in range(9)])
    assert [await Upkeep(pool).drop_expired() for _ in range(2)] == [7, 0]
    assert await value(dsn, "SELECT count(*) FROM answers") == 2


@pytest_asyncio.fixture
async def through(proxy: tuple[Proxy, str]) -> AsyncIterator[tuple[Proxy, Level]]:
    """A level behind a network that can be cut, with one connection that is open already."""
    network, dsn = proxy
    async with Pool(dsn, 1) as pool:
        level = PostgresAnswers(pool)
        await level.put([stored(b"x")])
        yield network, level


async def test_a_database_that_swallows_everything_holds_nobody(through: tuple[Proxy, Level]) -> None:
    """A look-up that is cancelled ends at once, though no server acknowledges it; the next one finds a connection."""
    network, level = through
    network.swallow = True
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(level.get(MINE), 0.03)
        assert time.monotonic() - began < 0.5
    network.swallow = False
    assert await level.get(MINE) == b"x"


async def test_a_database_that_is_away_is_an_unavailable_level(through: tuple[Proxy, Level]) -> None:
    """Every call to a database that is gone says LevelUnavailable, and works again when it is back."""
    network, level = through
    await network.down()
    for call in (level.get(MINE), level.put([stored(b"y")]), level.remove(MINE), level.clear(None), level.size()):
        with pytest.raises(LevelUnavailable):
            await call
    await network.up()
    assert await level.get(MINE) == b"x"


async def test_a_table_that_is_missing_is_an_unavailable_level(answers: Level, dsn: str) -> None:
    """A schema that is behind, or a batch that is no such, is the level's trouble and nobody else's."""
    with pytest.raises(LevelUnavailable):
        await answers.put([stored(b"x", run_id="no id")])
    await do(dsn, "DROP TABLE answers")
    with pytest.raises(LevelUnavailable):
        await answers.get(MINE)
