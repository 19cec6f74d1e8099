"""Stored answers over several levels that are well: looked down, filled upwards, kept, removed, counted."""

import asyncio
import random
import time
from collections.abc import AsyncIterator

import pytest
from levels import KEY, DictLevel, answer, cache_of
from msgspec.structs import replace
from servers import eventually

from app.answers import guarded
from app.answers.answer import Answer, encode
from app.answers.cache import INLINE_BYTES, Cache
from app.answers.level import Stored
from app.errors import CacheUnavailable
from app.question import Key

OTHER = Key("caller:me", "e" * 64)
FOREIGN = Key("caller:you", "f" * 64)


class Bench:
    """A cache over two levels."""

    def __init__(self) -> None:
        self.redis, self.postgres = DictLevel("redis"), DictLevel("postgres")
        self.cache = cache_of(self.redis, self.postgres, timeout_s=5.0)  # none is ill, however busy the machine is

    def held(self, key: Key = KEY) -> str:
        """The levels that hold something under this key."""
        return " ".join(level.name for level in (self.redis, self.postgres) if key in level.kept)

    async def written(self) -> None:
        """Until the writer has nothing to do."""
        writer = self.cache._writer
        await eventually(lambda: not (writer._wake.is_set() or writer._due or writer.lock.locked()))


def put(level: DictLevel, what: Answer, key: Key | None = None) -> None:
    """Have it in a level, as if another instance had stored it."""
    key = key or Key(what.scope, what.fingerprint)
    level.kept[key] = Stored(key, what.run_id, what.expires_at, encode(what))


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """A running one."""
    bench = Bench()
    async with bench.cache:
        yield bench


def without_yielding(cache: Cache, key: Key = KEY) -> Answer | None:
    """What `find` returns, which must not wait for anything."""
    coroutine = cache.find(key)
    with pytest.raises(StopIteration) as ended:
        coroutine.send(None)
    found: Answer | None = ended.value.value
    return found


async def test_kept_everywhere(bench: Bench) -> None:
    """An answer that is kept is in memory at once and in every level soon."""
    kept = answer()
    bench.cache.keep(kept)
    assert (bench.cache.at_hand(KEY), bench.held()) == (kept, "")
    await bench.written()
    assert bench.held() == "redis postgres"


async def test_found_in_the_first_level(bench: Bench) -> None:
    """Levels are asked in their order, and those below a hit not at all."""
    put(bench.redis, answer(run=1))
    put(bench.postgres, answer(run=2))
    found = await bench.cache.find(KEY)
    assert found is not None
    assert found.run_id.endswith("1")
    assert bench.postgres.calls["get"] == 0


async def test_filled_upwards(bench: Bench) -> None:
    """What only the lowest level had is in all levels above it afterwards, and not written to itself again."""
    put(bench.postgres, answer())
    found = await bench.cache.find(KEY)
    assert found == bench.cache.at_hand(KEY)
    assert found is not None
    await bench.written()
    assert (bench.held(), bench.postgres.calls["put"]) == ("redis postgres", 0)


async def test_nothing_is_remembered_of_a_miss(bench: Bench) -> None:
    """That there was no answer is not cached: the next one who asks looks again."""
    assert await bench.cache.find(KEY) is None
    put(bench.postgres, answer())
    assert await bench.cache.find(KEY) is not None


async def test_hit_in_memory_does_not_yield(bench: Bench) -> None:
    """A find that memory can serve does not give the loop away."""
    bench.cache.keep(answer())
    assert without_yielding(bench.cache) is not None


async def test_without_levels_nothing_yields() -> None:
    """Where there is only memory, a miss does not give the loop away either."""
    async with cache_of() as cache:
        assert without_yielding(cache) is None


async def test_two_hundred_at_once(bench: Bench) -> None:
    """Two hundred who ask the same at once ask each level once, and all get the answer."""
    bench.redis.mood = "slow"
    put(bench.postgres, answer())
    found = await asyncio.gather(*(bench.cache.find(KEY) for _ in range(200)))
    assert [bench.redis.calls["get"], bench.postgres.calls["get"]] == [1, 1]
    assert {one.run_id for one in found if one is not None} == {answer().run_id}
    assert None not in found


@pytest.mark.parametrize("leaves", [0, 1])
async def test_search_outlives_an_asker(bench: Bench, leaves: int) -> None:
    """Whoever of those that share a search is cancelled, the others get the answer."""
    bench.redis.mood = "slow"
    put(bench.redis, answer())
    askers = [asyncio.create_task(bench.cache.find(KEY)) for _ in range(2)]
    await asyncio.sleep(0)
    askers[leaves].cancel()
    assert await askers[1 - leaves] is not None
    assert askers[leaves].cancelled()


async def test_search_goes_on_alone(bench: Bench) -> None:
    """A search whose only asker was cancelled still fills memory."""
    bench.redis.mood = "slow"
    put(bench.redis, answer())
    asker = asyncio.create_task(bench.cache.find(KEY))
    await asyncio.sleep(0)
    asker.cancel()
    await eventually(lambda: bench.cache.at_hand(KEY) is not None)


async def test_different_questions_are_not_shared(bench: Bench) -> None:
    """Searches for the same fingerprint in different scopes are different searches."""
    put(bench.redis, answer(KEY))
    found = await asyncio.gather(bench.cache.find(KEY), bench.cache.find(FOREIGN), bench.cache.find(OTHER))
    assert [one is not None for one in found] == [True, False, False]


@pytest.mark.parametrize("key", [OTHER, FOREIGN])
async def test_answer_to_something_else(bench: Bench, key: Key) -> None:
    """An answer of another scope or fingerprint than it is stored under is a miss, and is removed."""
    put(bench.redis, answer(key), KEY)
    assert await bench.cache.find(KEY) is None
    assert bench.cache.at_hand(key) is None
    await bench.written()
    assert bench.held() == ""


async def test_expired_answer_of_a_level(bench: Bench) -> None:
    """An answer that a level should have forgotten is a miss, counted as an error, and is removed."""
    bench.redis._wall = lambda: 0.0  # its clock is slow
    put(bench.redis, answer(expires_at=time.time() - 1))
    assert await bench.cache.find(KEY) is None
    await bench.written()
    redis = (await bench.cache.stats()).levels["redis"]
    assert (bench.held(), redis.hits, redis.misses, redis.errors) == ("", 0, 1, 1)


async def test_damaged_answer_is_replaced(bench: Bench) -> None:
    """A damaged value is a miss; the level below serves, and what it had takes the damaged one's place."""
    sound = answer()
    put(bench.postgres, sound)
    put(bench.redis, sound)
    bench.redis.kept[KEY] = bench.redis.kept[KEY]._replace(encoded=encode(sound)[:-1])
    assert await bench.cache.find(KEY) == sound
    await bench.written()
    assert bench.redis.kept[KEY].encoded == encode(sound)
    assert bench.redis.calls["remove"] == 1
    assert (await bench.cache.stats()).levels["redis"].errors == 1


async def test_large_answer(bench: Bench) -> None:
    """An answer too large to be decoded on the loop is found like any other."""
    large = answer(events=random.Random(1).randbytes(2 * INLINE_BYTES))
    put(bench.postgres, large)
    assert len(bench.postgres.kept[KEY].encoded) > INLINE_BYTES
    assert await bench.cache.find(KEY) == large


async def test_expired_is_not_kept(bench: Bench) -> None:
    """An answer whose time is over is neither held nor written."""
    bench.cache.keep(answer(expires_at=time.time()))
    await bench.written()
    assert (bench.cache.at_hand(KEY), bench.held()) == (None, "")


async def test_until(bench: Bench) -> None:
    """The cache says until when an answer of now may be served, by the class of its question."""
    until = bench.cache.until("faq")
    assert until is not None
    assert until == pytest.approx(time.time() + 3600, abs=5)
    assert bench.cache.until("news") is None


async def test_remove(bench: Bench) -> None:
    """An answer that is removed is gone everywhere, and only that one."""
    for key in (KEY, OTHER):
        bench.cache.keep(answer(key))
    await bench.written()
    assert await bench.cache.remove(KEY)
    assert not await bench.cache.remove(KEY)
    assert (bench.held(), bench.held(OTHER)) == ("", "redis postgres")
    assert [await bench.cache.find(key) is None for key in (KEY, OTHER)] == [True, False]


@pytest.mark.parametrize(("scope", "left"), [("caller:me", [FOREIGN]), (None, [])])
async def test_clear(bench: Bench, scope: str | None, left: list[Key]) -> None:
    """Clearing forgets the answers of a scope, or all, and counts those of the fullest level."""
    for key in (KEY, OTHER, FOREIGN):
        put(bench.postgres, answer(key))
    await bench.cache.find(KEY)
    await bench.cache.find(FOREIGN)
    assert await bench.cache.clear(scope) == 3 - len(left)
    await bench.written()
    assert [key for key in (KEY, OTHER, FOREIGN) if await bench.cache.find(key)] == left


async def test_removal_drops_what_is_queued(bench: Bench) -> None:
    """What waits to be written when it is removed is not written."""
    bench.cache.keep(answer(KEY))
    bench.cache.keep(answer(OTHER))
    assert await bench.cache.remove(KEY)
    await bench.written()
    assert (bench.held(KEY), bench.held(OTHER)) == ("", "redis postgres")


async def test_removal_waits_for_a_batch_under_way(bench: Bench) -> None:
    """An answer that is being written when it is removed does not stay."""
    bench.redis.mood = "slow"
    bench.cache.keep(answer())
    await asyncio.wait_for(bench.redis.called.wait(), 1)
    bench.redis.slow_s = 0.0
    assert await bench.cache.remove(KEY)
    await bench.written()
    assert (bench.redis.batches != [], bench.held()) == (True, "")


@pytest.mark.parametrize("removal_s", [0.0, 0.02])
async def test_removal_stops_a_search_from_filling(bench: Bench, removal_s: float) -> None:
    """What was found before a removal fills nothing after it, and who asks after it does not get it."""
    bench.redis.mood = "slow"
    put(bench.redis, answer())
    before = asyncio.create_task(bench.cache.find(KEY))
    await bench.redis.called.wait()
    bench.redis.slow_s = removal_s
    assert await bench.cache.remove(KEY)
    assert await bench.cache.find(KEY) is None
    await before
    await bench.written()
    assert (bench.cache.at_hand(KEY), bench.held()) == (None, "")


async def test_removal_from_a_level_that_fails(bench: Bench) -> None:
    """Removing says when a level could not be reached, and has removed everywhere else."""
    bench.cache.keep(answer())
    await bench.written()
    bench.redis.mood = "down"
    with pytest.raises(CacheUnavailable, match="redis") as refused:
        await bench.cache.remove(KEY)
    assert (bench.held(), bench.cache.at_hand(KEY)) == ("redis", None)
    assert refused.value.details == {"levels": ["redis"]}
    with pytest.raises(CacheUnavailable, match="redis"):
        await bench.cache.clear(None)


async def test_clearing_asks_a_level_that_is_spared(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator's word is tried even on a level that questions are spared, and may bring it back."""
    monkeypatch.setattr(guarded, "WRITE_S", 0.01)
    bench.redis.mood = "down"
    for _ in range(3):
        await bench.cache.find(KEY)
    assert bench.cache.state["redis"] == "away"
    bench.redis.mood = "well"
    await bench.cache.clear(None)
    assert bench.cache.state["redis"] == "ok"


async def test_counts(bench: Bench) -> None:
    """Lookups, hits and misses are counted over all and by level; `at_hand` counts its hits only."""
    put(bench.postgres, answer())
    bench.cache.at_hand(KEY)
    await bench.cache.find(KEY)
    await bench.cache.find(OTHER)
    bench.cache.at_hand(KEY)
    stats = await bench.cache.stats()
    assert (stats.lookups, stats.hits, stats.hit_rate) == (3, 2, 2 / 3)
    assert {name: (level.hits, level.misses) for name, level in stats.levels.items()} == {
        "memory": (1, 2),
        "redis": (0, 2),
        "postgres": (1, 1),
    }


async def test_sizes(bench: Bench) -> None:
    """The statistics say how much each level holds, and null where it cannot be asked."""
    kept = answer()
    bench.cache.keep(kept)
    await bench.written()
    bench.redis.mood = "down"
    levels = (await bench.cache.stats()).levels
    assert [levels[name].entries for name in ("memory", "redis", "postgres")] == [1, None, 1]
    assert levels["memory"].bytes == kept.size
    assert levels["redis"].bytes is None
    assert levels["postgres"].bytes == len(encode(kept))


async def test_credit(bench: Bench) -> None:
    """What replays saved is summed up; what is not known of an answer adds nothing."""
    known = answer()
    for one in (known, known, replace(known, cost_nano=None)):
        bench.cache.credit(one)
    stats = await bench.cache.stats()
    saved = stats.saved
    assert (stats.replays, saved.latency_ms, saved.input_tokens, saved.output_tokens) == (3, 240.0, 60, 12)
    assert saved.cost_usd == 0.004


async def test_hit_rate_of_nothing() -> None:
    """Before anybody has asked there is no hit rate, and a memory of no size says so."""
    async with cache_of(entries=0) as cache:
        assert (await cache.stats()).hit_rate is None
        assert cache.state == {"memory": "off"}
