"""How answers get to the levels: in batches, bounded, and not lost when the server stops in good order."""

import asyncio
import itertools
import logging
import time

import pytest
from levels import KEY, DictLevel, Mood, answer, cache_of
from msgspec.structs import replace
from servers import eventually

from app.answers import guarded, writer
from app.question import Key


def keys(count: int) -> list[Key]:
    """Keys of one scope."""
    return [Key("caller:me", f"{number:064}") for number in range(count)]


async def test_what_gathers_is_one_batch() -> None:
    """Answers that come within 20 ms share one round trip to a level."""
    level = DictLevel()
    async with cache_of(level) as cache:
        began = time.monotonic()
        for key in keys(5):
            cache.keep(answer(key))
            await asyncio.sleep(0)
        took_s = time.monotonic() - began  # longer on a machine that stops us meanwhile
    assert sum(len(batch) for batch in level.batches) == 5
    assert len(level.batches) <= 1 + took_s / writer.GATHER_S


async def test_batches_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long queue goes in several batches, oldest first, all of it."""
    monkeypatch.setattr(writer, "BATCH_ENTRIES", 4)
    level = DictLevel()
    async with cache_of(level) as cache:
        for run, key in enumerate(keys(10)):
            cache.keep(answer(key, run))
    assert [len(batch) for batch in level.batches] == [4, 4, 2]
    assert list(itertools.chain(*level.batches)) == [answer(run=run).run_id for run in range(10)]


async def test_batches_are_bounded_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large answers go in several batches."""
    monkeypatch.setattr(writer, "BATCH_BYTES", answer().size + 1)
    level = DictLevel()
    async with cache_of(level) as cache:
        for key in keys(4):
            cache.keep(answer(key))
    assert [len(batch) for batch in level.batches] == [2, 2]


@pytest.mark.parametrize("runs", [(1, 2), (2, 1)])
async def test_newest_of_a_key(runs: tuple[int, int]) -> None:
    """Of two answers to one question that wait, the newer is written, whichever came first, and only it."""
    level = DictLevel()
    async with cache_of(level) as cache:
        for run in runs:
            cache.keep(answer(run=run))
    assert level.batches == [[answer(run=2).run_id]]


@pytest.mark.parametrize(("bound", "value"), [("QUEUE_ENTRIES", 3), ("QUEUE_BYTES", 3 * answer().size)])
async def test_full_queue(monkeypatch: pytest.MonkeyPatch, bound: str, value: int) -> None:
    """What finds no room in the queue is dropped, counted once a level, and still in memory."""
    monkeypatch.setattr(writer, bound, value)
    levels = [DictLevel("redis"), DictLevel("postgres")]
    async with cache_of(*levels) as cache:
        for key in keys(5):
            cache.keep(answer(key))
        assert (await cache.stats()).dropped == 4
        assert all(cache.at_hand(key) for key in keys(5))
    assert [len(level.kept) for level in levels] == [3, 3]


async def test_queue_room_comes_back() -> None:
    """Bytes that were written, replaced or forgotten make room again."""
    async with cache_of(DictLevel()) as cache:
        for run in range(3):
            cache.keep(answer(run=run))
        cache.keep(answer(keys(1)[0]))
        await cache.remove(KEY)
        await eventually(lambda: cache._writer._bytes == 0)


async def test_leaving_writes_what_is_queued() -> None:
    """A cache that is closed writes what is queued before it ends, and takes nothing afterwards."""
    level = DictLevel()
    async with cache_of(level) as cache:
        cache.keep(answer())
    cache.keep(answer(keys(1)[0]))
    assert list(level.kept) == [KEY]
    assert (await cache.stats()).dropped == 1


async def test_leaving_does_not_wait_for_a_frozen_level(monkeypatch: pytest.MonkeyPatch) -> None:
    """A level that takes nothing holds up the end for a bounded time, and what it did not get is counted."""
    monkeypatch.setattr(writer, "CLOSE_S", 0.03)
    well, frozen = DictLevel("redis"), DictLevel("postgres")
    frozen.mood = "frozen"
    async with cache_of(well, frozen) as cache:
        cache.keep(answer())
        await eventually(lambda: well.kept)
        began = time.monotonic()
    assert time.monotonic() - began < 0.5
    frozen.mood = "well"
    assert (list(well.kept), (await cache.stats()).dropped) == ([KEY], 1)


@pytest.mark.parametrize("mood", ["down", "raises", "frozen"])
async def test_failed_write_is_dropped(monkeypatch: pytest.MonkeyPatch, mood: Mood) -> None:
    """An answer that one level does not take gets to the other, and is counted as dropped."""
    monkeypatch.setattr(guarded, "WRITE_S", 0.01)
    sick, well = DictLevel("redis"), DictLevel("postgres")
    sick.mood = mood
    async with cache_of(sick, well, timeout_s=0.01) as cache:
        cache.keep(answer())
    assert (list(well.kept), (await cache.stats()).dropped) == ([KEY], 1)


async def test_slow_level_does_not_hold_up_the_other() -> None:
    """All levels of a batch are written at the same time."""
    slow, quick = DictLevel("redis"), DictLevel("postgres")
    slow.mood = "deaf"
    async with cache_of(slow, quick) as cache:
        cache.keep(answer())
        await eventually(lambda: quick.kept)
        assert not slow.kept
        slow.heard.set()
    assert list(slow.kept) == list(quick.kept) == [KEY]


async def test_answer_that_cannot_be_encoded(caplog: pytest.LogCaptureFixture) -> None:
    """An answer that cannot be encoded costs nobody else a thing, and is told."""
    level = DictLevel()
    with caplog.at_level(logging.ERROR):
        async with cache_of(level) as cache:
            cache.keep(replace(answer(), latency_ms=1 << 70))
            cache.keep(answer(keys(1)[0]))
    assert list(level.kept) == keys(1)
    assert (await cache.stats()).dropped == 1
    assert "could not be encoded" in caplog.text
