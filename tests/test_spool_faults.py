"""The spool when single things break: a bit, a commit, a file that is opened anew, a disk that says nothing."""

import asyncio
import json
import os
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import entries
import pytest
import spools
from memory_store import MemoryStore
from servers import eventually
from test_spool import left_by_a_crash, spool_child

from app.record.backlog import Item, Steps, shape
from app.record.directory import keep_letter, take
from app.record.entry import CLOSED, OPENED
from app.record.pen import Call
from app.record.shelf import Shelf
from app.record.spool import FILE
from app.record.store import DeadLetter

FLIPS = {
    "a text": "UPDATE entries SET data = '\x80', digest = 'x' WHERE seq = (SELECT min(seq) FROM entries)",
    "bytes for text": "UPDATE entries SET run_id = x'ff' WHERE seq = (SELECT min(seq) FROM entries)",
    "a time": "UPDATE entries SET at = 1e300 WHERE seq = (SELECT min(seq) FROM entries)",
    "a mark": "UPDATE entries SET drained = 7 WHERE seq = (SELECT min(seq) FROM entries)",
    "a place": "UPDATE entries SET seq = -5 WHERE seq = (SELECT min(seq) FROM entries)",
    "no time": "UPDATE entries SET at = x'ff' WHERE seq = (SELECT min(seq) FROM entries)",
}


@pytest.mark.parametrize("flip", FLIPS.values(), ids=FLIPS)
async def test_a_flipped_type_stops_nobody(tmp_path: Path, flip: str) -> None:
    """A value of the wrong type in a row keeps neither the server from starting nor its neighbours from the store."""
    starts = [entries.opening(at) for at in range(3)]
    await left_by_a_crash(tmp_path, *starts)
    changed(tmp_path, flip)
    store = MemoryStore()
    async with asyncio.timeout(5), spools.journal(tmp_path, store) as journal:
        assert await journal.drain(3)
        assert journal.ledger.balanced
        assert journal.state["status"] == "ok"
    assert {start.run_id for start in starts[1:]} <= store.runs.keys()


@pytest.mark.parametrize(("first", "end"), [(40, 0), (10, 8)], ids=["a row", "the size of its words"])
async def test_a_row_of_nothing_is_a_dead_letter(tmp_path: Path, first: int, end: int) -> None:
    """Where the disk has zeros in place of a row, or of the size of its words, all that is counted is settled."""
    starts = [entries.opening(at) for at in range(3)]
    await left_by_a_crash(tmp_path, *starts)
    content = (tmp_path / FILE).read_bytes()
    at = content.index(starts[0].run_id.encode())
    (tmp_path / FILE).write_bytes(content[: at - first] + bytes(first - end) + content[at - end :])
    async with asyncio.timeout(5), spools.journal(tmp_path, MemoryStore()) as journal:
        assert await journal.drain(3)
        assert journal.ledger.balanced
        assert journal.ledger.stored + journal.ledger.dead_lettered == 3


async def test_an_outcome_that_is_marked_as_stored_is_stored(tmp_path: Path) -> None:
    """Only an opening can be marked so: of a closing it is a flipped bit that says it."""
    closing = entries.closing()
    await left_by_a_crash(tmp_path, closing)
    changed(tmp_path, "UPDATE entries SET drained = 1")
    store = MemoryStore()
    async with spools.journal(tmp_path, store) as journal:
        assert await journal.drain(3)
    assert await store.versions() == {closing.opening.run_id: CLOSED}


async def test_a_file_that_somebody_removes_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What memory has is written to a new file, which is told, and nothing is durable in one that is gone."""
    monkeypatch.setattr("app.record.pen.IDLE_S", 0.02)
    store = MemoryStore()
    store.away = True
    first, second = entries.opening(1), entries.opening(2)
    async with spools.journal(tmp_path, store) as journal:
        assert await journal.opened(first).durable(5)
        _remove(tmp_path)
        await eventually(lambda: "removed" in str(journal.state.get("corrupt")), 5)
        await eventually(lambda: not str(journal.state["status"]).startswith("disk"), 5)
        assert await journal.opened(second).durable(5)
        assert (journal.ledger.spooled, journal.ledger.balanced) == (2, True)
    assert spools.rows(tmp_path) == [(first.run_id, OPENED, 0), (second.run_id, OPENED, 0)]


def _remove(folder: Path) -> None:
    """Somebody tidies up."""
    for path in folder.glob(f"{FILE}*"):
        path.unlink()


async def test_a_table_whose_columns_flipped_is_set_aside(tmp_path: Path) -> None:
    """A file whose schema is not the one we made is damaged, not a disk that is ill for ever."""
    await left_by_a_crash(tmp_path, entries.opening())
    schema = "UPDATE sqlite_master SET sql = replace(sql, 'digest', 'digesu')"
    changed(tmp_path, "PRAGMA writable_schema = ON", schema)
    async with spools.journal(tmp_path, MemoryStore()) as journal:
        assert await journal.opened(entries.opening(9)).durable(5)
        assert "spool-corrupt-" in str(journal.state["corrupt"])


def changed(folder: Path, *statements: str) -> None:
    """Do this to the file."""
    db = sqlite3.connect(folder / FILE, isolation_level=None)
    for statement in statements:
        db.execute(statement)
    db.close()


def shaped(entry: Any, seq: int) -> Item:
    """An entry as the thread writes it."""
    item = Item(seq, 1.0, 1000, entry)
    shape(item, lambda same: same)
    return item


def test_a_commit_that_failed_and_happened_is_repeated(tmp_path: Path) -> None:
    """A group whose commit is there although it was reported as failed can be written again, once each."""
    items = [shaped(entries.opening(at), at) for at in (1, 2)]
    for _ in range(2):
        shelf = Shelf(tmp_path / FILE)
        shelf.write(items, [])
        shelf.close()
    assert len(spools.rows(tmp_path)) == 2


async def test_a_file_opened_anew_remembers_open_runs(tmp_path: Path) -> None:
    """After a disk error in between, an opening still stays until its run is closed, and goes then."""
    store = MemoryStore()
    first, second = entries.opening(1), entries.opening(2)
    async with spools.journal(tmp_path, store) as journal:
        for start in (first, second):
            assert await journal.opened(start).durable(5)
        assert await journal.drain(5)
        ill(journal, sqlite3.OperationalError("disk I/O error"))
        third = entries.opening(3)
        assert not await journal.opened(third).durable(5)
        assert await journal.drain(5)
        await eventually(lambda: journal.state["status"] == "ok", 5)  # the disk was tried again
        assert await journal.closed(entries.closing(first)).durable(5)
        assert await journal.drain(5)
    assert spools.rows(tmp_path) == [(second.run_id, OPENED, 1)]


@pytest.mark.parametrize("fault", [TypeError("a bug"), RuntimeError("another")])
async def test_a_fault_of_the_writer_is_told_and_passed_by(tmp_path: Path, fault: Exception) -> None:
    """While writing fails for a reason of our own the state says so, and entries go straight to the store, once."""
    store = MemoryStore()
    async with spools.journal(tmp_path, store) as journal:
        assert await journal.opened(entries.opening(1)).durable(5)
        shelf = ill(journal, fault)
        receipt = journal.closed(entries.closing(entries.opening(2)))
        assert not await receipt.durable(2)
        assert await journal.drain(5)
        assert type(fault).__name__ in str(journal.state["status"])
        assert (journal.ledger.stored, journal.ledger.balanced) == (2, True)
        assert shelf is not None


async def test_a_request_that_fails_harms_no_entry(tmp_path: Path) -> None:
    """What was asked of the thread and fails neither ends it nor writes anything twice."""
    store = MemoryStore()
    store.away = True
    async with spools.journal(tmp_path, store) as journal:
        receipt = journal.opened(entries.opening(1))
        journal._spool._pen.queue.put(Call(lambda: 1 / 0))
        assert await receipt.durable(5)
        assert await journal.opened(entries.opening(2)).durable(5)
        assert (journal.ledger.spooled, journal.ledger.balanced) == (2, True)
    assert len(spools.rows(tmp_path)) == 2


def ill(journal: Any, error: Exception) -> Any:
    """Make the file's next write fail."""
    shelf = journal._spool._pen._shelf

    def fail(*_: object) -> None:
        raise error

    shelf.write = fail
    return shelf


async def test_a_disk_that_says_nothing_is_told(tmp_path: Path) -> None:
    """While the disk does not answer the state says so and new entries wait for nobody; then all is durable."""
    gate = threading.Event()
    async with spools.journal(tmp_path, MemoryStore()) as journal:
        assert await journal.opened(entries.opening(1)).durable(5)
        shelf: Any = journal._spool._pen._shelf
        write = shelf.write

        def stalled(*some: Any) -> None:
            """Writes when the disk is well again."""
            gate.wait()
            write(*some)

        shelf.write = stalled
        first = journal.opened(entries.opening(2))
        assert not await first.durable(1.2)
        assert "no answer" in str(journal.state["status"])
        began = time.perf_counter()
        assert not await journal.opened(entries.opening(3)).durable(5)
        assert time.perf_counter() - began < 1  # and not 5
        gate.set()
        assert await journal.drain(5)
        assert await first.durable(0)
        assert journal.state["status"] == "ok"


async def test_a_full_disk_is_emptied_into_the_store(tmp_path: Path) -> None:
    """What an outage left on a disk that has become full goes to the store as soon as that is back."""
    child = await spool_child(tmp_path, "emptied")
    out = json.loads((await child.communicate())[0])
    assert "disk" in out["status"]
    assert (out["runs"], out["drained"], out["balanced"]) == (300, True, True)


async def test_a_stuck_disk_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """Closed while the disk hangs, the process prints what is not durable and ends in time."""
    began = time.perf_counter()
    child = await spool_child(tmp_path, "stuck")
    said = (await child.communicate())[0].decode()
    assert said.count('"tandem_audit":1') == 3
    assert time.perf_counter() - began < 4.5


async def test_an_outcome_is_kept_below_the_floor(tmp_path: Path) -> None:
    """A run that was admitted keeps the numbers of its outcome when others have filled the disk meanwhile."""
    store = MemoryStore()
    async with spools.journal(tmp_path, store, min_free_bytes=1) as journal:
        start = entries.opening()
        assert await journal.opened(start).durable(5)
        journal._spool.min_free_bytes = 2**60
        assert journal.opened(entries.opening(2)).stored is False
        journal.closed(entries.closing(start))
        assert await journal.drain(5)
    assert await store.versions() == {start.run_id: CLOSED}


async def test_what_cannot_be_encoded_is_not_called_durable(tmp_path: Path) -> None:
    """An entry of which nothing but a name can be written is a dead letter, and its receipt says no."""
    bad = entries.closing(lanes={"slow": object()})
    store = MemoryStore()
    async with spools.journal(tmp_path, store, steps=Steps()) as journal:
        receipt = journal._take(bad, 1000)
        assert not await receipt.durable(2)
        assert await journal.drain(5)
        assert (journal.ledger.dead_lettered, journal.ledger.balanced) == (1, True)


async def test_before_adoption_any_run_may_be_on_the_disk(tmp_path: Path) -> None:
    """While an ill disk hides what an earlier process left, no run is said to be unknown."""
    starts = [entries.opening(at) for at in range(2)]
    await left_by_a_crash(tmp_path, *starts)
    (tmp_path / FILE).rename(tmp_path / "elsewhere")
    (tmp_path / FILE).mkdir()
    async with spools.journal(tmp_path, MemoryStore()) as journal:
        assert "disk" in str(journal.state["status"])
        assert journal.may_have(starts[0].run_id)
        (tmp_path / FILE).rmdir()
        (tmp_path / "elsewhere").rename(tmp_path / FILE)
        async with asyncio.timeout(5):
            while not journal.ledger.adopted:  # noqa: ASYNC110  # the disk tells nobody that it is well
                await asyncio.sleep(0.05)
        assert await journal.drain(5)
        assert not journal.may_have("unknown")


def test_a_dead_letter_and_its_name_are_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new spool's folder, a letter's content and its name in the folder are synchronized, in that order."""
    synced: list[int] = []
    monkeypatch.setattr("os.fsync", lambda file: synced.append(os.fstat(file).st_ino))
    spool = tmp_path / "spool"
    take(spool).close()
    assert synced[:2] == [spool.stat().st_ino, tmp_path.stat().st_ino]
    synced.clear()
    keep_letter(spool, DeadLetter(b"d", None, None, "rejected", "no", b"x"))
    letters = spool / "dead-letters"
    assert synced == [path.stat().st_ino for path in (spool, letters / "64.json", letters)]
