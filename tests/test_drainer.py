"""The drainer against a store that is ill in every way."""

import asyncio
import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import entries
import pytest
from memory_store import MemoryStore
from msgspec.structs import replace
from servers import eventually

from app.record.backlog import Item, Limits, Steps
from app.record.direct import MemoryBacklog
from app.record.drainer import IN_A_ROW, Drainer
from app.record.entry import CLOSED, LATE, Closing, Entry
from app.record.ledger import Tally
from app.record.store import EntryRejected

QUICK = Limits(spacing_s=0.001, retry_first_s=0.001, retry_most_s=0.01)


class Bench:
    """A drainer over entries in memory and a store that a test can make ill."""

    def __init__(self, limits: Limits = QUICK, steps: Steps | None = None) -> None:
        self.store = MemoryStore()
        self.tally = Tally()
        self.printed: list[str] = []
        steps = steps or Steps(emit=self.printed.append)
        self.backlog = MemoryBacklog(self.tally, steps)
        self.drainer = Drainer(self.backlog, self.store, self.tally, limits, steps)

    def put(self, *what: Entry) -> list[Item]:
        """Entries on their way."""
        items = [Item(self.tally.accepted + at, 1.0, 1000, entry) for at, entry in enumerate(what)]
        for item in items:
            self.tally.accept()
            self.backlog.add(item)
        return items

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Bench"]:
        """With the drainer's task; at the end the books balance."""
        async with self.drainer:
            yield self
        self.backlog.close()
        assert self.tally.ledger(0).balanced


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """A running one."""
    async with Bench().running() as bench:
        yield bench


def openings(*at: int, **changes: Any) -> list[Entry]:
    """So many of them."""
    return [entries.opening(one, **changes) for one in at]


async def test_what_gathers_is_stored_together(bench: Bench) -> None:
    """While one batch is on its way the next gathers; a lone entry does not wait for company."""
    bench.store.gate.clear()
    bench.put(*openings(0))
    await eventually(lambda: bench.store.batches)
    bench.put(*openings(1, 2, 3, 4, 5))
    bench.store.gate.set()
    assert await bench.tally.drained(5)
    assert bench.store.batches == [1, 5]


async def test_batches_are_bounded() -> None:
    """No batch is larger than its bounds, in entries and in bytes."""
    bench = Bench(Limits(spacing_s=0, batch_entries=4, batch_bytes=2500))
    bench.put(*openings(*range(8)))
    async with bench.running():
        assert await bench.tally.drained(5)
    assert bench.store.batches == [3, 3, 2]


async def test_a_store_that_is_away_is_probed_with_one_entry(bench: Bench) -> None:
    """While the store is away one entry at a time knocks; when it is back all are there, once."""
    bench.store.away = True
    bench.put(*openings(*range(50)))
    await eventually(lambda: bench.tally.retries >= 2)
    assert bench.drainer.status == "away"
    assert bench.store.batches[0] == 50
    assert set(bench.store.batches[1:]) == {1}
    bench.store.away = False
    assert await bench.tally.drained(5)
    assert (bench.tally.stored, bench.drainer.status, bench.store.batches[-6:]) == (50, "ok", [1, 2, 4, 8, 16, 19])


async def test_a_store_that_is_slow_is_not_asked_for_more_than_it_takes(bench: Bench) -> None:
    """Where whole batches take too long, most of the attempts still store many entries each."""
    bench.store.most = 20
    bench.put(*openings(*range(100)))
    assert await bench.tally.drained(5)
    assert bench.tally.stored == 100
    assert len(bench.store.batches) < 30


async def test_a_schema_that_does_not_fit_is_held_and_alarmed(bench: Bench, caplog: Any) -> None:
    """A missing column holds everything, says so as an error once, and lets go when it is there."""
    bench.store.held = True
    bench.put(*openings(*range(5)))
    await eventually(lambda: bench.tally.retries >= 3)
    assert bench.drainer.status == "held"
    assert [record.levelno for record in caplog.records if "held" in record.message] == [logging.ERROR]
    bench.store.held = False
    assert await bench.tally.drained(5)
    assert (bench.tally.stored, bench.drainer.status) == (5, "ok")


async def test_a_lost_reply_makes_duplicates_only(bench: Bench) -> None:
    """A batch whose reply was lost is written again and counted as duplicate; the record has it once."""
    bench.store.lose_replies = 1
    bench.put(*openings(*range(10)))
    assert await bench.tally.drained(5)
    assert (bench.tally.stored, bench.tally.duplicate, len(bench.store.runs)) == (0, 10, 10)


async def test_one_of_a_hundred_is_found_and_buried(bench: Bench, caplog: Any) -> None:
    """Of a batch that is rejected the offender is buried as it was, once; its neighbours are stored."""
    good, bad = openings(*range(99)), entries.opening(run_id="no id")
    bench.put(*good[:40], bad, *good[40:])
    assert await bench.tally.drained(5)
    assert (bench.tally.stored, bench.tally.dead_lettered) == (99, 1)
    (letter,) = bench.store.letters.values()
    assert (letter.run_id, letter.reason, letter.version) == ("no id", "rejected", 1)
    assert sum(size == 1 for size in bench.store.batches) <= 4
    assert "no id" in caplog.text


@pytest.mark.parametrize("fault", [EntryRejected("no"), KeyError("a fault of our own")])
async def test_a_fault_of_the_store_stops_nobody_else(bench: Bench, fault: Exception) -> None:
    """An entry that makes the store fail in any way is buried, and the drainer goes on."""
    bench.store.broken = fault
    bench.put(entries.opening(caller="broken"), *openings(1))
    assert await bench.tally.drained(5)
    assert (bench.tally.stored, bench.tally.dead_lettered) == (1, 1)


async def test_poison_is_cleaned_and_stored(bench: Bench) -> None:
    """NUL, lone surrogates, NaN and ten megabytes are stored once cleaned, and their neighbours as they were."""
    start = entries.opening(5)
    poison: list[Entry] = [
        entries.opening(1, caller="a\x00"),
        entries.opening(2, question=entries.question("\ud800")),
        entries.closing(entries.opening(3), latency_ms=math.nan),
        entries.closing(entries.opening(4), lanes={"fast": entries.lane("fast", text="x" * 10_000_000)}),
    ]
    bench.put(start, *poison, *openings(6))
    assert await bench.tally.drained(10)
    assert (bench.tally.stored, bench.tally.dead_lettered) == (6, 0)
    assert bench.store.runs[start.run_id].entry == start


async def test_two_contents_of_one_run_are_a_conflict(bench: Bench) -> None:
    """The same version with other content is kept aside, counted as conflict, and the first one stands."""
    start = entries.opening()
    first = entries.closing(start)
    bench.put(start, start, first, first, replace(first, status="failed"), replace(first, version=LATE))
    assert await bench.tally.drained(5)
    tally = bench.tally
    assert (tally.stored, tally.duplicate, tally.dead_lettered, tally.conflicts) == (3, 2, 1, 1)
    assert [letter.reason for letter in bench.store.letters.values()] == ["conflict"]
    assert bench.store.runs[start.run_id].entry.version == LATE


async def test_a_letter_without_a_grave_is_laid_aside(bench: Bench) -> None:
    """A dead letter that the store cannot take now is kept beside it; nothing waits for it."""
    bench.store.no_graves = True
    bench.put(entries.opening(run_id="no id"), *openings(1))
    assert await bench.tally.drained(5)
    assert (bench.tally.stored, bench.tally.dead_lettered, len(bench.printed)) == (1, 1, 1)


async def test_a_letter_that_nobody_takes_is_tried_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no grave and no disk the entry stays open and is tried until one of them is back."""

    async def full(_: object) -> None:
        """No disk takes it."""
        raise OSError("no space left")

    bench.store.no_graves = True
    with monkeypatch.context() as patched:
        patched.setattr(bench.backlog, "lay_aside", full)
        bench.put(entries.opening(run_id="no id"))
        assert not await bench.tally.drained(0.03)
        assert bench.tally.in_flight == 1
    bench.store.no_graves = False
    assert await bench.tally.drained(5)
    assert len(bench.store.letters) == 1


async def test_prices_are_filled_in_off_the_loop() -> None:
    """A closing without cost gets one on its way; its content hash stays; a price list that fails costs no record."""

    def fill(entry: Entry) -> Entry:
        """Fails for one caller, and prices the others."""
        if entry.caller == "odd":
            raise KeyError("odd")
        return replace(entry, cost_nano=7) if isinstance(entry, Closing) else entry

    bench = Bench(steps=Steps(fill=fill))
    unpriced = entries.closing(entries.opening(1), cost_nano=None)
    odd = entries.closing(entries.opening(2, caller="odd"), cost_nano=None)
    async with bench.running():
        (item,) = bench.put(unpriced)
        assert await bench.tally.drained(5)
        bench.put(odd)
        assert await bench.tally.drained(5)
    filed = bench.store.runs[unpriced.opening.run_id]
    assert isinstance(filed.entry, Closing)
    assert (filed.entry.cost_nano, filed.digest) == (7, item.digest)
    assert await bench.store.versions() == {entry.opening.run_id: CLOSED for entry in (unpriced, odd)}


async def test_the_drainer_outlives_its_own_faults(bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    """A fault in the drainer itself is logged and the drainer begins again with what it had."""
    failures = iter([RuntimeError("a bug")])
    original = bench.drainer._store_part

    async def buggy(part: Any) -> None:
        """Fail once."""
        for failure in failures:
            raise failure
        await original(part)

    monkeypatch.setattr(bench.drainer, "_store_part", buggy)
    bench.put(*openings(1, 2))
    assert await bench.tally.drained(5)
    assert (bench.tally.stored, "a bug" in caplog.text) == (2, True)


async def test_a_store_that_hangs_does_not_hold_up_the_end() -> None:
    """Closed in the middle of a write, the drainer ends within a second and what it had stays open."""
    bench = Bench()
    bench.store.gate.clear()
    async with asyncio.timeout(1), bench.running():
        bench.put(*openings(1, 2, 3))
        await eventually(lambda: bench.store.batches)
    assert bench.tally.in_flight == 3


async def test_a_store_that_rejects_everything_is_rather_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """After some rejections in a row entries wait and the state says so; a store that is well again has the rest."""
    bench = Bench(Limits(spacing_s=0.001, retry_first_s=0.001, retry_most_s=60.0))
    bench.store.broken = AttributeError("a bug in the store")
    async with bench.running():
        bench.put(*openings(*range(100), caller="broken"))
        async with asyncio.timeout(10):
            while bench.drainer.status != "held":  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.005)
        assert bench.tally.dead_lettered <= IN_A_ROW + 1
        monkeypatch.setattr(bench.drainer._retrying.wait, "max", 0.01)
        bench.store.broken = None
        assert await bench.tally.drained(10)
        assert bench.tally.stored >= 100 - IN_A_ROW - 1
