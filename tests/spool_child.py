"""A process with a spool, to be killed or to meet an ill disk: spool_child.py DIRECTORY and one of its functions."""

import asyncio
import json
import random
import resource
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

import entries  # noqa: E402  # the path above comes first
import spools  # noqa: E402
from memory_store import MemoryStore  # noqa: E402

from app.record.backlog import Limits  # noqa: E402
from app.record.journal import SpoolJournal  # noqa: E402


async def flood(directory: Path) -> None:
    """Write runs and who shared them for ever and print each receipt that is true; some runs stay open."""
    store = MemoryStore()
    store.away = True
    async with spools.journal(directory, store, limits=replace(spools.QUICK, linger_s=0.01)) as journal:
        await asyncio.gather(*(_flow(journal, lane) for lane in range(8)))


async def _flow(journal: SpoolJournal, lane: int) -> None:
    at = lane
    while True:
        at += 8
        start = entries.opening(at)
        if await journal.opened(start).durable(10):
            _say(f"opened {start.run_id}")
        guest = entries.attachment(start, at)
        if at % 2 and await journal.attached(guest).durable(10):
            _say(f"attached {guest.request_id}")
        if at % 3 and await journal.closed(entries.closing(start)).durable(10):
            _say(f"closed {start.run_id}")


async def full(directory: Path) -> None:
    """Fill a disk that takes no more than some kilobytes, then give it room."""
    store = MemoryStore()
    store.away = True
    async with spools.journal(directory, store) as journal:
        assert await journal.opened(entries.opening()).durable(5)
        _allow(200_000)
        closings = [entries.closing(entries.opening(at), log=random.randbytes(20_000)) for at in range(40)]
        receipts = [journal.closed(closing) for closing in closings]
        durable = [await receipt.durable(5) for receipt in receipts]
        report: dict[str, Any] = {"full": {**journal.state, "stranded": durable.count(False)}}
        assert journal.ledger.balanced
        _allow(resource.RLIM_INFINITY)
        async with asyncio.timeout(5):
            while journal.ledger.in_flight:  # noqa: ASYNC110  # the disk tells nobody that it is well
                await asyncio.sleep(0.05)
        ledger = journal.ledger
        report["after"] = {"status": journal.state["status"], "in_flight": 0, "balanced": ledger.balanced}
        report["spooled"] = ledger.spooled
    _say(json.dumps(report))


async def straight(directory: Path) -> None:
    """Meet a full disk with a healthy store."""
    async with spools.journal(directory, MemoryStore()) as journal:
        _allow(1000)
        durable = []
        for at in range(20):
            durable.append(await journal.closed(entries.closing(entries.opening(at))).durable(5))
            await asyncio.sleep(0.005)
        drained = await journal.drain(5)
        ledger, status = journal.ledger, journal.state["status"]
        _allow(resource.RLIM_INFINITY)
    report = {"accepted": ledger.accepted, "stored": ledger.stored, "receipt": any(durable), "status": status}
    _say(json.dumps(report | {"balanced": ledger.balanced and drained}))


async def late(directory: Path) -> None:
    """Start on a full disk, with a spool of an earlier process on it, then give it room."""
    _allow(10)
    store = MemoryStore()
    async with spools.journal(directory, store) as journal:
        status = journal.state["status"]
        receipt = await journal.opened(entries.opening(77)).durable(5)
        _allow(resource.RLIM_INFINITY)
        async with asyncio.timeout(5):
            while not journal.ledger.adopted:  # noqa: ASYNC110  # as above
                await asyncio.sleep(0.05)
        drained = await journal.drain(5)
        ledger = journal.ledger
    report = {"status": status, "receipt": receipt, "adopted": ledger.adopted, "interrupted": ledger.interrupted}
    _say(json.dumps(report | {"runs": len(store.runs), "balanced": ledger.balanced and drained}))


async def emptied(directory: Path) -> None:
    """After an outage that filled more than memory, the disk is full when the store comes back."""
    store = MemoryStore()
    store.away = True
    limits = Limits(window_bytes=8000, spacing_s=0, retry_first_s=0.001, retry_most_s=0.01)
    async with spools.journal(directory, store, limits=limits) as journal:
        for at in range(280):
            assert await journal.opened(entries.opening(at)).durable(5)
        _allow(1000)
        for at in range(280, 300):
            assert not await journal.opened(entries.opening(at)).durable(5)
        status, store.away = journal.state["status"], False
        drained = await journal.drain(10)
        report = {"status": status, "drained": drained, "balanced": journal.ledger.balanced, "runs": len(store.runs)}
        _allow(resource.RLIM_INFINITY)
    _say(json.dumps(report))


async def stuck(directory: Path) -> None:
    """End while the disk hangs and the store is away."""
    store = MemoryStore()
    store.away = True
    async with spools.journal(directory, store) as journal:
        assert await journal.opened(entries.opening()).durable(5)
        journal._spool._pen._shelf.write = lambda *_: threading.Event().wait()  # type: ignore[method-assign,union-attr]
        for at in range(3):
            journal.closed(entries.closing(entries.opening(at)))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _allow(size: int) -> None:
    """No file of this process may be larger than this now."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


if __name__ == "__main__":
    asyncio.run(globals()[sys.argv[2]](Path(sys.argv[1])))
