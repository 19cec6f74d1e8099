"""Requests that shared a run, in the store: how they are written, and what they let one read."""

from datetime import UTC, datetime, timedelta
from typing import Any

import entries
import pytest
from filing import filed, rows, value
from msgspec.structs import replace

from app.postgres.pool import Pool
from app.postgres.runs import RunStore
from app.postgres.upkeep import Upkeep
from app.question import Caller, Labels
from app.reasoning.elsewhere import Used
from app.record.store import EntryRejected

ME, GUEST, STRANGER = Caller("me"), Caller("guest"), Caller("stranger")
KEY = "5" * 64


async def test_an_attachment_is_a_row_of_its_own(run_store: RunStore, dsn: str) -> None:
    """A request that shared a run is stored with its caller, labels and digest, before the run itself if need be."""
    labels = Labels("e", "v", "c", ("x", "y\x00"))
    guest = entries.attachment(entries.opening(), labels=labels, instance="i", idempotency_key=KEY)
    batch = filed(guest)
    assert await run_store.write(batch) == ["stored"]
    (row,) = await rows(dsn, "SELECT * FROM attachments")
    assert (str(row["request_id"]), str(row["run_id"]), row["caller"]) == (guest.request_id, guest.run_id, "guest")
    assert [row[name] for name in ("experiment", "variant", "prompt_class", "tags")] == [
        "e",
        "v",
        "c",
        ["x", "y\ufffd"],
    ]
    assert (row["created_at"], row["instance"], row["idempotency_key"]) == (guest.created_at, "i", KEY)
    assert (row["content_hash"], row["fingerprint"]) == (batch[0].digest, guest.fingerprint)


async def test_runs_and_attachments_share_a_batch(run_store: RunStore, dsn: str) -> None:
    """Each entry of a mixed batch has its own fate in its own place; written again, all are duplicates."""
    start = entries.opening()
    guests = [entries.attachment(start, at) for at in (1, 2)]
    batch = filed(guests[1], start, guests[0], entries.closing(start), guests[1])
    assert await run_store.write(batch) == ["stored", "duplicate", "stored", "stored", "duplicate"]
    assert await run_store.write(batch) == ["duplicate"] * 5
    assert await value(dsn, "SELECT count(*) FROM attachments") == 2


async def test_two_contents_of_one_request_are_a_conflict(run_store: RunStore, dsn: str) -> None:
    """A second content under a request's id is a conflict, in the same batch or later, and the first stays."""
    guest = entries.attachment(entries.opening())
    first, second = filed(guest, replace(guest, caller="other"))
    assert await run_store.write([first, second, first]) == ["stored", "conflict", "duplicate"]
    assert await run_store.write([second]) == ["conflict"]
    assert await value(dsn, "SELECT caller FROM attachments") == "guest"


@pytest.mark.parametrize("change", [{"run_id": "no id"}, {"fingerprint": None}])
async def test_a_mixed_batch_is_stored_whole_or_not_at_all(
    run_store: RunStore, dsn: str, change: dict[str, Any]
) -> None:
    """When an attachment of a batch cannot be stored, none of its runs is."""
    bad = replace(entries.attachment(entries.opening()), **change)
    with pytest.raises(EntryRejected):
        await run_store.write(filed(entries.opening(2), bad))
    assert await value(dsn, "SELECT count(*) FROM runs") == 0


async def test_who_shared_a_run_reads_its_stream_alone(run_store: RunStore) -> None:
    """A caller that attached reads the stream of that run, neither its record nor another; a stranger reads nothing."""
    start, other = entries.opening(1), entries.opening(2)
    await run_store.write(filed(*map(entries.closing, (start, other)), entries.attachment(start)))
    shared = await run_store.log(GUEST, start.run_id)
    assert shared is not None
    assert shared == await run_store.log(ME, start.run_id)
    assert await run_store.get(GUEST, start.run_id) is None
    assert (await run_store.log(GUEST, other.run_id), await run_store.log(STRANGER, start.run_id)) == (None, None)


async def test_a_key_is_found_by_its_caller_while_it_counts(run_store: RunStore) -> None:
    """A key tells the run it was last used for, opened or shared, by that caller since then; to others nothing."""
    start = entries.opening(10, idempotency_key=KEY)
    await run_store.write(filed(start, entries.closing(start), entries.attachment(entries.opening(5), 20)))
    since = entries.EPOCH
    assert await run_store.by_key(ME, KEY, since) == Used(start.run_id, start.fingerprint)
    assert await run_store.by_key(ME, KEY, since + timedelta(seconds=11)) is None
    assert (await run_store.by_key(GUEST, KEY, since), await run_store.by_key(ME, "6" * 64, since)) == (None, None)
    later = entries.attachment(entries.opening(15), 30, caller="me", idempotency_key=KEY)
    await run_store.write(filed(later))
    assert await run_store.by_key(ME, KEY, since) == Used(later.run_id, later.fingerprint)


async def test_a_replay_keeps_its_source_and_what_it_saved(run_store: RunStore, dsn: str) -> None:
    """A replay's row names the run it replays and what that had cost; its record says cost 0."""
    source = entries.opening(1)
    start = entries.opening(2, source="cache", source_run_id=source.run_id)
    await run_store.write(filed(start))
    await run_store.write(filed(entries.closing(start, cost_nano=0, saved_nano=17)))
    assert await value(dsn, "SELECT saved_nano FROM runs") == 17
    record = await run_store.get(ME, start.run_id)
    assert record is not None
    assert (record["source_run_id"], record["cost_usd"]) == (source.run_id, 0.0)


async def test_attachments_are_forgotten_with_the_runs_of_their_time(run_store: RunStore, pool: Pool, dsn: str) -> None:
    """Requests that shared a run are forgotten after as many days as runs; younger ones stay."""
    now = (datetime.now(UTC) - entries.EPOCH).total_seconds()
    await run_store.write(filed(*(entries.attachment(entries.opening(), now - days * 86400) for days in (0, 5, 20))))
    assert (await Upkeep(pool).retain(10, 10, 10)).attachments == 1
    assert await value(dsn, "SELECT count(*) FROM attachments") == 2
