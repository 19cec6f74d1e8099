"""Starts that linger on the disk: a run that ends meanwhile goes to the store in one batch; nothing is lost by it."""

from dataclasses import replace
from pathlib import Path
from typing import Final

import entries
import spools
from memory_store import MemoryStore
from servers import eventually

from app.record.entry import CLOSED, INTERRUPTED, OPENED

BRIEFLY: Final = replace(spools.QUICK, linger_s=0.005)
FOREVER: Final = replace(spools.QUICK, linger_s=3600.0)


async def test_a_run_that_ends_soon_goes_in_one_batch(tmp_path: Path) -> None:
    """A start that lingers is durable and open; its run's end takes it along, and the disk keeps nothing of both."""
    store = MemoryStore()
    async with spools.journal(tmp_path, store, limits=FOREVER) as journal:
        start = entries.opening()
        assert await journal.opened(start).durable(5)
        assert journal.may_have(start.run_id)
        assert await journal.closed(entries.closing(start)).durable(5)
        assert await journal.drain(5)
        assert journal.ledger.balanced
    assert (store.batches, await store.versions()) == ([2], {start.run_id: CLOSED})
    assert spools.rows(tmp_path) == []


async def test_nobody_waits_for_a_start_that_lingers(tmp_path: Path) -> None:
    """What else comes goes at once, an attached request and the end of another run too."""
    store = MemoryStore()
    async with spools.journal(tmp_path, store, limits=FOREVER) as journal:
        start, other = entries.opening(1), entries.opening(2)
        journal.opened(start)
        journal.attached(entries.attachment(start))
        journal.closed(entries.closing(other))
        await eventually(lambda: journal.ledger.stored == 2)
        assert (journal.ledger.spooled, await store.versions()) == (1, {other.run_id: CLOSED})


async def test_a_run_that_lasts_is_stored_soon(tmp_path: Path) -> None:
    """Starts whose time is up go to the store without an end, those that came one by one too."""
    store = MemoryStore()
    async with spools.journal(tmp_path, store, limits=BRIEFLY) as journal:
        starts = [entries.opening(at) for at in range(4)]
        for start in starts:
            assert await journal.opened(start).durable(5)
        assert await journal.drain(5)
        assert await store.versions() == {start.run_id: OPENED for start in starts}
        journal.closed(entries.closing(starts[0]))
        assert await journal.drain(5)
    assert (await store.versions())[starts[0].run_id] == CLOSED


async def test_a_start_that_lingers_outlives_its_server(tmp_path: Path) -> None:
    """A server that ends while a start lingers leaves it on the disk; the next one says it was interrupted."""
    store, start = MemoryStore(), entries.opening()
    async with spools.journal(tmp_path, store, limits=FOREVER) as journal:
        assert await journal.opened(start).durable(5)
    assert spools.rows(tmp_path) == [(start.run_id, OPENED, 0)]
    async with spools.journal(tmp_path, store, limits=FOREVER) as journal:
        assert await journal.drain(5)
    assert (await store.versions(), journal.ledger.interrupted) == ({start.run_id: INTERRUPTED}, 1)


async def test_a_start_that_is_said_twice_is_settled_twice(tmp_path: Path) -> None:
    """A second start of a run lets the first one go; the books balance."""
    store, start = MemoryStore(), entries.opening()
    async with spools.journal(tmp_path, store, limits=BRIEFLY) as journal:
        for _ in range(2):
            assert await journal.opened(start).durable(5)
        assert await journal.drain(5)
        assert (journal.ledger.stored, journal.ledger.duplicate, journal.ledger.balanced) == (1, 1, True)
