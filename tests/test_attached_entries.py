"""Who shared a run is written down as surely as the run: the whole way of an attachment to the store."""

from pathlib import Path
from typing import Any

import entries
import pytest
import spools
from cells import rows
from memory_store import MemoryStore

from app.errors import AuditFull
from app.question import Content, Labels
from app.record.backlog import Limits, Steps
from app.record.codec import cleaned, stripped
from app.record.direct import DirectJournal
from app.record.entry import CLOSED, OPENED, Attachment, Entry
from app.record.redaction import Redactor
from app.record.replay import Replay

RUN = entries.opening(question=entries.question(labels=Labels("an experiment", tags=("a", "b"))))
GUEST = entries.attachment(RUN)


@pytest.fixture
def store() -> MemoryStore:
    """A store that a test can make ill."""
    return MemoryStore()


async def test_a_stored_attachment_leaves_the_spool(tmp_path: Path, store: MemoryStore) -> None:
    """An attachment is durable on the disk, then stored under its request, and goes while its run stays open."""
    async with spools.journal(tmp_path, store) as journal:
        journal.opened(RUN)
        assert await journal.attached(GUEST).durable(5)
        assert await journal.drain(5)
        assert (journal.ledger.stored, journal.ledger.balanced) == (2, True)
    assert spools.rows(tmp_path) == [(RUN.run_id, OPENED, 1)]
    assert store.attachments[GUEST.request_id].entry == GUEST


async def test_an_attachment_outlives_its_server(tmp_path: Path, store: MemoryStore) -> None:
    """What a dead server left of a run and of who shared it is adopted; only the run was interrupted."""
    store.away = True
    async with spools.journal(tmp_path, store) as journal:
        journal.opened(RUN)
        assert await journal.attached(GUEST).durable(5)
    assert (GUEST.request_id, CLOSED, 0) in spools.rows(tmp_path)
    store.away = False
    async with spools.journal(tmp_path, store) as journal:
        assert await journal.drain(5)
        assert (journal.ledger.adopted, journal.ledger.interrupted, journal.ledger.balanced) == (2, 1, True)
    assert store.attachments[GUEST.request_id].entry == GUEST
    assert spools.rows(tmp_path) == []


async def test_an_attachment_without_disk_or_store_is_printed(store: MemoryStore) -> None:
    """Without a disk an attachment waits for the store, is printed when that is away, and comes back from its line."""
    printed: list[str] = []
    limits = Limits(retry_first_s=0.001, retry_most_s=0.01, fallback_s=0.02)
    async with DirectJournal(store, steps=Steps(emit=printed.append), limits=limits) as journal:
        assert await journal.attached(entries.attachment(RUN)).durable(5)
        store.away = True
        journal.attached(GUEST)
        assert await journal.drain(5)
        assert (journal.ledger.stored, journal.ledger.logged, journal.ledger.balanced) == (1, 1, True)
    (line,) = printed
    assert f'"run_id":"{GUEST.request_id}"' in line
    filed = Replay().feed(line)
    assert filed is not None
    assert filed.entry == GUEST
    assert [await MemoryStore().write([filed, filed])] == [["stored", "duplicate"]]


async def test_a_rejected_attachment_is_buried_under_its_request(tmp_path: Path, store: MemoryStore) -> None:
    """Of a batch of both kinds the one that cannot be stored becomes a dead letter; the others are stored."""
    bad = entries.attachment(RUN, 2, caller="broken")
    store.broken = KeyError("a fault of our own")
    async with spools.journal(tmp_path, store) as journal:
        for one in (bad, GUEST):
            journal.attached(one)
        journal.closed(entries.closing(RUN))
        assert await journal.drain(5)
        assert (journal.ledger.stored, journal.ledger.dead_lettered, journal.ledger.balanced) == (2, 1, True)
    (letter,) = store.letters.values()
    assert (letter.run_id, letter.version, letter.reason) == (bad.request_id, CLOSED, "rejected")
    assert spools.rows(tmp_path) == []


async def test_an_attachment_on_its_way_is_known_by_its_run(tmp_path: Path, store: MemoryStore) -> None:
    """Who shared a run may ask for it at once: until the attachment is stored, something of that run is on its way."""
    store.gate.clear()
    async with spools.journal(tmp_path, store) as spool, DirectJournal(store) as direct:
        for journal in (spool, direct):
            assert await journal.drain(5)
            assert not journal.may_have(RUN.run_id)
            journal.attached(GUEST)
            assert journal.may_have(RUN.run_id)
            assert [journal.may_have(RUN.run_id, who) for who in (GUEST.caller, "bob")] == [True, False]
        store.gate.set()
        for journal in (spool, direct):
            await journal.arrival(RUN.run_id, 5)
            assert not journal.may_have(RUN.run_id)


async def test_a_full_audit_refuses_attachments_and_counts_them(tmp_path: Path, store: MemoryStore) -> None:
    """Under `refuse` an attachment without room is given up at once; the ledger tells how many were."""
    async with spools.journal(tmp_path, store, max_bytes=0) as journal:
        assert journal.attached(GUEST).stored is False
        with pytest.raises(AuditFull):
            journal.admit()
        assert (journal.ledger.refused, journal.ledger.accepted, journal.ledger.balanced) == (2, 0, True)


async def test_a_full_audit_keeps_attachments_as_metadata(tmp_path: Path, store: MemoryStore) -> None:
    """Under `metadata` an attachment, which has no payload, is taken until the reserve is used up as well."""
    store.gate.clear()
    async with spools.journal(tmp_path, store, policy="metadata", limits=Limits(entries=10)) as journal:
        taken = [journal.attached(entries.attachment(RUN, at)).stored for at in range(12)]
        assert taken == [None] * 11 + [False]
        assert (journal.ledger.refused, journal.ledger.stripped) == (1, 0)
        store.gate.set()


@rows("mode", ["full", "redacted", "hash_only", "none"])
def test_labels_of_an_attachment_are_masked_as_those_of_its_run(mode: Content) -> None:
    """The labels of an attachment are kept in every mode, masked as an opening's, and nothing else is changed."""
    labels = Labels("AKIA" + "IOSFODNN7EXAMPLE", "for jane@example.com", None, ("plain",))
    run = entries.opening(question=entries.question(labels=labels))
    redact = Redactor(mode, 10_000)
    guest, opening = redact(entries.attachment(run)), redact(run)
    assert isinstance(guest, Attachment)
    assert guest.labels == entries.opening_of(opening).question.labels
    assert guest.labels != labels
    assert (guest.caller, guest.run_id, guest.fingerprint) == ("guest", run.run_id, run.fingerprint)


async def test_an_attachment_that_cannot_be_masked_loses_its_labels(tmp_path: Path, store: MemoryStore) -> None:
    """When redaction fails no word of a client's is kept, but who shared which run is."""

    def prepare(entry: Entry) -> Entry:
        """Never works."""
        raise ValueError

    async with spools.journal(tmp_path, store, steps=Steps(prepare)) as journal:
        journal.attached(GUEST)
        assert await journal.drain(5)
    kept: Any = store.attachments[GUEST.request_id].entry
    assert (kept.labels, kept.run_id, kept.caller) == (Labels(), RUN.run_id, "guest")


def test_a_poisoned_attachment_can_be_cleaned() -> None:
    """Cleaning leaves an attachment's own words storable, and stripping takes nothing, for it has no payload."""
    labels = Labels("a\x00b", "x" * 200_000, tags=("\ud800",))
    clean = cleaned(entries.attachment(RUN, labels=labels))
    assert isinstance(clean, Attachment)
    assert clean.labels == Labels("a\ufffdb", "x" * 100_000, tags=("\ufffd",))
    assert stripped(GUEST) == GUEST
