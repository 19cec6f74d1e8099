"""The spool on a real disk: durable, private, alone, adopted, and calm when the disk is ill."""

import asyncio
import contextlib
import json
import re
import shutil
import sqlite3
import sys
import threading
from pathlib import Path
from typing import Any

import entries
import pytest
import spools
from memory_store import MemoryStore
from msgspec.structs import replace

from app.errors import AuditFull, StartupError
from app.question import Labels
from app.record.backlog import Limits, Steps
from app.record.codec import FORMAT, encode
from app.record.entry import CLOSED, INTERRUPTED, OPENED, Entry
from app.record.pen import Call
from app.record.spool import FILE


async def left_by_a_crash(directory: Path, *taken: Entry) -> None:
    """Leave these in a spool, as a process does whose store was away until it died."""
    store = MemoryStore()
    store.away = True
    async with spools.journal(directory, store) as journal:
        for entry in taken:
            receipt = journal.opened(entry) if entry.version == OPENED else journal.closed(entry)  # type: ignore[arg-type]
            assert await receipt.durable(5)


async def test_an_entry_is_on_the_disk_when_its_receipt_says_so(tmp_path: Path) -> None:
    """While the store is away a receipt is true at once, and another process finds the entry whole."""
    start = entries.opening()
    await left_by_a_crash(tmp_path, start, entries.closing(start))
    assert spools.rows(tmp_path) == [(start.run_id, OPENED, 0), (start.run_id, CLOSED, 0)]


async def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    """The directory is for its owner alone, and so is every file in it."""
    async with spools.journal(tmp_path / "spool", MemoryStore()) as journal:
        assert await journal.opened(entries.opening()).durable(5)
        modes = spools.modes(tmp_path / "spool")
    assert modes.pop(".") == 0o700
    assert set(modes.values()) == {0o600}
    assert {"lock", FILE, FILE + "-wal"} <= set(modes)


async def test_a_second_process_is_refused(tmp_path: Path) -> None:
    """A directory in use raises StartupError with the setting's name; given back, it can be taken again."""
    async with spools.journal(tmp_path, MemoryStore()):
        with pytest.raises(StartupError, match=r"another process.*TANDEM_HOME"):
            await spools.journal(tmp_path, MemoryStore()).__aenter__()
    async with spools.journal(tmp_path, MemoryStore()) as journal:
        assert journal.state["status"] == "ok"


async def test_a_directory_that_cannot_be_is_a_startup_error(tmp_path: Path) -> None:
    """A path below a file names the setting to change."""
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match="TANDEM_HOME"):
        await spools.journal(tmp_path / "file" / "spool", MemoryStore()).__aenter__()


async def test_what_was_left_is_stored_first(tmp_path: Path) -> None:
    """The next process stores what it finds and counts it as adopted; the spool is empty afterwards."""
    starts = [entries.opening(at) for at in range(30)]
    await left_by_a_crash(tmp_path, *starts, *map(entries.closing, starts))
    store = MemoryStore()
    async with spools.journal(tmp_path, store) as journal:
        assert journal.ledger.adopted == 60
        assert await journal.drain(5)
        assert (journal.ledger.interrupted, journal.ledger.balanced) == (0, True)
    assert await store.versions() == {start.run_id: CLOSED for start in starts}
    assert spools.rows(tmp_path) == []


async def test_a_run_without_an_end_gets_one(tmp_path: Path) -> None:
    """Of runs left open, stored already or not, the next process writes that they were interrupted, once."""
    store = MemoryStore()
    drained, waiting = entries.opening(1), entries.opening(2)
    async with spools.journal(tmp_path, store) as journal:
        assert await journal.opened(drained).durable(5)
        assert await journal.drain(5)
    assert spools.rows(tmp_path) == [(drained.run_id, OPENED, 1)]
    await left_by_a_crash(tmp_path, waiting)
    for again in (False, True):
        async with spools.journal(tmp_path, store) as journal:
            assert await journal.drain(5)
            assert journal.ledger.balanced
            assert journal.ledger.adopted == (0 if again else 2)
    assert await store.versions() == {drained.run_id: INTERRUPTED, waiting.run_id: INTERRUPTED}


async def test_an_opening_goes_when_its_run_is_closed(tmp_path: Path) -> None:
    """An opening that the store has stays on the disk until the closing is there; then nothing stays."""
    store = MemoryStore()
    async with spools.journal(tmp_path, store) as journal:
        starts = [entries.opening(at) for at in range(5)]
        for start in starts:
            journal.opened(start)
        assert await journal.drain(5)
        for start in starts[1:]:
            assert await journal.closed(entries.closing(start)).durable(5)
        assert await journal.drain(5)
    assert spools.rows(tmp_path) == [(starts[0].run_id, OPENED, 1)]


async def test_the_same_spool_twice_changes_nothing(tmp_path: Path) -> None:
    """Two processes over copies of one spool, at once, leave one record of each run and no conflict."""
    starts = [entries.opening(at) for at in range(50)]
    await left_by_a_crash(tmp_path / "one", *starts, *map(entries.closing, starts[:40]))
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / FILE).write_bytes((tmp_path / "one" / FILE).read_bytes())
    store = MemoryStore()
    one, two = spools.journal(tmp_path / "one", store), spools.journal(tmp_path / "two", store)
    async with one, two:
        assert await one.drain(5)
        assert await two.drain(5)
        assert one.ledger.balanced
        assert two.ledger.balanced
        assert one.ledger.duplicate + two.ledger.duplicate >= 50
        assert (one.ledger.dead_lettered, two.ledger.dead_lettered) == (0, 0)
    expected = {start.run_id: CLOSED if at < 40 else INTERRUPTED for at, start in enumerate(starts)}
    assert await store.versions() == expected


@pytest.mark.parametrize("damage", ["garbage", "truncated", "header", "empty"])
async def test_a_damaged_file_is_set_aside(tmp_path: Path, damage: str) -> None:
    """A spool that cannot be read is renamed and reported, and a new one takes entries at once."""
    await left_by_a_crash(tmp_path, *[entries.opening(at) for at in range(200)])
    path = tmp_path / FILE
    data = path.read_bytes()
    path.write_bytes(
        {"garbage": b"garbage" * 9999, "truncated": data[: len(data) // 2], "header": b"x" * 100 + data[100:]}.get(
            damage, b""
        )
    )
    store = MemoryStore()
    for _ in range(2):
        async with spools.journal(tmp_path, store) as journal:
            start = entries.opening()
            assert await journal.opened(start).durable(5)
            assert await journal.drain(5)
            assert start.run_id in store.runs
            assert journal.state["status"] == "ok"
            assert journal.ledger.balanced
    aside = [name for name in spools.modes(tmp_path) if re.fullmatch("spool-corrupt-.*[.]sqlite", name)]
    assert len(aside) == (0 if damage == "empty" else 1)


async def test_a_file_damaged_under_us_is_replaced(tmp_path: Path) -> None:
    """When the file breaks while it is used, what memory has is written again and the rest is accounted for."""
    store = MemoryStore()
    store.away = True
    limits = Limits(window_bytes=4000, retry_first_s=0.001, retry_most_s=0.01)
    async with spools.journal(tmp_path, store, limits=limits) as journal:
        starts = [entries.opening(at) for at in range(20)]
        assert all([await journal.opened(start).durable(5) for start in starts])
        damaged(journal)
        late = entries.opening(99)
        assert await journal.opened(late).durable(5)
        assert journal.ledger.balanced
        assert "spool-corrupt-" in str(journal.state["corrupt"])
        store.away = False
        assert await journal.drain(5)
        assert journal.ledger.balanced
        assert late.run_id in store.runs
        assert journal.ledger.stored + journal.ledger.dead_lettered + journal.ledger.duplicate == 21


def damaged(journal: Any) -> None:
    """Make the file's next write find it corrupt."""
    shelf = journal._spool._pen._shelf
    error = sqlite3.DatabaseError("database disk image is malformed")
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT

    def fail(*_: object) -> None:
        raise error

    shelf.write = fail


@pytest.mark.parametrize("data", [FORMAT + b"nonsense", b"", encode(entries.opening(7))])
async def test_a_bit_that_flipped_is_a_dead_letter(tmp_path: Path, data: bytes) -> None:
    """A row whose bytes are not what was written, or of an unknown format, is buried; its neighbours are stored."""
    starts = [entries.opening(at) for at in range(3)]
    await left_by_a_crash(tmp_path, *map(entries.closing, starts))
    db = sqlite3.connect(tmp_path / FILE)
    db.execute("UPDATE entries SET data = ? WHERE run_id = ?", (data, starts[1].run_id))
    db.commit()
    db.close()
    store = MemoryStore()
    async with spools.journal(tmp_path, store) as journal:
        assert await journal.drain(5)
        assert (journal.ledger.stored, journal.ledger.dead_lettered, journal.ledger.balanced) == (2, 1, True)
    assert [letter.reason for letter in store.letters.values()] == ["undecodable"]


async def test_an_opening_with_a_flipped_bit_ends_no_run(tmp_path: Path) -> None:
    """Of a run left open whose words on the disk are not what was written, none become part of the record."""
    start = entries.opening()
    await left_by_a_crash(tmp_path, start)
    db = sqlite3.connect(tmp_path / FILE)
    db.execute("UPDATE entries SET data = CAST(replace(data, 'France', 'Franca') AS BLOB)")
    db.commit()
    db.close()
    store = MemoryStore()
    async with spools.journal(tmp_path, store) as journal:
        assert await journal.drain(5)
        assert (journal.ledger.dead_lettered, journal.ledger.balanced) == (1, True)
    assert store.runs == {}


async def test_an_outcome_whose_version_flipped_is_stored(tmp_path: Path) -> None:
    """A closing that its row calls an opening is not replaced by an interruption."""
    closing = entries.closing()
    await left_by_a_crash(tmp_path, closing)
    db = sqlite3.connect(tmp_path / FILE)
    db.execute("UPDATE entries SET version = ?", (OPENED,))
    db.commit()
    db.close()
    store = MemoryStore()
    async with spools.journal(tmp_path, store) as journal:
        assert await journal.drain(5)
    assert await store.versions() == {closing.opening.run_id: CLOSED}


async def test_a_newer_spool_is_not_touched(tmp_path: Path) -> None:
    """A file of a newer version raises StartupError instead of being misread, and the directory is given back."""
    db = sqlite3.connect(tmp_path / FILE)
    db.execute("PRAGMA user_version = 99")
    db.close()
    for _ in range(2):
        with pytest.raises(StartupError, match="newer version"):
            await spools.journal(tmp_path, MemoryStore()).__aenter__()


async def test_an_entry_that_cannot_be_prepared_loses_its_payload(tmp_path: Path, caplog: Any) -> None:
    """When redaction fails, nothing unredacted is kept: the entry goes without payload, and the log says so."""

    def prepare(entry: Entry) -> Entry:
        """Fails while the entry has a text."""
        if entries.opening_of(entry).question.messages[0].content:
            raise ValueError("secret")
        return entry

    store = MemoryStore()
    async with spools.journal(tmp_path, store, steps=Steps(prepare)) as journal:
        start = entries.opening(question=entries.question("secret"))
        assert await journal.opened(start).durable(5)
        assert await journal.drain(5)
    assert entries.opening_of(store.runs[start.run_id].entry).question.messages[0].content == ""
    assert "could not be prepared (ValueError)" in caplog.text
    assert "secret" not in re.sub(r"File .*", "", caplog.text)


async def test_an_entry_that_can_never_be_prepared_loses_its_labels_too(tmp_path: Path) -> None:
    """When redaction fails on what is left as well, no word of a client's is kept, in the store or on the disk."""

    def prepare(entry: Entry) -> Entry:
        """Never works."""
        raise ValueError

    store = MemoryStore()
    async with spools.journal(tmp_path, store, steps=Steps(prepare)) as journal:
        labels = Labels("a-secret", "a-secret", "a-secret", ("a-secret",))
        start = entries.opening(question=replace(entries.question("a-secret"), labels=labels))
        assert await journal.closed(entries.closing(start)).durable(5)
        assert b"a-secret" not in spools.content(tmp_path)
        assert await journal.drain(5)
    assert entries.opening_of(store.runs[start.run_id].entry).question.labels == Labels()


async def test_what_memory_cannot_hold_is_read_from_the_disk(tmp_path: Path) -> None:
    """While the store is away memory keeps a bounded window; afterwards every entry is stored once, in order."""
    store = MemoryStore()
    store.away = True
    limits = Limits(window_bytes=8000, batch_entries=7, spacing_s=0, retry_first_s=0.001, retry_most_s=0.01)
    async with spools.journal(tmp_path, store, limits=limits) as journal:
        starts = [entries.opening(at) for at in range(300)]
        receipts = [journal.opened(start) for start in starts]
        assert all([await receipt.durable(5) for receipt in receipts])
        assert len(journal._backlog._held) < 20
        store.away = False
        late = [journal.closed(entries.closing(start)) for start in starts]
        assert await journal.drain(5)
        assert all([await receipt.durable(0) for receipt in late])
        assert (journal.ledger.stored, journal.ledger.duplicate, journal.ledger.balanced) == (600, 0, True)
        assert journal._backlog.memory_bytes == journal._backlog.disk_bytes == journal._backlog._held_bytes == 0
    assert await store.versions() == {start.run_id: CLOSED for start in starts}
    assert spools.rows(tmp_path) == []


async def test_the_loop_is_not_held_up_by_a_stalled_disk(tmp_path: Path) -> None:
    """While the disk does not answer, receipts expire in time and memory is bounded by refusing."""
    store = MemoryStore()
    limits = Limits(entries=10)
    gate = threading.Event()
    async with spools.journal(tmp_path, store, limits=limits) as journal:
        journal._spool._pen.queue.put(Call(gate.wait))
        await asyncio.sleep(0.02)
        receipts = [journal.closed(entries.closing(entries.opening(at))) for at in range(20)]
        assert not await receipts[0].durable(0.02)
        assert (journal.ledger.in_flight, journal.ledger.refused, journal.ledger.balanced) == (11, 9, True)
        gate.set()
        assert await receipts[0].durable(5)
        assert await journal.drain(5)


async def test_a_kill_loses_nothing_that_was_durable(tmp_path: Path) -> None:
    """Killed again and again while it writes, a process leaves every entry whose receipt was true, and no damage."""
    opened: set[str] = set()
    closed: set[str] = set()
    attached: set[str] = set()
    told = {"opened": opened, "closed": closed, "attached": attached}
    for after in range(0, 10, 2):
        child = await spool_child(tmp_path, "flood")
        for _ in range(20 + 30 * after):
            word, identity = (await child.stdout.readline()).decode().split()
            told[word].add(identity)
        child.kill()
        for line in (await child.communicate())[0].decode().splitlines(keepends=True):
            if line.endswith("\n"):
                told[line.split()[0]].add(line.split()[1])
    store = MemoryStore()
    async with spools.journal(tmp_path, store) as journal:
        assert await journal.drain(20)
        assert (journal.ledger.balanced, journal.ledger.conflicts, journal.ledger.dead_lettered) == (True, 0, 0)
        assert journal.state["status"] == "ok"
    versions = await store.versions()
    assert len(opened) > 300
    assert {run_id for run_id in closed if versions.get(run_id) != CLOSED} == set()
    assert opened - versions.keys() == set()
    assert len(attached) > 60
    assert attached - store.attachments.keys() == set()
    assert set(versions.values()) == {INTERRUPTED, CLOSED}


async def test_a_full_disk_is_waited_out(tmp_path: Path) -> None:
    """On a full disk receipts are false and the state says why; entries wait in memory until it is not."""
    child = await spool_child(tmp_path, "full")
    out = json.loads((await child.communicate())[0])
    assert "disk" in out["full"]["status"]
    assert out["full"]["stranded"] > 0
    assert out["after"] == {"status": "away", "in_flight": 0, "balanced": True}
    assert len(spools.rows(tmp_path)) == out["spooled"]


async def test_without_a_disk_entries_go_straight_to_the_store(tmp_path: Path) -> None:
    """A disk that is ill does not keep a healthy store from having the entries; their receipts are false."""
    child = await spool_child(tmp_path, "straight")
    out = json.loads((await child.communicate())[0])
    assert (out["stored"], out["receipt"], out["balanced"]) == (out["accepted"], False, True)
    assert "disk" in out["status"]


async def test_a_spool_on_a_full_disk_is_adopted_later(tmp_path: Path) -> None:
    """A process starts on a full disk all the same, and adopts what is there once the disk can be used."""
    starts = [entries.opening(at) for at in range(10)]
    await left_by_a_crash(tmp_path, *starts, *map(entries.closing, starts[:5]))
    child = await spool_child(tmp_path, "late")
    out = json.loads((await child.communicate())[0])
    assert "disk" in out["status"]
    assert (out["receipt"], out["adopted"], out["interrupted"]) == (False, 15, 5)
    assert (out["runs"], out["balanced"]) == (11, True)


async def spool_child(directory: Path, what: str) -> Any:
    """A process of its own that works on this spool."""
    script = Path(__file__).with_name("spool_child.py")
    return await asyncio.create_subprocess_exec(
        sys.executable, str(script), str(directory), what, stdout=asyncio.subprocess.PIPE, cwd=script.parent.parent
    )


@pytest.mark.parametrize(("share", "refused"), [(0, False), (1, True)])
async def test_free_disk_is_left_to_others(tmp_path: Path, share: int, refused: bool) -> None:
    """Below the floor of free bytes a new run is refused before it begins."""
    free = shutil.disk_usage(tmp_path).free
    async with spools.journal(tmp_path, MemoryStore(), min_free_bytes=share * free) as journal:
        assert (journal.state["status"] == "full") == refused
        with pytest.raises(AuditFull) if refused else contextlib.nullcontext():
            journal.admit()
