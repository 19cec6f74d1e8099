"""Stored answers over levels that are ill: every failure is a miss within its bound, spared, counted and healed."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from cells import rows
from clock import jump
from levels import KEY, MOODS, DictLevel, Mood, answer, cache_of

from app.answers.answer import encode
from app.answers.cache import Cache
from app.answers.guarded import STRAYS
from app.answers.level import Stored
from app.question import Key

Scene = Callable[[Cache, DictLevel, DictLevel], Awaitable[Any]]


def played(scene: Scene, mood: Mood) -> Any:
    """Play this on a clock that jumps, over a level that is ill and one below it that is well and has the answer."""

    async def main() -> Any:
        """Play it with a cache over the level."""
        sick, well = DictLevel("redis"), DictLevel("postgres")
        sick.mood = mood
        well.kept[KEY] = Stored(KEY, answer().run_id, answer().expires_at, encode(answer()))
        async with cache_of(sick, well, entries=0) as cache:
            result = await scene(cache, sick, well)
            sick.heard.set()
            sick.mood = "well"
        return result

    return jump(main())


async def passing(call: Awaitable[Any]) -> tuple[Any, float]:
    """What it returns, and how many seconds it took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    return await call, round(loop.time() - began, 3)


@rows(
    ("mood", "takes_s"),
    [("down", 0.0), ("raises", 0.0), ("garbage", 0.0), ("slow", 0.01), ("frozen", 0.05), ("deaf", 0.05)],
)
def test_failure_is_a_miss(mood: Mood, takes_s: float) -> None:
    """A level that is ill in any way costs its timeout at most, and the next one serves."""

    async def scene(cache: Cache, *_: DictLevel) -> None:
        """What happens, on a clock that jumps."""
        found, took = await passing(cache.find(KEY))
        assert (found is not None, took) == (True, takes_s)
        redis = (await cache.stats()).levels["redis"]
        assert (redis.hits, redis.misses, redis.errors) == (0, 1, 0 if mood == "slow" else 1)

    played(scene, mood)


@rows("mood", MOODS)
def test_sick_level_is_spared(mood: Mood) -> None:
    """After three failures in a row a level is not asked at every question; it is not filled by a find either."""

    async def scene(cache: Cache, sick: DictLevel, _well: DictLevel) -> None:
        """What happens, on a clock that jumps."""
        took = [(await passing(cache.find(KEY)))[1] for _ in range(20)]
        assert sick.calls["get"] == 3
        assert took[3:] == [0.0] * 17
        assert sick.calls["put"] == 0
        assert cache.state == {"memory": "off", "redis": "away", "postgres": "ok"}

    played(scene, mood)


@rows("mood", MOODS)
def test_heals_by_itself(mood: Mood) -> None:
    """A level that is well again serves again, found by one probe, within the breaker's longest wait."""

    async def scene(cache: Cache, sick: DictLevel, _well: DictLevel) -> None:
        """What happens, on a clock that jumps."""
        for _ in range(60):
            await cache.find(KEY)
            await asyncio.sleep(1)
        assert 5 <= sick.calls["get"] <= 15
        sick.mood, asked = "well", sick.calls["get"]
        sick.heard.set()
        sick.kept[KEY] = Stored(KEY, answer().run_id, answer().expires_at, encode(answer()))
        await asyncio.sleep(10)
        await cache.find(KEY)
        stats = (await cache.stats()).levels["redis"]
        assert (sick.calls["get"], stats.hits, stats.state, stats.stuck) == (asked + 1, 1, "ok", 0)

    played(scene, mood)


def test_one_probe_at_a_time() -> None:
    """While a probe is under way, others do not wait for the sick level."""

    async def scene(cache: Cache, sick: DictLevel, _well: DictLevel) -> None:
        """What happens, on a clock that jumps."""
        for _ in range(3):
            await cache.find(KEY)
        await asyncio.sleep(1)
        others = [Key("caller:me", f"{number:064}") for number in range(5)]
        probe = asyncio.create_task(cache.find(KEY))
        await asyncio.sleep(0)
        took = [took for _, took in await asyncio.gather(*(passing(cache.find(key)) for key in others))]
        assert (took, sick.calls["get"]) == ([0.0] * 5, 4)
        await probe

    played(scene, "frozen")


def test_no_yield_when_all_are_spared() -> None:
    """When every level is spared, a find returns without giving the loop away."""

    async def scene(cache: Cache, _sick: DictLevel, well: DictLevel) -> None:
        """What happens, on a clock that jumps."""
        well.mood = "down"
        for _ in range(3):
            await cache.find(KEY)
        coroutine = cache.find(KEY)
        with pytest.raises(StopIteration) as ended:
            coroutine.send(None)
        assert ended.value.value is None

    played(scene, "down")


def test_strays_are_bounded() -> None:
    """Calls that do not heed their cancellation are left behind in a bounded number; then the level is not asked."""

    async def scene(cache: Cache, sick: DictLevel, _well: DictLevel) -> None:
        """What happens, on a clock that jumps."""
        for _ in range(60):
            await cache.find(KEY)
            await asyncio.sleep(11)
        levels = (await cache.stats()).levels
        assert (sick.calls["get"], levels["redis"].stuck, levels["redis"].state) == (STRAYS, STRAYS, "stuck")
        sick.heard.set()
        sick.mood = "well"
        await asyncio.sleep(11)
        await cache.find(KEY)
        assert cache.state["redis"] == "ok"

    played(scene, "deaf")


def test_garbage_is_asked_again() -> None:
    """A level that answers quickly but wrongly is not spared: each key may be damaged for itself."""

    async def scene(cache: Cache, sick: DictLevel, _well: DictLevel) -> None:
        """What happens, on a clock that jumps."""
        for _ in range(5):
            assert await cache.find(KEY) is not None
        assert (sick.calls["get"], cache.state["redis"]) == (5, "ok")

    played(scene, "garbage")


@rows("mood", [*MOODS, "slow"])
def test_closing_in_the_middle(mood: Mood) -> None:
    """Who searches while the cache is closed gets no answer and no error, and no task stays behind."""

    async def main() -> None:
        """Play it with a cache over the level."""
        level = DictLevel()
        async with cache_of(level) as cache:
            level.mood = mood
            asker = asyncio.create_task(cache.find(KEY))
            await asyncio.sleep(0)
            level.heard.set()
        assert await asker is None
        assert await cache.find(KEY) is None

    jump(main())


def test_fault_of_our_own_is_a_miss(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A bug in reading or writing an answer costs that answer, is told, and nothing else."""
    monkeypatch.setattr("app.answers.cache.decode", lambda _: 1 / 0)
    monkeypatch.setattr("app.answers.writer._stored", lambda _: 1 / 0)

    async def scene(cache: Cache, _sick: DictLevel, well: DictLevel) -> None:
        """What happens, on a clock that jumps."""
        assert await cache.find(KEY) is None
        cache.keep(answer())
        await asyncio.sleep(1)
        monkeypatch.undo()
        well.called.clear()
        cache.keep(answer())
        await well.called.wait()

    played(scene, "down")
    assert caplog.text.count("ZeroDivisionError") == 2


def test_sickness_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """The log says once that a level is away, and once that it is back."""

    async def scene(cache: Cache, sick: DictLevel, _well: DictLevel) -> None:
        """What happens, on a clock that jumps."""
        for _ in range(10):
            await cache.find(KEY)
            await asyncio.sleep(1)
        sick.mood = "well"
        await asyncio.sleep(11)
        await cache.find(KEY)

    with caplog.at_level(logging.INFO, "app.answers.guarded"):
        played(scene, "down")
    assert caplog.messages == [
        "the stored answers in redis are away: connection refused",
        "the stored answers in redis are back",
    ]
