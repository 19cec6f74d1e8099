"""The journal of a server without a disk: the store, or else the log."""

import asyncio
from typing import Any

import entries
import pytest
from memory_store import MemoryStore
from msgspec.structs import replace

from app.record.backlog import Limits, Steps
from app.record.direct import DirectJournal
from app.record.entry import CLOSED, OPENED, Entry
from app.record.packing import packed
from app.record.replay import Replay
from app.record.store import Filed

QUICK = Limits(spacing_s=0.001, retry_first_s=0.001, retry_most_s=0.01, fallback_s=0.02)


class Log:
    """Where lines go."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def journal(self, store: MemoryStore, limits: Limits = QUICK, **how: Any) -> DirectJournal:
        """A journal that prints here."""
        return DirectJournal(store, steps=Steps(emit=self.lines.append, **how), limits=limits)

    @property
    def entries(self) -> list[Filed]:
        """What was printed, read back."""
        replay = Replay()
        found = [replay.feed(line) for line in self.lines]
        assert replay.missing == []
        return [filed for filed in found if filed is not None]


@pytest.fixture
def store() -> MemoryStore:
    """A store that a test can make ill."""
    return MemoryStore()


@pytest.fixture
def log() -> Log:
    """A log."""
    return Log()


async def test_an_entry_is_durable_once_stored(store: MemoryStore, log: Log) -> None:
    """A receipt is true when, and only when, the store has the entry; nothing is printed."""
    async with log.journal(store) as journal:
        journal.admit()
        start = entries.opening()
        assert await journal.opened(start).durable(5)
        store.gate.clear()
        receipt = journal.closed(entries.closing(start))
        assert not await receipt.durable(0.005)
        store.gate.set()
        assert await receipt.durable(5)
        assert (journal.ledger.stored, journal.ledger.balanced, journal.state["status"]) == (2, True, "ok")
    assert await store.versions() == {start.run_id: CLOSED}
    assert log.lines == []


async def test_what_the_store_does_not_take_is_printed(store: MemoryStore, log: Log) -> None:
    """While the store is away entries are printed after a while, leave memory, and come back from the lines."""
    store.away = True
    async with log.journal(store) as journal:
        taken = [entries.closing(entries.opening(at), log=b"x" * 100_000) for at in range(5)]
        receipts = [journal.closed(entry) for entry in taken]
        assert await journal.drain(5)
        assert [receipt.stored for receipt in receipts] == [False] * 5
        assert (journal.ledger.logged, journal.ledger.in_flight, journal.ledger.balanced) == (5, 0, True)
        assert journal.state["memory_bytes"] == 0
    assert [filed.entry for filed in log.entries] == [replace(entry, log=packed(entry.log)) for entry in taken]
    assert await MemoryStore().write(log.entries) == ["stored"] * 5


async def test_what_was_printed_stays_printed(store: MemoryStore, log: Log) -> None:
    """An entry whose write hangs is printed; when the write succeeds after all, the books do not change."""
    store.gate.clear()
    async with log.journal(store) as journal:
        receipt = journal.opened(entries.opening())
        assert await journal.drain(5)
        store.gate.set()
        await asyncio.sleep(0.02)
        assert await journal.opened(entries.opening()).durable(5)
        assert (journal.ledger.logged, journal.ledger.stored, journal.ledger.balanced) == (1, 1, True)
        assert receipt.stored is False
    assert len(store.runs) == 2


async def test_nobody_waits_for_a_store_known_to_be_away(store: MemoryStore, log: Log) -> None:
    """While the store is away a new receipt says so at once; when it is back, the next one is true."""
    store.away = True
    async with log.journal(store, Limits(retry_first_s=0.001, retry_most_s=0.01)) as journal:
        assert not await journal.opened(entries.opening()).durable(0.05)
        assert journal.state["status"] == "away"
        assert not await asyncio.wait_for(journal.opened(entries.opening()).durable(60), 5)
        store.away = False
        assert await journal.drain(5)
        assert await journal.opened(entries.opening()).durable(5)


async def test_the_end_prints_what_is_left(store: MemoryStore, log: Log) -> None:
    """Closed in the middle of a write, everything open is printed, and its receipt says no."""
    store.gate.clear()
    async with log.journal(store, Limits()) as journal:
        receipts = [journal.opened(entries.opening(at)) for at in range(250)]
        await asyncio.sleep(0.02)
    assert (journal.ledger.logged, journal.ledger.in_flight, journal.ledger.balanced) == (250, 0, True)
    assert len(log.entries) == 250
    assert {receipt.stored for receipt in receipts} == {False}


async def test_entries_are_prepared_before_store_and_log(store: MemoryStore, log: Log) -> None:
    """What `prepare` refuses to let through reaches neither the store nor the log."""

    def prepare(entry: Entry) -> Entry:
        """Fails while the entry has a text."""
        if entries.opening_of(entry).question.messages[0].content:
            raise ValueError
        return entry

    secret = entries.opening(question=entries.question("secret"))
    async with log.journal(store, prepare=prepare) as journal:
        assert await journal.opened(secret).durable(5)
        store.away = True
        journal.closed(entries.closing(secret, lanes={}, log=b"secret"))
        assert await journal.drain(5)
    assert [filed.entry.version for filed in log.entries] == [CLOSED]
    for filed in (store.runs[secret.run_id], *log.entries):
        assert entries.opening_of(filed.entry).question.messages[0].content == ""
    assert filed.entry.log == b""  # type: ignore[union-attr]


async def test_memory_is_bounded(store: MemoryStore, log: Log) -> None:
    """What does not fit into memory is refused and counted; closings have room when openings have none."""
    store.gate.clear()
    async with log.journal(store, Limits(entries=8)) as journal:
        opened = [journal.opened(entries.opening(at)).stored for at in range(8)]
        assert opened == [None] * 6 + [False] * 2
        assert journal.closed(entries.closing()).stored is None
        assert (journal.ledger.accepted, journal.ledger.refused, journal.ledger.balanced) == (7, 2, True)
        store.gate.set()
        assert await journal.drain(5)


async def test_a_log_that_is_ill_is_tried_again(store: MemoryStore, caplog: Any) -> None:
    """When even the log takes nothing, entries stay in memory until one of both is well."""
    ill = [True]

    def emit(_: str) -> None:
        """Fails at first."""
        if ill[0]:
            raise OSError("broken pipe")

    store.away = True
    async with DirectJournal(store, steps=Steps(emit=emit), limits=QUICK) as journal:
        journal.opened(entries.opening())
        assert not await journal.drain(0.05)
        assert (journal.ledger.in_flight, journal.ledger.balanced) == (1, True)
        ill[0] = False
        assert await journal.drain(5)
        assert journal.ledger.logged == 1
    assert "could not be written to the log" in caplog.text


async def test_an_offender_without_a_grave_is_printed(store: MemoryStore, log: Log) -> None:
    """A dead letter that the store cannot keep goes to the log and counts as one."""
    store.no_graves = True
    async with log.journal(store) as journal:
        journal.opened(entries.opening(run_id="no id"))
        assert await journal.drain(5)
        assert (journal.ledger.dead_lettered, journal.ledger.logged, journal.ledger.balanced) == (1, 0, True)
    assert [(filed.entry.id, filed.entry.version) for filed in log.entries] == [("no id", OPENED)]


@pytest.mark.parametrize(
    "line",
    [
        '{"tandem_audit":1}',
        '{"tandem_audit":1,"digest":"x","part":1,"parts":1,"data":""}',
        '{"tandem_audit":1,"digest":"x","part":1e999,"parts":1,"data":"","run_id":"a"}',
        '{"log":' * 9999 + '"tandem_audit"',
    ],
)
def test_a_line_that_only_looks_like_one_of_ours_is_passed_over(line: str) -> None:
    """What somebody else wrote into the same log ends no replay."""
    reader = Replay()
    assert (reader.feed(line), reader.missing) == (None, [])
