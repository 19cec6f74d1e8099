"""The journal of a server with a disk: receipts, room, the ledger at every moment."""

import asyncio
import random
from pathlib import Path
from typing import Any

import entries
import pytest
import spools
from memory_store import MemoryStore
from msgspec.structs import replace

from app.errors import AuditFull
from app.record.backlog import Item, Limits, Steps, shape
from app.record.entry import CLOSED, INTERRUPTED, Closing, Entry, Journal
from app.record.journal import SpoolJournal
from app.record.ledger import Tally
from app.record.pen import Report
from app.record.shelf import Place
from app.record.spool import Spool
from app.record.spool_backlog import SpoolBacklog


@pytest.fixture
def store() -> MemoryStore:
    """A store that a test can make ill."""
    return MemoryStore()


def large(at: int, size: int = 10_000) -> Closing:
    """A closing with a log of so many bytes, which no packing makes fewer."""
    return entries.closing(entries.opening(at), log=random.Random(at).randbytes(size))


async def test_a_receipt_is_true_once_the_disk_has_it(tmp_path: Path, store: MemoryStore) -> None:
    """An entry is durable before the store has it; a drain waits until the store has everything."""
    async with spools.journal(tmp_path, store) as spool:
        journal: Journal = spool
        journal.admit()
        store.gate.clear()
        start = entries.opening()
        assert await journal.opened(start).durable(5)
        assert await journal.closed(entries.closing(start)).durable(5)
        assert not await spool.drain(0.01)
        assert (spool.ledger.stored, spool.ledger.spooled, spool.ledger.balanced) == (0, 2, True)
        assert spool.ledger.oldest_s > 0
        store.gate.set()
        assert await spool.drain(5)
        assert (spool.ledger.stored, spool.ledger.spooled, spool.ledger.oldest_s) == (2, 0, 0)
    assert await store.versions() == {start.run_id: CLOSED}


async def test_a_receipt_waits_no_longer_than_told(tmp_path: Path, store: MemoryStore) -> None:
    """Asked without a wait a fresh receipt is false; asked again it is true; a wait that is cancelled harms nobody."""
    async with spools.journal(tmp_path, store) as journal:
        receipt = journal.opened(entries.opening())
        assert not await receipt.durable(0)
        waits = [asyncio.create_task(receipt.durable(5)) for _ in range(2)]
        await asyncio.sleep(0)
        waits[0].cancel()
        assert await waits[1]
        assert waits[0].cancelled()
        assert await receipt.durable(0)


async def test_entries_are_prepared_before_the_disk_has_them(tmp_path: Path, store: MemoryStore) -> None:
    """What `prepare` makes of an entry is what the spool and the store get; the original is nowhere."""

    def prepare(entry: Entry) -> Entry:
        """Masks an opening, and fails on anything else."""
        assert not isinstance(entry, Closing)
        return replace(entry, caller="masked")

    async with spools.journal(tmp_path, store, steps=Steps(prepare)) as journal:
        start = entries.opening(caller="a-secret")
        assert await journal.opened(start).durable(5)
        files = spools.content(tmp_path)
        assert await journal.drain(5)
    assert (b"a-secret" in files, b"masked" in files) == (False, True)
    assert store.runs[start.run_id].entry.caller == "masked"


async def test_a_full_audit_refuses_new_runs_and_keeps_outcomes(tmp_path: Path, store: MemoryStore) -> None:
    """Under `refuse` a run is refused while three quarters are in use; outcomes have the rest, then lose payload."""
    store.away = True
    async with spools.journal(tmp_path, store, max_bytes=100_000) as journal:
        for at in range(9):
            assert await journal.closed(large(at)).durable(5)
            assert journal.state["status"] in {"away", "ok"}
            if journal.state["spool_bytes"] > 75_000:  # type: ignore[operator]
                break
        with pytest.raises(AuditFull, match="AUDIT_FULL"):
            journal.admit()
        assert journal.opened(entries.opening()).stored is False
        bare = [journal.closed(large(at)) for at in range(20, 24)]
        assert all([await receipt.durable(5) for receipt in bare])
        assert (journal.ledger.refused, journal.ledger.stripped > 0, journal.ledger.balanced) == (2, True, True)
        store.away = False
        assert await journal.drain(5)
        journal.admit()
        assert journal.state["status"] == "ok"


async def test_a_full_audit_keeps_metadata(tmp_path: Path, store: MemoryStore) -> None:
    """Under `metadata` a run is admitted and its entries lose their payload; beyond the reserve it is refused."""
    store.away = True
    async with spools.journal(tmp_path, store, max_bytes=60_000, policy="metadata") as journal:
        for at in range(5):
            assert await journal.closed(large(at)).durable(5)
        journal.admit()
        start = entries.opening(50, question=entries.question("secret " * 2000))
        assert await journal.opened(start).durable(5)
        assert await journal.closed(entries.closing(start, log=b"y" * 30_000)).durable(5)
        ends = [journal.closed(entries.closing(entries.opening(at))) for at in range(100, 200)]
        assert ends[-1].stored is False
        assert journal.ledger.refused > 0
        store.away = False
        assert await journal.drain(5)
        assert journal.ledger.balanced
    entry = store.runs[start.run_id].entry
    assert isinstance(entry, Closing)
    assert (entry.log, entry.content.cut, entry.opening.content.cut) == (b"", ("payload",), ("payload",))
    assert entry.opening.question.messages[0].content == ""


async def test_an_entry_is_settled_once(tmp_path: Path, store: MemoryStore) -> None:
    """Whatever is said of an entry after it was settled changes neither the books nor the bytes."""
    async with spools.journal(tmp_path, store) as journal:
        store.gate.clear()
        assert await journal.closed(large(1)).durable(5)
        (item,) = journal._backlog._held.values()
        for end in ("stored", "duplicate", "dead_lettered"):
            journal._backlog.settle([item], end)
        assert (journal.ledger.stored, journal.ledger.balanced, journal.state["spool_bytes"]) == (1, True, 0)


async def test_what_lands_after_it_was_stored_is_dropped(tmp_path: Path) -> None:
    """An entry that went to the store without a disk, and reaches the disk all the same, is dropped there again."""
    spool, tally = Spool(tmp_path), Tally()
    backlog = SpoolBacklog(spool, Limits(), tally)
    item = Item(1, 1.0, 1000, entries.opening())
    tally.accept()
    backlog.add(item)
    shape(item, lambda entry: entry)
    backlog.report(Report(stranded=[item]))
    assert await backlog.take(10, 10_000) == [item]
    backlog.settle([item], "stored")
    backlog.report(Report(landed=[item]))
    assert list(spool._pen.dropped) == [Place(1, item.run_id)]
    assert (tally.stored, tally.ledger(0).balanced, backlog.memory_bytes, backlog.disk_bytes) == (1, True, 0, 0)


async def test_memory_is_bounded_and_comes_back(tmp_path: Path, store: MemoryStore) -> None:
    """More at once than memory's bound is not accepted whole; when the disk has it there is room again."""
    async with spools.journal(tmp_path, store, limits=Limits(bytes=25_000)) as journal:
        receipts = [journal.closed(large(at)) for at in range(4)]
        assert journal.ledger.stripped + journal.ledger.refused == 2
        assert await receipts[0].durable(5)
        assert await journal.drain(5)
        assert journal.closed(large(9)).stored is None
        assert journal.ledger.stripped + journal.ledger.refused == 2


async def test_fullness_is_said_sparingly(tmp_path: Path, store: MemoryStore, caplog: Any) -> None:
    """A hundred refusals make one line in the log."""
    async with spools.journal(tmp_path, store, max_bytes=0) as journal:
        for _ in range(100):
            with pytest.raises(AuditFull):
                journal.admit()
    assert (journal.ledger.refused, len(caplog.records)) == (100, 1)


async def test_the_end_leaves_the_rest_on_the_disk(tmp_path: Path, store: MemoryStore, caplog: Any) -> None:
    """Closed while the store hangs, everything taken is on the disk, and the log says how much."""
    store.gate.clear()
    async with spools.journal(tmp_path, store) as journal:
        for at in range(20):
            journal.closed(entries.closing(entries.opening(at)))
    assert (journal.ledger.spooled, journal.ledger.balanced) == (20, True)
    assert "20 entries are in the spool" in caplog.text
    assert len(spools.rows(tmp_path)) == 20


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 6))])
async def test_the_ledger_balances_at_every_moment(tmp_path: Path, seed: int) -> None:
    """Whatever happens to the store, at every step each accepted entry is in one place; in the end all are stored."""
    chance = random.Random(seed)
    store = MemoryStore()
    limits = Limits(
        window_bytes=chance.choice([1, 5000, 10**7]),
        batch_entries=chance.choice([1, 7, 200]),
        spacing_s=0,
        linger_s=chance.choice([0, 0.003]),
        retry_first_s=0.001,
        retry_most_s=0.005,
    )
    for life in range(3):
        async with spools.journal(tmp_path, store, limits=limits) as journal:
            await _live(journal, store, chance, life)
            assert journal.ledger.balanced
        assert journal.ledger.balanced
    async with spools.journal(tmp_path, store, limits=limits) as journal:
        assert await journal.drain(10)
        assert journal.ledger.balanced
    assert set((await store.versions()).values()) <= {INTERRUPTED, CLOSED}
    assert {row[2] for row in spools.rows(tmp_path)} == set()


async def _live(journal: SpoolJournal, store: MemoryStore, chance: random.Random, life: int) -> None:
    """A while of runs, under a store that falls ill and recovers."""
    begun = []
    for at in range(150):
        if chance.random() < 0.7:
            begun.append(entries.opening(life * 1000 + at, caller=chance.choice(["me", "you", "b\x00d"])))
            journal.opened(begun[-1])
        if begun and chance.random() < 0.6:
            start = begun.pop(chance.randrange(len(begun)))
            journal.closed(entries.closing(start, log=b"x" * chance.choice([0, 10, 5000])))
        if chance.random() < 0.1:
            store.away, store.lose_replies = chance.choice([(True, 0), (False, 0), (False, 2)])
        await asyncio.sleep(chance.choice([0, 0, 0, 0.001]))
        assert journal.ledger.balanced
    store.away = False
