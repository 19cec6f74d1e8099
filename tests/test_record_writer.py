"""The writer behind the streams: receipts, the ledger, and a store that is ill."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import entries
import pytest
from memory_store import MemoryStore
from proxy import Proxy

from app.experiments.list import Filters
from app.postgres.pool import Pool
from app.postgres.runs import RunStore
from app.question import Caller
from app.record.entry import Journal
from app.record.store import EntryRejected
from app.record.writer import Counts, Limits, RecordWriter

QUICK = Limits(spacing_s=0.001, retry_first_s=0.001, retry_most_s=0.01)


@pytest.fixture
def store() -> MemoryStore:
    """A store that a test can make ill."""
    return MemoryStore()


@pytest.fixture
async def writer(store: MemoryStore) -> AsyncIterator[RecordWriter]:
    """A running writer on it."""
    async with RecordWriter(store, QUICK) as writer:
        yield writer


def balanced(counts: Counts) -> bool:
    """Whether every accepted entry is in exactly one place."""
    places = (counts.stored, counts.duplicate, counts.rejected, counts.queued, counts.in_flight)
    return counts.accepted == sum(places)


async def test_an_entry_is_durable_once_stored(writer: RecordWriter, store: MemoryStore) -> None:
    """A receipt is true when, and only when, the store has the entry."""
    journal: Journal = writer
    start = entries.opening()
    assert await journal.opened(start).durable(1)
    assert await journal.closed(entries.closing(start)).durable(1)
    assert await store.versions() == {start.run_id: 2}
    assert await writer.drain(1)
    assert (writer.counts.stored, balanced(writer.counts)) == (2, True)


async def test_a_receipt_waits_no_longer_than_told(writer: RecordWriter, store: MemoryStore) -> None:
    """A store that is slow makes the receipt false after its bound; asked again later it is true."""
    store.gate.clear()
    receipt = writer.opened(entries.opening())
    assert not await receipt.durable(0.01)
    assert not await receipt.durable(0)
    store.gate.set()
    assert await receipt.durable(1)
    assert await receipt.durable(0)


async def test_nobody_waits_for_a_store_known_to_be_away(writer: RecordWriter, store: MemoryStore) -> None:
    """While the store is away a new receipt says so at once; when it is back, the next one is true."""
    store.away = True
    first = writer.opened(entries.opening())
    assert not await first.durable(0.05)
    assert not await asyncio.wait_for(writer.opened(entries.opening()).durable(60), 0.05)
    store.away = False
    assert await writer.drain(1)
    assert await writer.opened(entries.opening()).durable(1)


async def test_several_may_wait_and_one_may_leave(writer: RecordWriter, store: MemoryStore) -> None:
    """A cancelled wait on a receipt disturbs neither the other waits nor the entry."""
    store.gate.clear()
    receipt = writer.opened(entries.opening())
    waits = [asyncio.create_task(receipt.durable(1)) for _ in range(2)]
    await asyncio.sleep(0)
    waits[0].cancel()
    store.gate.set()
    assert await waits[1]
    assert waits[0].cancelled()


async def test_what_gathers_is_stored_together(writer: RecordWriter, store: MemoryStore) -> None:
    """While one batch is on its way the next gathers; a lone entry does not wait for company."""
    store.gate.clear()
    writer.opened(entries.opening(0))
    await asyncio.sleep(0.005)
    for at in range(1, 6):
        writer.opened(entries.opening(at))
    assert (writer.counts.in_flight, writer.counts.queued, balanced(writer.counts)) == (1, 5, True)
    store.gate.set()
    assert await writer.drain(1)
    assert store.batches == [1, 5]


async def test_batches_are_bounded(store: MemoryStore) -> None:
    """No batch is larger than its bounds, in entries and in bytes, and a giant entry goes alone."""
    limits = Limits(spacing_s=0, batch_entries=4, batch_bytes=20_000)
    writer = RecordWriter(store, limits)
    for at in range(6):
        writer.opened(entries.opening(at))
    writer.closed(entries.closing(entries.opening(7), log=b"x" * 100_000))
    writer.opened(entries.opening(8))
    async with writer:
        assert await writer.drain(1)
    assert store.batches == [4, 3, 1]


async def test_a_store_that_is_away_is_tried_until_it_is_back(writer: RecordWriter, store: MemoryStore) -> None:
    """While the store is away entries wait and the ledger balances; when it is back all are there, once."""
    store.away = True
    receipts = [writer.closed(entries.closing(entries.opening(at))) for at in range(10)]
    assert not await receipts[0].durable(0.03)
    assert writer.counts.retries > 1
    assert writer.counts.queued + writer.counts.in_flight == 10
    assert balanced(writer.counts)
    store.away = False
    assert all([await receipt.durable(1) for receipt in receipts])
    assert len(await store.versions()) == writer.counts.stored == 10


async def test_the_same_entry_twice_is_a_duplicate(writer: RecordWriter) -> None:
    """An entry that is there already, or whose run has a later word, counts as duplicate and is durable."""
    start = entries.opening()
    assert await writer.closed(entries.closing(start)).durable(1)
    assert await writer.closed(entries.closing(start)).durable(1)
    assert await writer.opened(start).durable(1)
    assert (writer.counts.stored, writer.counts.duplicate, balanced(writer.counts)) == (1, 2, True)


async def test_an_entry_that_cannot_be_stored_is_found(writer: RecordWriter, store: MemoryStore, caplog: Any) -> None:
    """Of a batch that is rejected only the offenders are given up, counted and logged; their neighbours are stored."""
    store.gate.clear()
    writer.opened(entries.opening(0))
    await asyncio.sleep(0.005)
    receipts = [writer.opened(entries.opening(at)) for at in range(1, 20)]
    bad = [writer.opened(entries.opening(at, run_id=f"no id {at}")) for at in (30, 31)]
    store.gate.set()
    assert await writer.drain(1)
    assert all(receipt.stored for receipt in receipts)
    assert [receipt.stored for receipt in bad] == [False, False]
    assert (writer.counts.rejected, writer.counts.stored, balanced(writer.counts)) == (2, 20, True)
    assert "no id 30" in caplog.text


@pytest.mark.parametrize("fault", [EntryRejected("no"), KeyError("a fault of our own")])
async def test_a_fault_of_the_store_stops_nobody_else(
    writer: RecordWriter, store: MemoryStore, fault: Exception
) -> None:
    """An entry that makes the store fail in any way is given up, and the writer goes on."""
    store.broken = fault
    bad = writer.opened(entries.opening(caller="broken"))
    good = writer.opened(entries.opening())
    assert await good.durable(1)
    assert await writer.drain(1)
    assert bad.stored is False
    assert balanced(writer.counts)


async def test_a_full_queue_refuses_and_says_so_once(store: MemoryStore, caplog: Any) -> None:
    """When the queue is full an entry is refused and counted, its receipt says no, and one line is logged, not many."""
    now = [0.0]
    writer = RecordWriter(store, Limits(entries=4), clock=lambda: now[0])
    receipts = [writer.closed(entries.closing(entries.opening(at))) for at in range(10)]
    assert [receipt.stored for receipt in receipts] == [None] * 4 + [False] * 6
    assert not await receipts[-1].durable(1)
    assert (writer.counts.accepted, writer.counts.refused, balanced(writer.counts)) == (4, 6, True)
    assert len(caplog.records) == 1
    now[0] = 11
    writer.closed(entries.closing())
    assert len(caplog.records) == 2


async def test_closings_have_room_when_openings_have_none(store: MemoryStore) -> None:
    """A queue that is too full for an opening still takes a closing, which says more."""
    writer = RecordWriter(store, Limits(entries=4))
    assert [writer.opened(entries.opening(at)).stored for at in range(5)] == [None, None, None, False, False]
    assert writer.closed(entries.closing()).stored is None


async def test_the_queue_is_bounded_in_bytes(store: MemoryStore) -> None:
    """Large entries fill the queue before their number does, and room comes back when they are stored."""
    writer = RecordWriter(store, Limits(bytes=25_000))
    large = [entries.closing(entries.opening(at), log=b"x" * 10_000) for at in range(3)]
    assert [writer.closed(one).stored for one in large] == [None, None, False]
    async with writer:
        assert await writer.drain(1)
        assert await writer.closed(large[2]).durable(1)


async def test_closing_the_writer_gives_up_honestly(store: MemoryStore, caplog: Any) -> None:
    """What is not stored at the end is said in the log and by its receipt; a drain before it reports the delay."""
    store.gate.clear()
    async with RecordWriter(store, QUICK) as writer:
        receipts = [writer.opened(entries.opening(at)) for at in range(3)]
        assert not await writer.drain(0.01)
    assert [receipt.stored for receipt in receipts] == [False] * 3
    assert balanced(writer.counts)
    assert "3 entries" in caplog.text


async def test_the_writer_outlives_its_own_faults(
    writer: RecordWriter, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """A fault in the writer itself is logged, its batch goes back to the queue, and the writer begins again."""
    failures = iter([RuntimeError("a bug")])
    original = writer._store_batch

    async def buggy(items: Any) -> None:
        """Fail once."""
        for failure in failures:
            raise failure
        await original(items)

    monkeypatch.setattr(writer, "_store_batch", buggy)
    assert await writer.opened(entries.opening()).durable(1)
    assert balanced(writer.counts)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_a_database_that_comes_back_gets_everything_once(dsn: str) -> None:
    """Through a cut network, a lost reply and its return, every run is in PostgreSQL exactly once."""
    parts = urlsplit(dsn)
    async with Proxy(parse_qs(parts.query)["host"][0] + "/.s.PGSQL.5432") as network:
        address = f"postgresql://tandem@127.0.0.1:{network.port}{parts.path}?sslmode=disable"
        async with Pool(address) as pool, RecordWriter(RunStore(pool, "test"), QUICK) as writer:
            starts = [entries.opening(at) for at in range(30)]
            assert await writer.opened(starts[0]).durable(2)
            network.lose_next_reply = True
            assert await writer.opened(starts[1]).durable(2)
            await network.down()
            receipts = [writer.closed(entries.closing(start)) for start in starts]
            assert not await receipts[0].durable(0.03)
            await network.up()
            assert all([await receipt.durable(3) for receipt in receipts])
            assert (writer.counts.duplicate, balanced(writer.counts)) == (1, True)
            found = await RunStore(pool, "test").page(Caller("me"), Filters(), 100, None)
    assert {record["run_id"]: record["status"] for record in found} == {s.run_id: "completed" for s in starts}


async def test_a_black_hole_does_not_hold_up_the_end(dsn: str) -> None:
    """A writer whose database has fallen silent in the middle of a write is closed within a second all the same."""
    parts = urlsplit(dsn)
    async with (
        Proxy(parse_qs(parts.query)["host"][0] + "/.s.PGSQL.5432") as network,
        Pool(f"postgresql://tandem@127.0.0.1:{network.port}{parts.path}?sslmode=disable") as pool,
        RecordWriter(RunStore(pool, "test")) as writer,
    ):
        assert await writer.opened(entries.opening(1)).durable(5)
        network.swallow = True
        lost = writer.closed(entries.closing(entries.opening(1)))
        assert not await lost.durable(0.05)
        async with asyncio.timeout(1):
            await writer.close()
    assert balanced(writer.counts)
